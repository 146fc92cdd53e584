"""Intervals of quantities that are derived from fits: D*, catch-up tokens, savings, predictions, alpha_eff.

A derived number is a function of one or two laws (`crossover`). Its interval comes from evaluating that function on many
laws, drawn from a fit's covariance (`draw_laws`) or from refits (`bootstrap_laws`). Nothing is fitted here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from twostage.laws.crossover import (
    FloatArray,
    Law,
    alpha_eff,
    catch_up_draws,
    d_star,
    d_star_draws,
    law_of,
    saving,
    scratch_tokens,
)
from twostage.laws.fit import Fit
from twostage.laws.functional import log_loss_interval, quantity_interval
from twostage.laws.likelihood import Likelihood, likelihood_of
from twostage.laws.points import Points
from twostage.laws.quantities import Analytic, Coordinates
from twostage.laws.uncertainty import bootstrap

DRAWS = 1000  # our choice: the ends of a 95 % interval are then known to about a tenth of its width


@dataclass(frozen=True)
class Estimate:
    """A derived number with its interval.

    Attributes:
        value: at the point estimates; NaN where it does not exist there.
        lower, upper: the interval; NaN where fewer than half of the draws have a value.
        level: nominal coverage, e.g. 0.95.
        method: where the draws come from, `covariance` or `bootstrap`.
        exists_share: share of draws for which the quantity exists (a crossover may not).
    """

    value: float
    lower: float
    upper: float
    level: float
    method: str
    exists_share: float


@dataclass(frozen=True)
class Draws:
    """Laws drawn from the uncertainty of one fit; coefficients of shape (draws, 1). `method` says from where.

    `likelihood`: of the fit, if its points are known; numbers of this law alone then have profile-likelihood intervals.
    """

    law: Law
    point: Law
    method: str
    likelihood: Likelihood | None = None

    @property
    def size(self) -> int:
        """Number of draws."""
        return int(np.shape(next(iter(self.law.coefficients.values())))[0])

    def at(self, index: int) -> Law:
        """One draw, as a law with plain numbers."""
        return Law(
            self.law.form, {name: float(np.asarray(v)[index, 0]) for name, v in self.law.coefficients.items()}
        )


def draw_laws(fit: Fit, draws: int = DRAWS, *, seed: int = 0) -> Draws:
    """Draw laws from the normal approximation of a fit, in its centred coordinates.

    Scales cannot be negative: a draw outside the bounds is moved to the bound along the direction given by the
    covariance, as a refit with the bound would do for a quadratic objective. Coefficients that
    sit at a bound in the fit stay there. If E is weakly determined, the set of good fits is curved, and these draws are
    too wide; if the points are available, prefer `laws_of`.

    Raises:
        ValueError: the fit has no covariance (its coefficients are not identified), or `draws` < 2.
    """
    if draws < 2:
        raise ValueError(f"draws: {draws} must be at least 2")
    form, theta, centre = fit.law, fit.theta, fit.centre
    order = [form.internal.index(name) for name in form.coefficients]  # raw position -> internal position
    known = ~np.isnan(np.diag(fit.covariance))
    if not known.any():
        raise ValueError(
            f"form {fit.form!r}: the coefficients are not identified by the points, so there is no interval"
        )
    positions = np.array(order)[known]
    jacobian = form.raw_jacobian(theta, centre)[np.ix_(known, positions)]
    inverse = np.linalg.inv(jacobian)
    covariance = np.zeros((theta.size, theta.size))
    covariance[np.ix_(positions, positions)] = inverse @ fit.covariance[np.ix_(known, known)] @ inverse.T
    generator = np.random.default_rng(seed)
    spread = np.sqrt(np.diag(covariance))
    unit = np.where(spread > 0, spread, 1.0)
    values, vectors = np.linalg.eigh(covariance / unit / unit[:, None])
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    shifts = (
        generator.standard_normal((draws, theta.size)) @ root.T * spread
    )  # exactly 0 for what stays at its bound
    sample = theta + shifts
    for position in range(len(form.scales)):
        if spread[position] > 0:
            below = np.minimum(sample[:, position], 0.0)
            sample -= np.outer(below, covariance[:, position] / covariance[position, position])
            sample[:, position] = np.maximum(sample[:, position], 0.0)  # rounding
    raw = [form.to_raw(row, centre) for row in sample]
    return Draws(_drawn_law(fit.form, raw), law_of(fit), "covariance")


def bootstrap_laws(fit: Fit, refits: FloatArray) -> Draws:
    """Use the refits of `uncertainty.bootstrap` as draws; shape (draws, k), in the order of the form's coefficients."""
    rows = [dict(zip(fit.law.coefficients, row, strict=True)) for row in refits.tolist()]
    return Draws(_drawn_law(fit.form, rows), law_of(fit), "bootstrap")


