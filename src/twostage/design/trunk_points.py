"""Where decay branches leave a trunk, where they end, and how a trunk is cut into segments, for each schedule.

Arithmetic in optimizer steps. `design` applies it to the runs of a study.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from twostage.methods import ScheduleKind


@dataclass(frozen=True, order=True)
class TrunkPoint:
    """A branch of a run, in optimizer steps.

    Attributes:
        branch_step: the step of the trunk at which the branch starts; 0 if there is no trunk (cosine).
        total_steps: the last step of the branch, at which the model is evaluated.
    """

    branch_step: int
    total_steps: int


def total_with_decay(trunk_steps: int) -> int:
    """Return the steps of a trunk and its decay, which takes a tenth of the trunk's steps."""
    return trunk_steps + trunk_steps // 10


def grid_point(kind: ScheduleKind, trunk_steps: int) -> TrunkPoint:
    """Return a point of the grid for a schedule. The grid gives the length of the WSD trunk."""
    total = total_with_decay(trunk_steps)
    return TrunkPoint({"wsd": trunk_steps, "constant": total, "cosine": 0}[kind], total)


def off_grid_point(kind: ScheduleKind, total: int) -> TrunkPoint:
    """Return the point of a run of `total` steps in all. WSD decays over the last tenth of them."""
    return TrunkPoint({"wsd": total - total // 10, "constant": total, "cosine": 0}[kind], total)


def trunk_segments(kind: ScheduleKind, chain: Iterable[int], points: Iterable[TrunkPoint]) -> dict[int, int]:
    """Return the segments of a trunk as {end: start}, shortest first.

    All chain points up to the longest point are segment ends, even if they are not evaluated, so that evaluating more
    points later never changes a segment. A point that is not on the chain gets a side segment, which starts from the
    largest smaller chain point.

    Args:
        kind: the run's schedule; a cosine run has no trunk.
        chain: the grid's trunk lengths with WSD.
        points: the evaluated points, at least one.
    """
    if kind == "cosine":
        return {}
    ends = [grid_point(kind, steps).branch_step for steps in chain]
    starts = {point.branch_step for point in points}
    wanted = {end for end in ends if end <= max(starts)} | starts
    return {end: max((other for other in ends if other < end), default=0) for end in sorted(wanted)}
