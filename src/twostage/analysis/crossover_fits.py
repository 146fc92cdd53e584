"""Crossings of fitted laws, to compare with the measured crossings of `measured_crossover`.

Two laws are fitted to the cells of one comparison: `mul` (Eq. 2) to the method's cells, and a power law in D to the cells
from scratch. A crossing of these laws beyond the measured tokens is an extrapolation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from twostage.analysis.measured_crossover import Comparison
from twostage.laws.consequences import Draws, Estimate, catch_up_estimate, laws_of
from twostage.laws.crossover import catch_up, law_of
from twostage.laws.fit import Fit, fit_law
from twostage.laws.points import Points

DRAWS = 400  # our choice, as for the bands of Figures 10 and 11
REUSED_FORM, SCRATCH_FORM = "mul", "power"


@dataclass(frozen=True)
class FittedPair:
    """The two laws of one comparison. `draws` give the intervals; None if a law has as many coefficients as points."""

    reused: Fit
    scratch: Fit
    draws: tuple[Draws, Draws] | None

    def difference(self, d1: float, d2: float) -> float:
        """Return the loss of reuse minus the loss from scratch after `d2` tokens, in nats."""
        return float(self.reused.predict(d1=d1, d2=d2) - self.scratch.predict(d2=d2))

    def from_d2(self, d1: float) -> Estimate:
        """Return the D2 above which the law from scratch is lower, in tokens, with a 95 % interval.

        NaN if the laws do not cross in `laws.crossover.SEARCH_TOKENS`, a range far beyond the cells.
        """
        if self.draws is None:
            value = catch_up(law_of(self.scratch), law_of(self.reused), d1=d1, n=None)
            return Estimate(value, float("nan"), float("nan"), 0.95, "none", float("nan"))
        reused, scratch = self.draws
        return catch_up_estimate(scratch, reused, d1=d1, n=None)


def fit_pair(comparison: Comparison, *, delta: float, draws: int = DRAWS) -> FittedPair | str:
    """Fit both laws, or return the reason as text if there are too few cells.

    Args:
        comparison: must have a model from scratch.
        delta: threshold of the Huber loss of ln L.
        draws: number of refits to resampled residuals, for the intervals.
    """
    reused, scratch = comparison.reused_cells, comparison.scratch_cells
    columns: dict[str, Any] = {"loss": "loss_nats", "seed": "seed", "d2": "d2_tokens"}
    try:
        points = (
            Points.from_frame(reused, d1="d1_tokens", **columns),
            Points.from_frame(scratch, **columns),
        )
        fits = (
            fit_law(points[0], REUSED_FORM, delta=delta),
            fit_law(points[1], SCRATCH_FORM, delta=delta),
        )
    except ValueError as error:
        return f"not fitted: {error}"
    pairs = list(zip(fits, points, strict=True))
    if any(len(own) <= len(fit.coefficients) for fit, own in pairs):
        return FittedPair(*fits, None)
    drawn = [laws_of(fit, own, draws, seed=seed) for seed, (fit, own) in enumerate(pairs)]
    return FittedPair(*fits, (drawn[0], drawn[1]))


def describe(estimate: float, smallest: float, largest: float, last_difference: float) -> str:
    """Describe where two laws cross relative to the measured D2.

    Args:
        estimate: D2 of the crossing in tokens; NaN if there is none.
        smallest, largest: range of the measured D2.
        last_difference: loss of reuse minus loss from scratch at the largest D2, by the laws.
    """
    if np.isnan(estimate):
        return "laws: reuse better throughout" if last_difference < 0 else "laws: scratch better throughout"
    if estimate < smallest:
        return "laws: before the measured D2"
    return "laws: within the measured D2" if estimate <= largest else "laws: beyond the measured D2"
