"""How long the runs of a grid are under each schedule: where a trunk is cut, and where each evaluated model is complete.

Pure arithmetic in optimizer steps; what a study's runs are is `design.py`'s job.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from twostage.methods import ScheduleKind


@dataclass(frozen=True, order=True)
class Point:
    """One evaluated length of a run, in optimizer steps.

    Attributes:
        start: where its branch leaves the trunk (0: there is no trunk; the branch is the whole run).
        total: where its model is complete.
    """

    start: int
    total: int


def with_decay(trunk_steps: int) -> int:
    """Steps of a grid point's model: the trunk and a tenth for the decay."""
    return trunk_steps + trunk_steps // 10


def grid_point(kind: ScheduleKind, trunk_steps: int) -> Point:
    """Return the lengths of a point of the grid, which names it by its WSD trunk, under a schedule."""
    total = with_decay(trunk_steps)
    return Point({"wsd": trunk_steps, "constant": total, "cosine": 0}[kind], total)


def off_grid_point(kind: ScheduleKind, total: int) -> Point:
    """Return the lengths of a run of `total` steps, of which WSD decays over the last tenth."""
    return Point({"wsd": total - total // 10, "constant": total, "cosine": 0}[kind], total)


def trunk_segments(kind: ScheduleKind, chain: Iterable[int], points: Iterable[Point]) -> dict[int, int]:
    """Return the segments of a trunk as end -> start, rising.

    The chain is whole up to the longest point, whatever points are chosen, so that choosing more of them later adds
    segments and never cuts a trunk anew; a point off the chain is a side segment from the largest smaller chain point.

    Args:
        kind: the run's schedule; a cosine run has no trunk.
        chain: the grid's trunk lengths under WSD.
        points: what is evaluated, at least one.
    """
    if kind == "cosine":
        return {}
    ends = [grid_point(kind, steps).start for steps in chain]
    starts = {point.start for point in points}
    wanted = {end for end in ends if end <= max(starts)} | starts
    return {end: max((other for other in ends if other < end), default=0) for end in sorted(wanted)}
