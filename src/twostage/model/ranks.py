"""Collective calls of the ranks of one job, for decisions that depend on clocks, signals or files.

These can differ between ranks. `common/provenance.py` has the rank and the number of ranks. A job of one rank needs no process
group here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from twostage.common import provenance

_T = TypeVar("_T")


class OtherRankError(RuntimeError):
    """Rank 0 raised an error while the other ranks waited; the message has that error."""


def from_rank_0(value: _T) -> _T:
    """Return rank 0's value on all ranks."""
    if provenance.world_size() == 1:
        return value
    box = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def max_over_ranks(value: int, device: str) -> int:
    """Return the maximum of `value` over all ranks."""
    if provenance.world_size() == 1:
        return value
    found = torch.tensor(value, device=device)
    torch.distributed.all_reduce(found, op=torch.distributed.ReduceOp.MAX)
    return int(found)


def on_rank_0(do: Callable[[], _T], group: Any = None) -> _T:
    """Call a function on rank 0 while the other ranks wait; return its result on all ranks.

    Args:
        do: called on rank 0 only; its result is sent to the other ranks.
        group: process group of all ranks; None: the default group, which training uses.

    Raises:
        OtherRankError: on the other ranks, if `do` raised an error on rank 0 (which raises that error itself).
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
        # Send the error: the other ranks are waiting for a result.
        failure = [None, f"rank 0: {type(error).__name__}: {error}"]
        torch.distributed.broadcast_object_list(failure, src=0, group=group)
        raise
    torch.distributed.broadcast_object_list([value, None], src=0, group=group)
    return value


def separate_group() -> Any:
    """Return a second process group of all ranks (gloo), for a thread other than the training thread; None for one rank.

    Collective: all ranks must call it. The collective calls of two threads need separate groups.
    """
    if provenance.world_size() == 1:
        return None
    return torch.distributed.new_group(backend="gloo")
