"""Reads training batches ahead of their use, in one thread and in the order of the steps.

On CUDA the batches are in page-locked memory, so that their copy to the device overlaps with computation.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator

import numpy as np
import torch
from numpy.typing import NDArray

#: Number of batches to read ahead; with two, a slow read can take a full update.
DEPTH = 2


def batches(
    read: Callable[[int], NDArray[np.int64]], first: int, last: int, device: str, *, ahead: bool
) -> Generator[torch.Tensor, None, None]:
    """Yield the batches of updates `first` to `last` on `device`; int64 tensors [samples, context + 1].

    Args:
        read: returns the batch of an update. Its errors are raised here when that batch is due.
        first, last: first and last update, counted from 1.
        device: "cpu" or "cuda".
        ahead: read in a thread, up to `DEPTH` batches ahead; False: read each batch when it is due.
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
                # Page-locked memory belongs to a GPU, and a new thread would use the node's first GPU.
                torch.cuda.set_device(gpu)
            for step in range(first, last + 1):
                batch = torch.from_numpy(read(step))
                # New memory for each batch, because the previous one may still be copied.
                if not put(batch.pin_memory() if pinned else batch):
                    return
        except BaseException as error:  # raised by the consumer
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
        # Also if the consumer stops early: the thread must not read files after the job has ended.
        stopped.set()
        thread.join()