def laws_of(fit: Fit, points: Points | None, draws: int = DRAWS, *, seed: int = 0) -> Draws:
    """Return draws of a fit: refits to resampled residuals if the points are given, else draws from the covariance.

    Refits respect the bounds and follow the strong, nonlinear correlation of A, E and the exponents.
    """
    if points is None:
        return draw_laws(fit, draws, seed=seed)
    refits = bootstrap(points, fit.form, draws, unit="residuals", seed=seed, fit=fit)
    return replace(bootstrap_laws(fit, refits), likelihood=likelihood_of(points, fit))


def _drawn_law(form: str, raw: Sequence[Mapping[str, float]]) -> Law:
    return Law(form, {name: np.array([[float(row[name])] for row in raw]) for name in raw[0]})


def estimate(value: float, draws: ArrayLike, *, level: float = 0.95, method: str = "covariance") -> Estimate:
    """Equal-tailed interval of draws (NaN: the quantity does not exist in that draw; infinity is a value)."""
    if not 0 < level < 1:
        raise ValueError(f"level: {level} must be between 0 and 1, e.g. 0.95")
    values = np.asarray(draws, dtype=np.float64)
    present = values[~np.isnan(values)]
    share = present.size / values.size
    lower = upper = float("nan")
    if share >= 0.5:
        # Not interpolated: infinities ("no number of tokens suffices") are ordinary draws.
        lower, upper = np.quantile(
            present, [0.5 - level / 2, 0.5 + level / 2], method="inverted_cdf"
        ).tolist()
    return Estimate(float(value), lower, upper, level, method, share)


def _methods(*draws: Draws) -> str:
    return " and ".join(dict.fromkeys(d.method for d in draws))


def _same_size(scratch: Draws, reused: Draws) -> None:
    if scratch.size != reused.size:
        raise ValueError(
            f"draws: {scratch.size} of the law from scratch, {reused.size} of the reused one; draw the same number"
        )


def number_of(draws: Draws, function: Callable[[Law], Any], *, level: float = 0.95) -> Estimate:
    """A number that follows from one law, with its interval: from the profile likelihood if the points are known.

    `function` takes a law whose coefficients may be arrays, real or complex.
    """
    value = float(np.squeeze(function(draws.point)))
    if draws.likelihood is None:
        return estimate(value, np.asarray(function(draws.law)).ravel(), level=level, method=draws.method)
    quantity = Analytic(
        Coordinates.of([draws.likelihood.problem]), lambda raw: function(Law(draws.law.form, raw))
    )
    interval = quantity_interval([draws.likelihood], quantity, level)
    lower, upper = (float("nan") if end is None else end for end in (interval.lower, interval.upper))
    return Estimate(value, lower, upper, level, interval.method, 1.0)


def alpha_eff_estimate(reused: Draws, d1: float, *, level: float = 0.95) -> Estimate:
    """alpha_eff at `d1` tokens, with interval."""
    return number_of(reused, lambda law: alpha_eff(law.coefficients, d1), level=level)


def loss_band(
    law: Draws, *, d2: ArrayLike, d1: ArrayLike | None = None, n: ArrayLike | None = None, level: float = 0.95
) -> pd.DataFrame:
    """Predicted loss with pointwise band; columns loss_nats, lower, upper, one row per input.

    The band is for the *law*: the noise of a single run is not included.
    """
    point = np.atleast_1d(law.point.loss(d2, d1=d1, n=n))
    rows = [
        np.broadcast_to(np.asarray(x, dtype=np.float64), point.shape) if x is not None else None
        for x in (d1, d2, n)
    ]
    d1_row, d2_row, n_row = (None if x is None else x[None, :] for x in rows)
    drawn = law.law.loss(d2_row, d1=d1_row, n=n_row)
    lower, upper = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    return pd.DataFrame({"loss_nats": point, "lower": lower, "upper": upper})


