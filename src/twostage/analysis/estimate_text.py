"""How a number and its interval are written, everywhere alike: `0.015 [0.009, 0.022]`, and a dash for what is not known."""

from __future__ import annotations

import math

GAP = "–"


def estimate_text(value: float | None, lower: float | None, upper: float | None, spec: str) -> str:
    """A value with its interval, each written by `spec` (such as `.3f`); a dash without a value, no brackets without ends."""
    if not _known(value):
        return GAP
    ends = interval_text(lower, upper, spec)
    return f"{value:{spec}}" if ends == GAP else f"{value:{spec}} {ends}"


def interval_text(lower: float | None, upper: float | None, spec: str) -> str:
    """`[0.009, 0.022]`; an end that is None or NaN is a dash, and so is an interval without ends."""
    ends = [f"{end:{spec}}" if _known(end) else GAP for end in (lower, upper)]
    return GAP if ends == [GAP, GAP] else f"[{ends[0]}, {ends[1]}]"


def _known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)
