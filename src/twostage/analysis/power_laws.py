"""Power laws in one token count at fixed values of the other (Eq. 1), and the trends of their exponents and factors.

`fit_power_laws` fits L = A x^-alpha + E to each curve of a method. `fit_trend` then fits Eq. 5 to the exponents, or a power
law to the factors. This is the paper's bottom-up evidence (Figures 1 and 3); laws in both token counts are in
`twostage.laws`.

Four or five points hardly determine the three coefficients of a single curve. Our choice: all curves of a method share
one floor E, as in Eq. 2. Fits with a separate floor for each curve are made and reported as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import lmfit
import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from twostage.analysis.power_law_solver import FloatArray, PowerLawProblem
from twostage.common.errors import UserError
from twostage.laws.fit import Interval

LEVEL = 0.95


@dataclass(frozen=True)
class Coefficient:
    """A fitted number: value, standard error (NaN without degrees of freedom), interval."""

    value: float
    standard_error: float
    interval: Interval

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Coefficient:
        """Read from JSON, where NaN is null."""
        error = data["standard_error"]
        return cls(data["value"], np.nan if error is None else error, Interval(**data["interval"]))


@dataclass(frozen=True)
class PowerLawCurve:
    """The fitted power law of one curve.

    `group`: the fixed token count. `alpha`: exponent. `log_factor`: ln A, with A the reducible loss in nats per token at
    x = 1 token; this is far outside the data, so it is strongly correlated with alpha. `log_factor_centred`: ln of the
    reducible loss at the reference. `floor`: E in nats.
    """

    group: float
    n_points: int
    alpha: Coefficient
    log_factor: Coefficient
    log_factor_centred: Coefficient
    floor: Coefficient


@dataclass(frozen=True)
class PowerLaws:
    """The power laws of all n curves of one method.

    `reference`: geometric mean of x, in tokens. `covariance_alpha`, `covariance_log_factor`: covariances between curves,
    in the order of `curves`, shape (n, n). `sd_log`: residual standard deviation of ln L, pooled over the curves.
    `degrees_of_freedom`: of `sd_log`.
    """

    shared_floor: bool
    reference: float
    curves: tuple[PowerLawCurve, ...]
    covariance_alpha: FloatArray
    covariance_log_factor: FloatArray
    sd_log: float
    degrees_of_freedom: int

    @property
    def groups(self) -> list[float]:
        """The fixed token counts, in ascending order."""
        return [curve.group for curve in self.curves]

    def predict(self, group: float, x: ArrayLike) -> FloatArray:
        """Return the loss in nats per token on the curve of `group` at `x` tokens, shape of x; KeyError for an unknown group."""
        for curve in self.curves:
            if curve.group == group:
                log_reducible = curve.log_factor_centred.value - curve.alpha.value * np.log(
                    np.asarray(x) / self.reference
                )
                return np.asarray(np.exp(log_reducible) + curve.floor.value)
        raise KeyError(group)

    def exponent_trend(self) -> Trend:
        """Fit Eq. 5: -alpha = gamma ln(group) + E'."""
        return fit_trend(
            self.groups, [-c.alpha.value for c in self.curves], self.covariance_alpha, self.degrees_of_freedom
        )

    def factor_trend(self) -> Trend:
        """Fit ln A as a straight line in ln(group); minus its slope is alpha1 of Eq. 2."""
        values = [c.log_factor.value for c in self.curves]
        return fit_trend(self.groups, values, self.covariance_log_factor, self.degrees_of_freedom)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        plain = asdict(self)
        for name in ("covariance_alpha", "covariance_log_factor"):
            plain[name] = getattr(self, name).tolist()
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PowerLaws:
        """Read from JSON."""

        def matrix(rows: list[list[float | None]]) -> FloatArray:
            return np.array([[np.nan if v is None else v for v in row] for row in rows], float)

        coefficients = ("alpha", "log_factor", "log_factor_centred", "floor")
        curves = tuple(
            PowerLawCurve(**{**curve, **{name: Coefficient.from_dict(curve[name]) for name in coefficients}})
            for curve in data["curves"]
        )
        sd_log = data["sd_log"]
        return cls(
            **{
                **data,
                "curves": curves,
                "covariance_alpha": matrix(data["covariance_alpha"]),
                "covariance_log_factor": matrix(data["covariance_log_factor"]),
                "sd_log": np.nan if sd_log is None else sd_log,
            }
        )


