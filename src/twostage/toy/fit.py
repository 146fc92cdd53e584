"""What the toy model's losses follow: exponents against ln D1 (Eq. 5), the forms compared, and the branching's growth.

After a summary of v2 of arXiv 2510.06548. Takes the table of `model.simulate`; the fits are those that measured
cells go through (`analysis.curves`, `laws`). `Theory` holds the closed form beside which they are drawn; no fit uses it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from twostage.analysis.curves import PowerLaws, Trend, fit_power_laws, fit_trend
from twostage.laws.declarations import TREE_D2_SCALE_TOKENS
from twostage.laws.points import FloatArray, Points
from twostage.laws.selection import NoiseFloor, compare, noise_floor
from twostage.toy.model import ToyModel

FORMS = ("tree", "mul", "mul0", "hyb", "add")


@dataclass(frozen=True)
class Theory:
    """The closed form of the mean tree: k D1^delta children of a feature, so alpha(D1) = alpha / (1 + kappa ln D1).

    It takes the mean number of children for the number, and a long second stage; the simulation does neither.
    """

    alpha: float
    delta: float
    kappa: float

    @classmethod
    def of(cls, model: ToyModel) -> Theory:
        """A path of the base tree is known to depth ln D1 / ln(base branching); each level splits by 1 + probability."""
        log_k = np.log(model.domain_branching)
        delta = np.log1p(model.split_probability) / np.log(model.base_branching)
        return cls(float(-np.log(model.domain_ratio) / log_k), float(delta), float(delta / log_k))

    def exponent(self, d1: ArrayLike) -> FloatArray:
        """alpha(D1), shape of d1 (samples)."""
        return np.asarray(self.alpha / (1 + self.kappa * np.log(d1)))

    def expansion(self, d1: ArrayLike, about: float) -> FloatArray:
        """alpha(about) - theta ln(d1 / about): first order in ln D1, the form of v2 and of Eq. 2; shape of d1."""
        level = 1 + self.kappa * np.log(about)
        theta = self.alpha * self.kappa / level**2
        return np.asarray(self.alpha / level - theta * np.log(np.asarray(d1) / about))


@dataclass(frozen=True)
class ToyFit:
    """All fits of one table.

    Attributes:
        curves: L = A D2^-alpha + E for each D1, one floor E.
        exponents: Eq. 5, -alpha = gamma ln D1 + E'.
        branching: ln(children of a domain feature) = delta ln D1 + ln k, over the simulated trees; value of the slope
            is delta.
        forms: as `laws.selection.compare`, losses relative to those of a learner that knows nothing.
        noise: between seeds.
    """

    curves: PowerLaws
    exponents: Trend
    branching: Trend
    forms: pd.DataFrame
    noise: NoiseFloor


def fit_toy(losses: pd.DataFrame, *, delta: float = 1e-3) -> ToyFit:
    """Fit the losses of one model, several seeds; `delta`: of the Huber loss.

    Columns as `model.simulate` returns them. The saturating exponent (`tree`) needs a D2 at which the curves of all
    D1 meet, `TREE_D2_SCALE_TOKENS`; in the toy model that is one sample, so one sample counts as that many tokens. The
    other forms do not depend on the unit.

    Raises:
        ValueError: one seed only, or too small a grid.
    """
    curves = fit_power_laws(losses["d2_samples"], losses["d1_samples"], losses["loss"])
    points = Points(
        loss=losses["loss"].to_numpy(float),
        d1=losses["d1_samples"].to_numpy(float),
        d2=losses["d2_samples"].to_numpy(float) * TREE_D2_SCALE_TOKENS,
        seed=losses["seed"].to_numpy(),
    )
    noise = noise_floor(points)
    return ToyFit(
        curves,
        curves.exponent_trend(),
        _branching_trend(losses),
        compare(points, FORMS, delta=delta),
        noise,
    )


def _branching_trend(losses: pd.DataFrame) -> Trend:
    trees = losses.drop_duplicates(["seed", "d1_samples"]).sort_values(["d1_samples", "seed"])
    groups = np.unique(trees["d1_samples"])
    logs = np.log(trees["branching"].to_numpy(float)).reshape(groups.size, -1)
    # Without splitting all trees are alike; a weight needs some error.
    variance = np.maximum(logs.var(axis=1, ddof=1) / logs.shape[1], 1e-12)
    return fit_trend(groups.tolist(), logs.mean(axis=1), np.diag(variance), logs.size - groups.size)
