"""Uncertainty of a fit: profile-likelihood intervals, bootstrap over points, trunks or seeds.

The intervals we print are profile-likelihood ones; the coverage of a percentile bootstrap on 25 points is too low. Interval of any scalar
function of the coefficients: `interval_of` (from `functional`). No fitting of new forms here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twostage.laws.descent import Box, descend
from twostage.laws.fit import Fit, Interval, fit_law
from twostage.laws.functional import METHOD, Range, interval_of, quantity_intervals
from twostage.laws.likelihood import Likelihood, likelihood_of, student_quantile
from twostage.laws.points import FloatArray, Points
from twostage.laws.problem import Problem
from twostage.laws.quantities import Analytic, Coordinates
from twostage.laws.refits import refit
from twostage.laws.solver import LEAST_SQUARES_DELTA

__all__ = [
    "bootstrap",
    "interval_of",
    "profile_interval",
    "profile_intervals",
    "resampled_weights",
    "soft_coefficients",
    "standard_errors",
]

Scalar = Callable[..., float]
#: Units of the bootstraps that resample rows.
RESAMPLED = ("points", "trunks", "seeds")


def profile_interval(points: Points, fit: Fit, what: str | Scalar, level: float = 0.95) -> Interval:
    """Profile-likelihood interval of one coefficient (by name) or of a function of the coefficients mapping.

    The likelihood: the objective f divided by the scale s = E psi^2 / E psi' of its own residuals (m - k degrees of
    freedom; `covariance.score_moments`), so that 2 (f - f_min) / s is asymptotically chi-squared
    (Ronchetti's likelihood-ratio-type test; for residuals below delta it is the least-squares F test). The
    threshold is the squared Student t quantile with m - k degrees of freedom. `lad`, and a delta far below the residuals,
    use Huber at a twentieth of the median residual instead, whose profile has no corners. An end at a bound of the
    coefficient is explained in `note`.
    """
    if not isinstance(what, str):
        return interval_of(points, fit, what, level)
    if what not in fit.coefficients:
        raise ValueError(f"{what!r} is not a coefficient of {fit.form!r}: {', '.join(fit.coefficients)}")
    return _coefficient_intervals(points, fit, (what,), level)[what]


def profile_intervals(points: Points, fit: Fit, level: float = 0.95) -> dict[str, Interval]:
    """Profile-likelihood intervals of all coefficients; see `profile_interval`."""
    return _coefficient_intervals(points, fit, tuple(fit.coefficients), level)


def _coefficient_intervals(
    points: Points, fit: Fit, names: Sequence[str], level: float
) -> dict[str, Interval]:
    """The intervals of raw coefficients; those of their logarithms, carried over, where they are positive factors."""
    likelihood, law = likelihood_of(points, fit), fit.law
    coordinates = Coordinates.of([likelihood.problem])
    found, known, quantities, ranges = {}, [], [], []
    variances = dict(zip(law.coefficients, np.diag(fit.covariance), strict=True))
    free = dict(zip(law.internal, likelihood.free, strict=True))
    for name in names:
        value, declared = fit.coefficients[name], law.coefficients[name]
        internal = float(likelihood.theta[law.internal.index(name)])
        if not np.isfinite(value) or (declared.scale and value == 0.0 and internal > 0):
            note = f"too far from 1 to be represented: the points do not bound {name}"
            found[name] = Interval(None, None, level, METHOD, note)
            continue
        if np.isnan(variances[name]) and free[name] and not np.isnan(likelihood.scale):
            note = f"not identified by these points: they do not bound {name}"
            found[name] = Interval(None, None, level, METHOD, note)
            continue
        in_log = declared.lower == 0.0 and name != "E" and value > 0
        known.append((name, in_log))
        quantities.append(Analytic(coordinates, partial(_log_raw if in_log else _raw, name)))
        floor = None if declared.lower == -np.inf else -np.inf if in_log else declared.lower
        ranges.append(Range(name, floor))
    intervals = quantity_intervals([likelihood], quantities, level, ranges=ranges) if known else []
    for (name, in_log), interval in zip(known, intervals, strict=True):
        lower, upper = interval.lower, interval.upper
        if in_log:
            lower, upper = (None if end is None else float(np.exp(end)) for end in (lower, upper))
        found[name] = replace(interval, lower=lower, upper=upper)
        if in_log and lower != 0.0 and name in law.scales and _zero_allowed(likelihood, name, level):
            notes = [f"lower end is the bound of {name}", *interval.note.split("; ")[lower is None :]]
            found[name] = replace(found[name], lower=0.0, note="; ".join(note for note in notes if note))
    return {name: found[name] for name in names}


def _zero_allowed(likelihood: Likelihood, name: str, level: float) -> bool:
    """Whether the points allow a scale of zero, which its logarithm cannot reach: the best fit with the scale held there."""
    problem, spec = likelihood.problem, likelihood.spec
    index = problem.law.internal.index(name)
    upper = problem.box.upper.copy()
    upper[index] = 0.0
    box = Box(problem.box.lower, upper)
    start = box.clip(likelihood.theta)[None]
    squares, _ = descend(problem.response, problem.y, problem.weights, start, box, LEAST_SQUARES_DELTA)
    ends, _ = descend(
        problem.response, problem.y, problem.weights, np.concatenate([start, squares]), box, spec.delta
    )
    limit = student_quantile(level, likelihood.dof) ** 2
    return bool(likelihood.deviance(ends).min() < limit)


def _raw(name: str, raw: Mapping[str, Any]) -> Any:
    return raw[name]


def _log_raw(name: str, raw: Mapping[str, Any]) -> Any:
    return np.log(raw[name])


def bootstrap(
    points: Points,
    form: str,
    n: int,
    unit: str = "points",
    seed: int = 0,
    *,
    fit: Fit | None = None,
    objective: str = "huber",
    delta: float = 1e-3,
) -> FloatArray:
    """Coefficients of n refits to resampled data: draws (n, k) in the order of the form's coefficients.

    unit: `points` resamples rows, `trunks` trunks (all rows that share a first stage and so its noise), `seeds`
    seeds (all rows that share all randomness), `residuals` resamples the residuals on the same grid. With `fit` the points are not
    fitted again, and its objective is used. Each refit starts from the fit. With k seeds the spread over seeds is too small by a
    factor sqrt((k - 1) / k) in expectation, and there are only C(2k - 1, k) different draws: it is a lower
    bound of the uncertainty. ValueError for another unit, n < 1, and what `resampled_weights` refuses.
    """
    if unit not in (*RESAMPLED, "residuals"):
        raise ValueError(f"unit {unit!r}: choose 'points', 'trunks', 'seeds' or 'residuals'")
    if n < 1:
        raise ValueError(f"n {n!r}: the number of refits must be at least 1")
    if fit is None:
        fit = fit_law(points, form, objective=objective, delta=delta)
    if unit == "residuals":
        likelihood = likelihood_of(points, fit)
        return raw_rows(likelihood.problem, likelihood.draws(n, seed))
    problem = Problem.of(points, fit.law)
    weights = resampled_weights(points, n, unit, seed)
    return raw_rows(problem, refit(problem, problem.y, weights, fit.theta, fit.objective_spec))


def resampled_weights(points: Points, n: int, unit: str = "points", seed: int = 0) -> FloatArray:
    """How often each row occurs in each of the n resampled tables behind `bootstrap`; (n, m).

    unit: `points`, `trunks` or `seeds`. ValueError for fewer than two trunks or seeds, and for seeds that lack cells: a
    draw without the complete ones would have fewer cells.
    """
    groups = _groups(points, unit)
    count = int(groups.max()) + 1
    rng = np.random.default_rng(seed)
    return rng.multinomial(count, np.full(count, 1.0 / count), size=n).astype(float)[:, groups]


def _groups(points: Points, unit: str) -> NDArray[np.intp]:
    """Number of each row's unit, from 0; (m,)."""
    if unit == "points":
        return np.arange(len(points))
    if unit == "trunks":
        labels, groups = np.unique(points.trunk, return_inverse=True)
        if labels.size < 2:
            raise ValueError("all points share one trunk, so there is nothing to resample; use unit='points'")
        return groups
    if points.seed is None or np.unique(points.seed).size < 2:
        raise ValueError(
            "the points have one seed or none, so there are no seeds to resample; use unit='trunks'"
        )
    labels, groups, counts = np.unique(points.seed, return_inverse=True, return_counts=True)
    cells = np.unique(points.cell).size
    if (lacking := counts < cells).any():
        raise ValueError(
            f"seed {labels[lacking][0]} has {counts[lacking][0]} of {cells} cells: resample seeds that have all cells, "
            "or use unit='trunks'"
        )
    return groups


def raw_rows(problem: Problem, thetas: FloatArray) -> FloatArray:
    """Raw coefficients (n, k), in the form's order, of internal vectors (n, k)."""
    raw = problem.law.to_raw(thetas.T, problem.centre)
    return np.stack([np.real(raw[name]) for name in problem.law.coefficients], axis=1)


def standard_errors(draws: FloatArray, names: Sequence[str]) -> dict[str, float]:
    """Standard deviation of bootstrap draws (n, k), by coefficient."""
    return dict(zip(names, map(float, draws.std(axis=0, ddof=1)), strict=True))


def soft_coefficients(fit: Fit) -> tuple[str, ...]:
    """Names of the coefficients whose standard error from the covariance exceeds a tenth of their size, or is unknown."""
    errors = np.sqrt(np.diag(fit.covariance))
    with np.errstate(all="ignore"):
        relative = {n: e / abs(v) for (n, v), e in zip(fit.coefficients.items(), errors, strict=True)}
    return tuple(name for name, value in relative.items() if not value < 0.1)
