"""Mean over seeds of a number that is measured for each seed, with its interval."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.stats import t as student

LEVEL = 0.95


def mean_over_seeds(values: Iterable[float]) -> tuple[float, float | None, float | None]:
    """Return the mean and the ends of its 95 % interval, mean +- t s / sqrt(k). A single value has no ends (None)."""
    numbers = np.array(list(values), dtype=float)
    mean, k = float(numbers.mean()), len(numbers)
    if k < 2:
        return mean, None, None
    half = float(student.ppf((1 + LEVEL) / 2, k - 1) * numbers.std(ddof=1) / np.sqrt(k))
    return mean, mean - half, mean + half
