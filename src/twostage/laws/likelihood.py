"""A fit as a likelihood: the rise of the objective above its minimum that noise explains, and draws of refits.

The scale comes from the residuals (`covariance.variance_scale`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twostage.laws.covariance import variance_scale
from twostage.laws.fit import Fit
from twostage.laws.objective import Objective
from twostage.laws.points import FloatArray, Points
from twostage.laws.problem import Problem
from twostage.laws.refits import refit
from twostage.laws.solver import minimise

# `lad` and a delta far below the residuals are replaced by Huber at this share of the median residual.
SMOOTHING_SHARE = 0.05
NO_FREEDOM = "as many coefficients as points: there are no residuals from which to estimate the noise; measure more cells"
# A scale (squared residual) below this is rounding error.
EXACT = 1e-27


@dataclass(frozen=True)
class Likelihood:
    """A fit as a likelihood: its objective, the minimum (internal coordinates, value), the
    scale s, and E psi' (the objective's curvature is that share of J^T J)."""

    problem: Problem
    spec: Objective
    theta: FloatArray
    optimum: float
    scale: float
    curvature_share: float
    dof: int

    @property
    def free(self) -> NDArray[np.bool_]:
        """Coordinates that are not at a bound, (k,)."""
        return (self.theta > self.problem.box.lower) & (self.theta < self.problem.box.upper)

    def deviance(self, thetas: FloatArray) -> FloatArray:
        """2 (f - f_min) / s for internal vectors (B, k), shape (B,)."""
        with np.errstate(all="ignore"):
            residuals = self.problem.response.log_predict(thetas) - self.problem.y
            value = np.vecdot(self.spec.per_point(residuals), self.problem.weights)
        return np.where(np.isnan(value), np.inf, 2.0 * (value - self.optimum) / self.scale)

    def whitener(self) -> FloatArray:
        """W (k, k) with theta = optimum + W z and deviance near |z|^2; directions the points leave flat are capped."""
        jacobian = self.problem.response.evaluate(self.theta[None]).jacobian[0]
        length = np.sqrt(np.vecdot(jacobian, jacobian)) + 1e-300
        unit = jacobian / length[:, None]
        values, vectors = np.linalg.eigh(unit @ unit.T)
        root = np.sqrt(self.scale / self.curvature_share / np.maximum(values, 1e-10 * values[-1]))
        return np.asarray(vectors * root / length[:, None])

    def draws(self, count: int, seed: int = 0) -> FloatArray:
        """Internal vectors (count, k) of refits to simulated losses: fitted plus resampled residuals.

        The residuals are centred on their median and widened by sqrt(m / (m - k)); the grid stays as it is. Unlike draws from
        a covariance, the refits respect the bounds and follow the nonlinear correlation of A, E and the exponents.
        """
        problem, m = self.problem, self.problem.y.size
        fitted = problem.response.log_predict(self.theta[None])[0]
        residuals = problem.y - fitted
        if np.isnan(self.scale):
            raise ValueError(NO_FREEDOM)
        residuals = (residuals - np.median(residuals)) * np.sqrt(m / self.dof)
        simulated = fitted + np.random.default_rng(seed).choice(residuals, (count, m))
        return refit(problem, simulated, problem.weights, self.theta, self.spec)

    @property
    def exact(self) -> bool:
        """Whether the residuals are rounding errors although there are degrees of freedom: every interval is then a point."""
        return self.scale < EXACT

    def unit(self, level: float, dof: int | None = None) -> float:
        """Rise of the objective above its minimum at which the interval ends; 0 for an exact fit."""
        return 0.5 * student_quantile(level, dof or self.dof) ** 2 * self.scale


def student_quantile(level: float, dof: int) -> float:
    """Two-sided Student t quantile."""
    from scipy.special import stdtrit

    if not 0 < level < 1:
        raise ValueError(f"level {level!r}: give a probability between 0 and 1, e.g. 0.95")
    return float(stdtrit(dof, 0.5 + level / 2))


def likelihood_of(points: Points, fit: Fit) -> Likelihood:
    """The likelihood of a fit; see `profile_interval`."""
    problem = Problem.of(points, fit.law)
    residuals = problem.response.log_predict(fit.theta[None])[0] - problem.y
    spec, theta, optimum = fit.objective_spec, fit.theta, fit.objective
    size = np.sort(np.abs(residuals))
    # `lad` fits k points exactly; the noise is estimated from the others
    smallest = SMOOTHING_SHARE * float(np.median(size[min(len(fit.theta), size.size - 1) :]))
    if spec.name == "lad" or spec.delta < smallest:
        spec = Objective("huber", max(smallest, 1e-15))
        theta, values = minimise(
            problem.response, problem.y, problem.weights[None], theta[None], problem.box, spec
        )
        theta, optimum = theta[0], float(values[0])
        residuals = problem.response.log_predict(theta[None])[0] - problem.y
    k = int(((theta > problem.box.lower) & (theta < problem.box.upper)).sum())
    variance, share = variance_scale(residuals, spec, k)
    return Likelihood(problem, spec, theta, optimum, variance * share, share, max(residuals.size - k, 1))
