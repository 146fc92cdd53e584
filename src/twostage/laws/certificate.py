"""The certificate of an optimum: first and second order conditions, and how many descents of the search agree.

It verifies local optimality to rounding, and reports on the global search without repeating it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twostage.laws.descent import model_at, newton_step
from twostage.laws.lad import ZERO, stationarity
from twostage.laws.objective import Objective
from twostage.laws.points import AnyArray, FloatArray
from twostage.laws.problem import Problem
from twostage.laws.solver import Solution

# What counts as certified: the KKT residual, and the relative decrease that a Newton step still promises.
KKT_TOLERANCE = 1e-5
GAIN_TOLERANCE = 1e-9
# Values of the same minimum, reached from different starts, agree to this.
SAME = 1e-9


@dataclass(frozen=True)
class Certificate:
    """Diagnostics of an optimum.

    `kkt_residual`: largest violation of stationarity over coordinates (at a bound only the inward pull counts), as a
    share of the pull that coordinate would feel if all residuals pulled one way (0 to 1). `expected_gain`: relative
    decrease that one more Newton step promises. `min_curvature`: smallest eigenvalue of the scaled Hessian on the free
    coordinates; `second_order`: it is not negative. `certified`: both orders hold. `starts`: descents for this problem;
    `basins`: distinct minima among them; `agreement`: share that ended at the best one; `next_basin`: relative gap of
    the second best (None: only one). `bounds_hit`: coefficients at a bound; `points_within_delta`: points whose
    residual is within the Huber threshold (`lad`: exactly).
    """

    kkt_residual: float
    expected_gain: float
    min_curvature: float
    second_order: bool
    certified: bool
    starts: int
    basins: int
    agreement: float
    next_basin: float | None
    bounds_hit: tuple[str, ...]
    points_within_delta: int


@dataclass(frozen=True)
class Conditions:
    """Optimality conditions of a batch of P problems, each of shape (P,); `at_bound` and `residuals` for reporting."""

    kkt_residual: FloatArray
    expected_gain: FloatArray
    min_curvature: FloatArray
    at_bound: AnyArray
    residuals: FloatArray

    @property
    def certified(self) -> AnyArray:
        """Whether each point satisfies the first and second order conditions."""
        first = (self.kkt_residual < KKT_TOLERANCE) | (self.expected_gain < GAIN_TOLERANCE)
        return np.asarray(first & (self.min_curvature >= -1e-9))


def conditions(problem: Problem, thetas: FloatArray, weights: FloatArray, spec: Objective) -> Conditions:
    """First and second order conditions at thetas (P, k) under weights (P, m)."""
    delta, box = spec.delta, problem.box
    if spec.name == "lad":
        return _lad_conditions(problem, thetas, weights)
    model = model_at(problem.response, problem.y, weights, thetas, delta)
    low, high = thetas <= box.lower, thetas >= box.upper
    pull = model.gradient
    violation = np.where(
        low & high,
        0.0,
        np.where(low, np.maximum(-pull, 0), np.where(high, np.maximum(pull, 0), np.abs(pull))),
    )
    most = (
        delta * (np.abs(model.jacobian) @ np.broadcast_to(weights, model.residual.shape)[..., None])[..., 0]
    )
    kkt = np.asarray((violation / np.maximum(most, 1e-300)).max(axis=1))
    _, promised = newton_step(
        model.hessian,
        model.gradient,
        model.root,
        thetas,
        box,
        np.full(len(thetas), 1e-12 * min(1.0, delta / 1e-3)),
    )
    gain = np.asarray(promised / np.maximum(model.value, 1e-24 * delta))
    bound = low | high
    scaled = model.hessian * model.root[:, :, None] * model.root[:, None, :]
    scaled = np.where(bound[:, :, None] | bound[:, None, :], 0.0, scaled)
    # coordinates at a bound do not count: give them the curvature one
    diagonal = np.arange(thetas.shape[1])
    scaled[:, diagonal, diagonal] += bound
    return Conditions(kkt, gain, np.asarray(np.linalg.eigvalsh(scaled)[:, 0]), bound, model.residual)


def _lad_conditions(problem: Problem, thetas: FloatArray, weights: FloatArray) -> Conditions:
    """The same for least absolute deviation, with the multipliers of the points with residual zero."""
    response, box = problem.response, problem.box
    at = response.evaluate(thetas)
    rows = np.broadcast_to(weights, at.log_pred.shape)
    points = [stationarity(response, problem.y, w, t, box) for w, t in zip(rows, thetas, strict=True)]
    most = (np.abs(at.jacobian) @ rows[..., None])[..., 0]
    kkt = (np.abs(np.array([p.pull for p in points])) / np.maximum(most, 1e-300)).max(axis=1)
    bound = (thetas <= box.lower) | (thetas >= box.upper)
    curvature = np.array([p.curvature for p in points])
    return Conditions(
        kkt, np.asarray(np.where(kkt < KKT_TOLERANCE, 0.0, np.inf)), curvature, bound, at.log_pred - problem.y
    )


def certify(problem: Problem, solution: Solution, spec: Objective) -> Certificate:
    """The certificate of a solution."""
    at = conditions(problem, solution.theta[None], problem.weights[None], spec)
    tolerance = SAME * abs(solution.value) + 1e-14
    seen = np.sort(solution.seen)
    same = seen <= solution.value + tolerance
    others = seen[~same]
    steps = np.diff(others, prepend=-np.inf) > 1e-6 * np.abs(others)
    curvature = float(at.min_curvature[0])
    movable = problem.box.lower < problem.box.upper
    return Certificate(
        kkt_residual=float(at.kkt_residual[0]),
        expected_gain=float(at.expected_gain[0]),
        min_curvature=curvature,
        second_order=bool(curvature >= -1e-9),
        certified=bool(at.certified[0]),
        starts=len(seen),
        basins=1 + int(steps.sum()),
        agreement=float(np.mean(same)),
        next_basin=float(others[0] / solution.value - 1) if others.size and solution.value > 0 else None,
        bounds_hit=tuple(
            n for n, hit in zip(problem.law.internal, at.at_bound[0] & movable, strict=True) if hit
        ),
        points_within_delta=int(
            np.sum(np.abs(at.residuals[0]) <= (ZERO if spec.name == "lad" else spec.delta))
        ),
    )