def delta_interval(fit: Fit, *, level: float = 0.95, **variables: float) -> tuple[float, float]:
    """Interval of the predicted loss from the covariance alone (delta method on ln L), for a fit without its points.

    `variables`: d1, d2, n as the form needs them. Ends are NaN where the coefficients are not identified. Inside the
    fitted range it agrees with the profile likelihood; far outside it is symmetric in ln L where the truth is not.
    """
    from scipy.special import ndtri

    step = 1e-40
    coefficients = fit.coefficients
    value = fit.law.predict(coefficients, **variables)
    gradient = []
    for name in coefficients:
        moved: dict[str, Any] = {**coefficients, name: coefficients[name] + 1j * step}
        gradient.append(float(np.imag(fit.law.predict(moved, **variables)) / step / value))
    slope = np.array(gradient)
    width = float(ndtri(0.5 + level / 2) * np.sqrt(slope @ fit.covariance @ slope))
    return float(value * np.exp(-width)), float(value * np.exp(width))


def predict(
    fit: Fit,
    points: Points | None = None,
    *,
    d1: float | None = None,
    d2: float | None = None,
    n: float | None = None,
    level: float = 0.95,
) -> Estimate:
    """Loss in nats per token that a fit predicts, with its interval.

    Args:
        fit: any form.
        points: those it was fitted to; the interval is then a profile-likelihood one, else from the covariance. An end
            that is not determined is NaN.
        d1, d2: tokens, n: parameters before growth; those that the form needs.
        level: coverage of the interval. The noise of a single run is not included.

    Raises:
        ValueError: a variable of the form is missing or not positive.
    """
    given = {"d1": d1, "d2": d2, "n": n}
    if missing := [name for name in fit.law.variables if given[name] is None]:
        raise ValueError(f"form {fit.form!r} needs {', '.join(missing)}: {fit.law.equation}")
    values = {name: value for name, value in given.items() if name in fit.law.variables and value is not None}
    loss = float(fit.predict(**values))
    if points is None:
        return Estimate(loss, *delta_interval(fit, level=level, **values), level, "covariance", 1.0)
    interval = log_loss_interval(likelihood_of(points, fit), level, **values)
    lower, upper = (
        float("nan") if end is None else float(np.exp(end)) for end in (interval.lower, interval.upper)
    )
    return Estimate(loss, lower, upper, level, interval.method, 1.0)


def d_star_estimate(
    scratch: Draws, reused: Draws, n: float | None, *, growth_factor: float = 2.0, level: float = 0.95
) -> Estimate:
    """D* of Eq. 8 with interval, in tokens. `exists_share` below 1 means that some draws have no crossover."""
    _same_size(scratch, reused)
    point = d_star(scratch.point, reused.point, n, growth_factor=growth_factor).tokens
    values = d_star_draws(scratch.law, reused.law, n, growth_factor=growth_factor)
    return estimate(point, values, level=level, method=_methods(scratch, reused))


def catch_up_estimate(
    scratch: Draws,
    reused: Draws,
    *,
    d1: float,
    n: float | None,
    growth_factor: float = 1.0,
    level: float = 0.95,
) -> Estimate:
    """Tokens D2 beyond which training from scratch wins (Figures 10, 11), with interval."""
    _same_size(scratch, reused)

    def tokens(a: Law, b: Law) -> FloatArray:
        return catch_up_draws(a, b, d1=d1, n=n, growth_factor=growth_factor)

    point = float(tokens(scratch.point, reused.point)[0])
    return estimate(point, tokens(scratch.law, reused.law), level=level, method=_methods(scratch, reused))


def saving_estimate(
    scratch: Draws,
    reused: Draws,
    *,
    d1: float,
    d2: float,
    n: float | None,
    growth_factor: float = 1.0,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Loss, from-scratch tokens to the same loss, tokens saved and their share of the sunk cost, with intervals.

    Keys as the fields of `crossover.Saving`. Draws in which the law from scratch cannot be inverted (no gain from data)
    count as not existing.
    """
    _same_size(scratch, reused)
    point = saving(scratch.point, reused.point, d1=d1, d2=d2, n=n, growth_factor=growth_factor)
    losses = reused.law.loss(d2, d1=d1, n=n)[:, 0]
    n_final = None if n is None else growth_factor * n
    tokens = np.full(losses.shape, np.nan)
    for i, loss in enumerate(losses):
        try:
            tokens[i] = scratch_tokens(scratch.at(i), loss, n_final)
        except ValueError:
            continue  # the law from scratch of this draw does not fall with tokens; exists_share counts such draws
    method = _methods(scratch, reused)
    return {
        "loss_nats": estimate(point.loss_nats, losses, level=level, method=method),
        "scratch_tokens": estimate(point.scratch_tokens, tokens, level=level, method=method),
        "saved_tokens": estimate(point.saved_tokens, tokens - d2, level=level, method=method),
        "share_of_sunk_cost": estimate(
            point.share_of_sunk_cost, (tokens - d2) / d1, level=level, method=method
        ),
    }
