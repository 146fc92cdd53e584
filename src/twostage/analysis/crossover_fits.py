"""What fitted laws say where `measured_crossover` measures: the law of one method, and one of its models from scratch.

Both are fitted to the very cells that are compared: `mul` (Eq. 2) to the method's, a power law in D to those from
scratch. So a crossing that only the laws know of can be told from one that was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """Two laws of one comparison; `draws` carry their intervals, None where a law has as many coefficients as points."""

    reused: Fit
    scratch: Fit
    draws: tuple[Draws, Draws] | None

    def difference(self, d1: float, d2: float) -> float:
        """Loss of reuse minus loss from scratch after `d2` tokens, in nats."""
        return float(self.reused.predict(d1=d1, d2=d2) - self.scratch.predict(d2=d2))

    def from_d2(self, d1: float) -> Estimate:
        """D2 from which on the law from scratch is lower, in tokens, with a 95 % interval; NaN where they do not cross.

        Looked for far beyond the cells: `laws.crossover.SEARCH_TOKENS`.
        """
        if self.draws is None:
            value = catch_up(law_of(self.scratch), law_of(self.reused), d1=d1, n=None)
            return Estimate(value, float("nan"), float("nan"), 0.95, "none", float("nan"))
        reused, scratch = self.draws
        return catch_up_estimate(scratch, reused, d1=d1, n=None)


def fit_pair(comparison: Comparison, *, delta: float, draws: int = DRAWS) -> FittedPair | str:
    """Fit both laws; a sentence says why where the cells are too few.

    Args:
        comparison: with a model from scratch.
        delta: of the Huber loss of ln L.
        draws: refits to resampled residuals, for the intervals.
    """
    reused, scratch = comparison.reused_cells, comparison.scratch_cells
    columns = {"loss": "loss_nats", "seed": "seed", "d2": "d2_tokens"}
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
    """Say where a crossing of laws lies relative to the measured D2; `last_difference`: of the laws at the largest D2."""
    if np.isnan(estimate):
        return "laws: reuse better throughout" if last_difference < 0 else "laws: scratch better throughout"
    if estimate < smallest:
        return "laws: before the measured D2"
    return "laws: within the measured D2" if estimate <= largest else "laws: beyond the measured D2"
