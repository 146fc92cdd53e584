"""A number that every seed gives on its own: its mean over seeds, and how far seeds scatter."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.stats import t as student

LEVEL = 0.95


def mean_over_seeds(values: Iterable[float]) -> tuple[float, float | None, float | None]:
    """Mean, and the ends of its 95 % interval, mean +- t s / sqrt(k); no ends for a single value."""
    numbers = np.array(list(values), dtype=float)
    mean, k = float(numbers.mean()), len(numbers)
    if k < 2:
        return mean, None, None
    half = float(student.ppf((1 + LEVEL) / 2, k - 1) * numbers.std(ddof=1) / np.sqrt(k))
    return mean, mean - half, mean + half