@dataclass(frozen=True)
class Trend:
    """A straight line y = slope ln(tokens) + intercept through fitted coefficients.

    `covariance`: of slope and intercept, shape (2, 2). `scatter`: square root of the line's chi-square per degree of
    freedom (1 without degrees of freedom); where it is above 1, the errors have been multiplied by it.
    """

    slope: Coefficient
    intercept: Coefficient
    covariance: FloatArray
    scatter: float

    def predict(self, tokens: ArrayLike) -> FloatArray:
        """Return y at token counts, shape of tokens."""
        return np.asarray(self.slope.value * np.log(np.asarray(tokens, float)) + self.intercept.value)


def fit_power_laws(
    x: ArrayLike, group: ArrayLike, loss: ArrayLike, *, shared_floor: bool = True, level: float = LEVEL
) -> PowerLaws:
    """Fit Eq. 1 to every curve by least squares of ln L, with E >= 0 and alpha of any sign. Each seed is a separate point.

    Least squares is used instead of the paper's Huber loss because the error bars are scaled by the residuals, pooled
    over the curves. The intervals treat points as independent, although points of one run share the noise of its trunk.

    Args:
        x: token count that varies along a curve, shape (m,).
        group: token count that is fixed on a curve, shape (m,).
        loss: nats per token, shape (m,).
        shared_floor: whether all curves share one E.
        level: confidence level of the intervals.

    Raises:
        UserError: there are too few points (the message says how many are needed), or a value is not a positive number.
    """
    arrays = {"x": np.asarray(x, float), "group": np.asarray(group, float), "loss": np.asarray(loss, float)}
    for name, values in arrays.items():
        if (
            values.ndim != 1
            or values.shape != arrays["loss"].shape
            or not np.all(np.isfinite(values) & (values > 0))
        ):
            raise UserError(f"{name}: must be one positive finite number per point, got {values!r}")
    if not arrays["loss"].size:
        raise UserError("no points: the table has no rows; measure cells first")
    log_x, log_loss = np.log(arrays["x"]), np.log(arrays["loss"])
    groups, index = np.unique(arrays["group"], return_inverse=True)
    reference = float(log_x.mean())
    sets = [np.arange(groups.size)] if shared_floor else [np.array([i]) for i in range(groups.size)]
    problems = []
    for members in sets:
        keep = np.isin(index, members)
        problem = PowerLawProblem(
            log_x[keep], log_loss[keep], index[keep] - members[0], members.size, reference
        )
        problem.check()
        problems.append(problem)
    optima = [problem.solve() for problem in problems]
    dof = sum(problem.degrees_of_freedom for problem in problems)
    chisqr = sum(problem.chisqr(optimum) for problem, optimum in zip(problems, optima, strict=True))
    variance = chisqr / dof if dof > 0 else np.nan
    curves: list[PowerLawCurve] = []
    alpha_blocks, factor_blocks = [], []
    for members, problem, optimum in zip(sets, problems, optima, strict=True):
        noise = _Noise(variance, dof, level)
        found, cov_alpha, cov_factor = _curves(problem, optimum, groups[members], noise)
        curves += found
        alpha_blocks.append(cov_alpha)
        factor_blocks.append(cov_factor)
    return PowerLaws(
        shared_floor=shared_floor,
        reference=float(np.exp(reference)),
        curves=tuple(curves),
        covariance_alpha=_block_diagonal(alpha_blocks),
        covariance_log_factor=_block_diagonal(factor_blocks),
        sd_log=float(np.sqrt(variance)),
        degrees_of_freedom=dof,
    )


@dataclass(frozen=True)
class _Noise:
    variance: float
    dof: int
    level: float


