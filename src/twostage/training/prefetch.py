"""Training batches read ahead by one thread, in the order of the steps: the same batches, ready when they are needed.

On CUDA they are laid in page-locked memory, from which the copy to the device runs beside the computation.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator

import numpy as np
import torch
from numpy.typing import NDArray

#: Batches that wait to be used; two hide one slow read behind a whole update.
DEPTH = 2


def batches(
    read: Callable[[int], NDArray[np.int64]], first: int, last: int, device: str, *, ahead: bool
) -> Generator[torch.Tensor, None, None]:
    """Yield the batches of updates `first` to `last` on `device`; int64 tensors [samples, context + 1].

    Args:
        read: returns the batch of an update. An error in it is raised here, at the update it belongs to.
        first, last: updates, from 1; both included.
        device: "cpu" or "cuda".
        ahead: read in a thread of its own, up to `DEPTH` batches ahead; else when asked.
    """
    if not ahead:
        for step in range(first, last + 1):
            yield torch.from_numpy(read(step)).to(device)
        return
    pinned = device == "cuda"
    gpu = torch.cuda.current_device() if pinned else None
    ready: queue.Queue[torch.Tensor | BaseException] = queue.Queue(maxsize=DEPTH)
    stopped = threading.Event()

    def put(item: torch.Tensor | BaseException) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            if gpu is not None:
                # Page-locking belongs to a GPU, and a new thread would take the node's first.
                torch.cuda.set_device(gpu)
            for step in range(first, last + 1):
                batch = torch.from_numpy(read(step))
                # Fresh memory for each batch: one that is still being copied must not be written to.
                if not put(batch.pin_memory() if pinned else batch):
                    return
        except BaseException as error:  # handed to the consumer, whatever it is
            put(error)

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        for _ in range(first, last + 1):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item.to(device, non_blocking=pinned)
    finally:
        # Also where the consumer stops early: nothing may read the files after the job has let go of them.
        stopped.set()
        thread.join()
