"""One write at a time, in a thread: training goes on while a snapshot of its state reaches the disk.

What is written, and that it counts only when complete, is the caller's business; here is when: a write ends before the
next one begins, before `wait` returns, and before the block is left.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import torch


class BackgroundWriter:
    """Runs writes one after the other; use as a context manager.

    Args:
        device: "cpu" or "cuda"; a thread has a current GPU of its own, which must be the process's.

    Attributes:
        stalled_s: seconds that the caller has waited for writes to end.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._gpu = torch.cuda.current_device() if device == "cuda" else None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self.stalled_s = 0.0

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None:
            self.wait()
        elif self._thread is not None:
            # The block's own error is the one to report; half a write is never left running.
            self._thread.join()

    def submit(self, write: Callable[[], None]) -> None:
        """Start `write` once the one before has ended; raise that one's error, if it had any."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(write,), name="background-save")
        self._thread.start()

    def wait(self) -> None:
        """Return once nothing is being written; raise the error of a write that failed."""
        if self._thread is not None:
            started = time.monotonic()
            self._thread.join()
            self.stalled_s += time.monotonic() - started
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, write: Callable[[], None]) -> None:
        try:
            if self._gpu is not None:
                torch.cuda.set_device(self._gpu)
            write()
        except BaseException as error:  # raised again in the training thread
            self._error = error
