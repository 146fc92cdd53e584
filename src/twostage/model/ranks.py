"""Agreement between the ranks of one job: clocks, signals and shared folders look different from each of them.

Which rank this process is, and how many there are, is in `provenance.py`. A job of one rank needs no process group here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from twostage.common import provenance

_T = TypeVar("_T")


class OtherRankError(RuntimeError):
    """Rank 0 has failed at what all ranks waited for; the message is its error."""


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


def on_rank_0(do: Callable[[], _T], group: Any = None) -> _T:
    """Let rank 0 do something while the others wait; return its result on all ranks.

    Args:
        do: called on rank 0 only; its result travels to the others.
        group: process group of all ranks to agree over; None: that of training.

    Raises:
        OtherRankError: on the others, where `do` raised an error on rank 0 (which raises that error itself).
    """
    if provenance.world_size() == 1:
        return do()
    if provenance.rank():
        box: list[Any] = [None, None]
        torch.distributed.broadcast_object_list(box, src=0, group=group)
        value, message = box
        if message is not None:
            raise OtherRankError(message)
        return value  # type: ignore[no-any-return]
    try:
        value = do()
    except BaseException as error:
        # The others must not wait for ever, nor think that all is well.
        failure = [None, f"rank 0: {type(error).__name__}: {error}"]
        torch.distributed.broadcast_object_list(failure, src=0, group=group)
        raise
    torch.distributed.broadcast_object_list([value, None], src=0, group=group)
    return value


def group_of_its_own() -> Any:
    """Return a second process group of all ranks, over gloo, for one thread beside the one that trains; None for one rank.

    All ranks call this. Two threads whose collective calls share a group would answer each other's.
    """
    if provenance.world_size() == 1:
        return None
    return torch.distributed.new_group(backend="gloo")
