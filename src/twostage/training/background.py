"""Runs writes in a thread, one at a time, so that training continues while a snapshot is written to disk.

A write ends before the next one begins, before `wait` returns, and before the `with` block ends. The caller decides what is
written and makes sure that incomplete files are not used.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch


class BackgroundWriter:
    """Runs writes one after the other; use as a context manager.

    Args:
        device: "cpu" or "cuda". On CUDA the thread uses the same GPU as the calling thread.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._gpu = torch.cuda.current_device() if device == "cuda" else None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None:
            self.wait()
        elif self._thread is not None:
            # The error of the block is raised; errors of the write are not. The write still has to end.
            self._thread.join()

    def submit(self, write: Callable[[], None]) -> None:
        """Wait for the previous write, then start `write`. Raises the error of the previous write, if any."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(write,), name="background-save")
        self._thread.start()

    def wait(self) -> None:
        """Wait for the current write. Raises its error, if any."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, write: Callable[[], None]) -> None:
        try:
            if self._gpu is not None:
                torch.cuda.set_device(self._gpu)
            write()
        except BaseException as error:  # raised in the calling thread by `wait`
            self._error = error
