"""Formats a number with its interval, `0.015 [0.009, 0.022]`. A dash stands for an unknown value."""

from __future__ import annotations

import math

GAP = "–"


def estimate_text(value: float | None, lower: float | None, upper: float | None, spec: str) -> str:
    """Format a value and its interval by `spec` (such as `.3f`). Without a value: a dash. Without ends: no brackets."""
    if not _known(value):
        return GAP
    ends = interval_text(lower, upper, spec)
    return f"{value:{spec}}" if ends == GAP else f"{value:{spec}} {ends}"


def interval_text(lower: float | None, upper: float | None, spec: str) -> str:
    """Format an interval, `[0.009, 0.022]`. An end that is None or NaN becomes a dash; without both ends, only a dash."""
    ends = [f"{end:{spec}}" if _known(end) else GAP for end in (lower, upper)]
    return GAP if ends == [GAP, GAP] else f"[{ends[0]}, {ends[1]}]"


def _known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)
