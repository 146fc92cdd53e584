"""Read the end of a job's log file: its last progress line, or its last lines for an error message.

This is the only file access of the plugin. A log may be missing, incomplete or very large; only the last few kilobytes
are read.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

_WINDOW = (
    16_384  # bytes; a progress line has about 100, so there is room for other output between two of them
)


@dataclass(frozen=True)
class ProgressLine:
    """One progress line of a training job: `{"progress": {"step": 120, "steps": 1000, "loss": 4.1, "tokens_per_s": 1.2e4}}`."""

    step: int
    steps: int
    loss_nats: float | None = None
    tokens_per_s: float | None = None


def _tail(path: str) -> list[str]:
    """Return the lines in the last `_WINDOW` bytes of a file; empty if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _WINDOW))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    # The first line is incomplete unless the file is smaller than the window.
    return lines[1:] if size > _WINDOW and len(lines) > 1 else lines


def last_lines(path: str, count: int = 20) -> list[str]:
    """Return at most `count` last lines of a log, without progress lines."""
    return [line for line in _tail(path) if parse_progress(line) is None][-count:]


def last_progress(path: str, since: float = 0.0) -> ProgressLine | None:
    """Return the last complete progress line of a log, or None.

    A log last written before `since` (seconds since the epoch) is from an earlier attempt and is ignored.
    """
    try:
        if Path(path).stat().st_mtime < since:
            return None
    except OSError:
        return None
    for line in reversed(_tail(path)):
        progress = parse_progress(line)
        if progress is not None:
            return progress
    return None


def parse_progress(line: str) -> ProgressLine | None:
    """Parse one log line; None if it is not a complete and valid progress line."""
    if '"progress"' not in line:
        return None
    try:
        values = json.loads(line)["progress"]
        step, steps = int(values["step"]), int(values["steps"])
        loss, rate = (_finite(values.get(key)) for key in ("loss", "tokens_per_s"))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    return ProgressLine(step, steps, loss, rate) if 0 <= step <= steps and steps > 0 else None


def _finite(value: object) -> float | None:
    if value is None:
        return None
    number = float(value)  # type: ignore[arg-type]
    return number if math.isfinite(number) else None