def _curves(
    problem: PowerLawProblem, optimum: lmfit.Parameters, groups: FloatArray, noise: _Noise
) -> tuple[list[PowerLawCurve], FloatArray, FloatArray]:
    """Return the curves of one problem, and the covariances of their exponents and of ln A at one token."""
    n = problem.n_curves
    covariance = problem.covariance(optimum) * noise.variance
    # ln A at one token = ln of the factor at the reference + alpha ln(reference)
    to_raw = np.hstack([problem.reference * np.eye(n), np.eye(n), np.zeros((n, 1))])
    covariance_raw = to_raw @ covariance @ to_raw.T
    raw_problem, raw_optimum = problem.with_reference(0.0, optimum)
    errors = dict(zip(problem.names, np.sqrt(np.diag(covariance)), strict=True))

    def coefficient(of: PowerLawProblem, at: lmfit.Parameters, name: str, error: float) -> Coefficient:
        interval = of.profile(at, name, step=error, variance=noise.variance, dof=noise.dof, level=noise.level)
        return Coefficient(float(at[name].value), float(error), interval)

    floor = coefficient(problem, optimum, "floor", errors["floor"])
    curves = [
        PowerLawCurve(
            group=float(groups[i]),
            n_points=int((problem.index == i).sum()),
            alpha=coefficient(problem, optimum, f"alpha_{i}", errors[f"alpha_{i}"]),
            log_factor=coefficient(
                raw_problem, raw_optimum, f"log_factor_{i}", np.sqrt(covariance_raw[i, i])
            ),
            log_factor_centred=coefficient(problem, optimum, f"log_factor_{i}", errors[f"log_factor_{i}"]),
            floor=floor,
        )
        for i in range(n)
    ]
    return curves, covariance[:n, :n], covariance_raw


def _block_diagonal(blocks: Sequence[FloatArray]) -> FloatArray:
    size = sum(len(block) for block in blocks)
    matrix, at = np.zeros((size, size)), 0
    for block in blocks:
        matrix[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    return matrix


def fit_trend(
    tokens: Sequence[float], values: ArrayLike, covariance: ArrayLike, dof: int, level: float = LEVEL
) -> Trend:
    """Fit y = slope ln(tokens) + intercept: Eq. 5 with y = -alpha(D1), or the power law of the factors with y = ln A.

    Points are weighted by their variances. Errors are propagated through the full covariance of the points, which share
    a floor, and are enlarged where the points scatter more than their covariance explains.

    Args:
        tokens: shape (n,).
        values: y, shape (n,).
        covariance: of the values, shape (n, n).
        dof: degrees of freedom of the curve fits, for the t quantile.
        level: confidence level of the intervals.

    Raises:
        UserError: there are fewer than two points, or their errors are not known.
    """
    y, cov = np.asarray(values, float), np.asarray(covariance, float)
    if y.size < 2 or dof < 1 or not np.all(np.isfinite(cov)) or not np.all(np.diag(cov) > 0):
        raise UserError(
            f"a trend needs at least two curves with known errors, got {y.size}; measure more cells"
        )
    design = np.stack([np.log(np.asarray(tokens, float)), np.ones(y.size)], axis=1)
    weighted = design.T / np.diag(cov)
    solve = np.linalg.solve(weighted @ design, weighted)
    slope, intercept = (float(v) for v in solve @ y)
    scatter = 1.0
    if y.size > 2:
        left = np.eye(y.size) - design @ solve
        inverse = np.linalg.pinv(left @ cov @ left.T, rcond=1e-10, hermitian=True)
        residuals = left @ y
        scatter = float(np.sqrt(residuals @ inverse @ residuals / (y.size - 2)))
    spread = solve @ cov @ solve.T * max(1.0, scatter) ** 2
    quantile = float(student.ppf(0.5 + level / 2, dof))

    def coefficient(value: float, variance: float) -> Coefficient:
        error = float(np.sqrt(variance))
        interval = Interval(value - quantile * error, value + quantile * error, level, "covariance")
        return Coefficient(value, error, interval)

    return Trend(coefficient(slope, spread[0, 0]), coefficient(intercept, spread[1, 1]), spread, scatter)
