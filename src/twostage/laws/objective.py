"""The objectives of the fits: sum of Huber(delta) of the residuals of ln L, or of their absolute values.

Residual r = ln(predicted) - ln(measured). Huber: r^2/2 up to delta, delta (|r| - delta/2) beyond, as in Hoffmann et
al. 2022 and the paper (delta = 1e-3). Always a sum over points, never a mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twostage.laws.points import FloatArray

# Below rounding, and above any residual of ln L.
MIN_DELTA, MAX_DELTA = 1e-15, 1e3


@dataclass(frozen=True)
class Objective:
    """`name` is `huber` or `lad`; delta is the Huber threshold in nats of log loss (ignored by `lad`)."""

    name: str = "huber"
    delta: float = 1e-3

    def __post_init__(self) -> None:
        if self.name not in ("huber", "lad"):
            raise ValueError(f"objective {self.name!r}: choose 'huber' or 'lad'")
        if self.name == "huber" and not MIN_DELTA <= self.delta <= MAX_DELTA:
            raise ValueError(
                f"delta {self.delta!r}: the Huber threshold must be positive, from {MIN_DELTA:g} to {MAX_DELTA:g}"
            )

    def per_point(self, residuals: FloatArray) -> FloatArray:
        """The penalty of each residual, same shape."""
        size = np.abs(residuals)
        if self.name == "lad":
            return size
        inner = np.minimum(size, self.delta)
        return np.asarray(inner * (size - 0.5 * inner))

    def value(self, residuals: FloatArray) -> FloatArray:
        """Sum over the last axis (points)."""
        return np.asarray(self.per_point(residuals).sum(axis=-1))
