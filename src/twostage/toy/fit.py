"""Fits to the toy model's losses: exponents against ln D1 (Eq. 5), a comparison of law forms, and the branching.

After a summary of v2 of arXiv 2510.06548. Takes the table of `model.simulate` and fits it in the same way as measured
cells (`analysis.power_laws`, `laws`). `Theory` is the closed form that is drawn for comparison; no fit uses it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from twostage.analysis.power_laws import PowerLaws, Trend, fit_power_laws, fit_trend
from twostage.laws.declarations import TREE_D2_SCALE_TOKENS
from twostage.laws.points import FloatArray, Points
from twostage.laws.selection import NoiseFloor, compare, noise_floor
from twostage.toy.model import ToyModel

FORMS = ("tree", "mul", "mul0", "hyb", "add")


@dataclass(frozen=True)
class Theory:
    """The closed form for a tree in which every feature has k D1^delta children: alpha(D1) = alpha / (1 + kappa ln D1).

    It replaces the number of children by its mean and assumes a long second stage; the simulation does neither.
    """

    alpha: float
    delta: float
    kappa: float

    @classmethod
    def of(cls, model: ToyModel) -> Theory:
        """Derive the constants from a model.

        A path of the base tree is known to depth ln D1 / ln(base_branching), and each known level multiplies the number
        of children by 1 + split_probability.
        """
        log_k = np.log(model.domain_branching)
        delta = np.log1p(model.split_probability) / np.log(model.base_branching)
        return cls(float(-np.log(model.domain_ratio) / log_k), float(delta), float(delta / log_k))

    def exponent(self, d1: ArrayLike) -> FloatArray:
        """Return alpha(D1), shape of d1 (samples)."""
        return np.asarray(self.alpha / (1 + self.kappa * np.log(d1)))

    def expansion(self, d1: ArrayLike, about: float) -> FloatArray:
        """Return alpha(about) - theta ln(d1 / about), the first order in ln D1 as in v2 and Eq. 2; shape of d1."""
        level = 1 + self.kappa * np.log(about)
        theta = self.alpha * self.kappa / level**2
        return np.asarray(self.alpha / level - theta * np.log(np.asarray(d1) / about))


@dataclass(frozen=True)
class ToyFit:
    """All fits to one table of simulated losses.

    Attributes:
        curves: L = A D2^-alpha + E for each D1, with one floor E.
        exponents: Eq. 5, -alpha = gamma ln D1 + E'.
        branching: ln(children of a domain feature) = delta ln D1 + ln k, over the simulated trees; the slope is delta.
        forms: as `laws.selection.compare` returns them; losses are relative to the loss before any learning.
        noise: noise between seeds.
    """

    curves: PowerLaws
    exponents: Trend
    branching: Trend
    forms: pd.DataFrame
    noise: NoiseFloor


def fit_toy(losses: pd.DataFrame, *, delta: float = 1e-3) -> ToyFit:
    """Fit the losses of one model.

    The saturating exponent (`tree`) assumes that the curves of all D1 meet at D2 = `TREE_D2_SCALE_TOKENS`. In the toy
    model they meet at one sample, so one sample counts as that many tokens. The other forms do not depend on the unit.

    Args:
        losses: as `model.simulate` returns them, with at least two seeds.
        delta: threshold of the Huber loss.

    Raises:
        ValueError: there is only one seed, or the grid is too small.
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
    # Without splitting all trees are equal; the weights need a variance above zero.
    variance = np.maximum(logs.var(axis=1, ddof=1) / logs.shape[1], 1e-12)
    return fit_trend(groups.tolist(), logs.mean(axis=1), np.diag(variance), logs.size - groups.size)
