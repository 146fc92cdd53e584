"""Agreement between the ranks of one job: clocks, signals and shared folders look different from each of them.

Which rank this process is, and how many there are, is in `provenance.py`. A job of one rank needs no process group here.
"""

from __future__ import annotations

from typing import TypeVar

import torch

from twostage import provenance

_T = TypeVar("_T")


def from_rank_0(value: _T) -> _T:
    """Return rank 0's value on all ranks."""
    if provenance.world_size() == 1:
        return value
    box = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def largest(value: int, device: str) -> int:
    """Return the largest value of all ranks."""
    if provenance.world_size() == 1:
        return value
    found = torch.tensor(value, device=device)
    torch.distributed.all_reduce(found, op=torch.distributed.ReduceOp.MAX)
    return int(found)
