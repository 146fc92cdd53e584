"""Interval of any scalar function of the coefficients, of one fit or of several together (alpha_eff, ln D*, a loss).

The profile-likelihood interval is the range of the function over all coefficients that the points do not reject. Where
the function is undefined for some of them (no crossover), the interval comes from a bootstrap of the residuals instead,
and its note gives the share of refits for which the function exists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from twostage.laws.fit import Fit, Interval
from twostage.laws.likelihood import EXACT, NO_FREEDOM, Likelihood, likelihood_of, student_quantile
from twostage.laws.points import FloatArray, Points

DRAWS = 2000
SCOUTS = 200
STEP = 1e-4
METHOD = "profile-likelihood"


def interval_of(
    points: Points | Sequence[Points],
    fit: Fit | Sequence[Fit],
    function: Callable[..., float],
    level: float = 0.95,
    *,
    seed: int = 0,
) -> Interval:
    """Interval of `function`, which takes one mapping of raw coefficients per fit, in order, and returns a number.

    The ends are the largest and smallest value of the function subject to D <= t^2, with D = sum over fits of
    2 (f - f_min) / s and t the Student quantile (degrees of freedom summed over fits); see
    `uncertainty.profile_interval` for s. Give strongly skewed functions in logarithms (ln D*). Where the function is
    NaN or infinite inside that region, the interval is the central range of `DRAWS` refits to
    resampled residuals, among those where it is finite; `method` is then "residual bootstrap" and `note` gives the
    share where it exists. Raises ValueError where the function is not finite at the estimates.
    """
    all_points = [points] if isinstance(points, Points) else list(points)
    fits = [fit] if isinstance(fit, Fit) else list(fit)
    parts = [likelihood_of(p, f) for p, f in zip(all_points, fits, strict=True)]
    if any(np.isnan(part.scale) for part in parts):
        return Interval(None, None, level, METHOD, NO_FREEDOM)
    parts = [replace(part, scale=float(np.maximum(part.scale, EXACT))) for part in parts]
    region = Region(parts, function)
    middle = region.value(np.zeros(region.size))
    if not np.isfinite(middle):
        raise ValueError("the function is not finite at the fitted coefficients, so it has no interval")
    if all(part.scale <= EXACT for part in parts):
        return Interval(middle, middle, level, METHOD, "the fit is exact")
    radius = student_quantile(level, sum(part.dof for part in parts))
    ends = [region.extreme(sign, radius, middle) for sign in (-1.0, 1.0)]
    if region.hit_undefined:
        return _from_draws(parts, function, level, seed)
    return Interval(min(ends[0], middle), max(ends[1], middle), level, METHOD)


class Region:
    """The coefficients of several fits as one vector z, whitened so that the deviance is near |z|^2."""

    def __init__(self, parts: list[Likelihood], function: Callable[..., float]) -> None:
        self.parts, self.function = parts, function
        self.whiteners = [part.whitener() for part in parts]
        self.cuts = np.cumsum([0, *(part.theta.size for part in parts)])
        self.size = int(self.cuts[-1])
        self.hit_undefined = False
        self.scouts: tuple[FloatArray, FloatArray] | None = None
        # linear constraints: every scale stays non-negative (and tree's kappa inside its bounds)
        rows, rests = [], []
        for part, whitener, start in zip(parts, self.whiteners, self.cuts, strict=False):
            box = part.problem.box
            for sign, bound in ((1.0, box.lower), (-1.0, box.upper)):
                for i in np.flatnonzero(np.isfinite(bound)):
                    row = np.zeros(self.size)
                    row[start : start + part.theta.size] = sign * whitener[i]
                    length = float(np.linalg.norm(row))
                    if length > 0:
                        rows.append(row / length)
                        rests.append(sign * (part.theta[i] - bound[i]) / length)
        self.rows, self.rests = np.array(rows), np.array(rests)

    def thetas(self, z: FloatArray) -> list[FloatArray]:
        """Internal vectors of the fits at z, inside their bounds."""
        moved = []
        for part, whitener, start in zip(self.parts, self.whiteners, self.cuts, strict=False):
            theta = part.theta + whitener @ z[start : start + part.theta.size]
            moved.append(part.problem.box.clip(theta))
        return moved

    def value(self, z: FloatArray) -> float:
        """The function at z; records whether it was ever undefined."""
        raw = [
            part.problem.law.to_raw(theta, part.problem.centre)
            for part, theta in zip(self.parts, self.thetas(z), strict=True)
        ]
        value = float(self.function(*raw))
        if not np.isfinite(value):
            self.hit_undefined = True
        return value

    def slope(self, z: FloatArray) -> FloatArray:
        """Gradient of the function by central differences (coordinates are whitened, so one step fits all)."""
        steps = np.eye(self.size) * STEP
        return np.array([(self.value(z + e) - self.value(z - e)) / (2 * STEP) for e in steps])

    def deviance(self, z: FloatArray) -> float:
        """Sum of the fits' deviances."""
        return float(sum(p.deviance(t[None])[0] for p, t in zip(self.parts, self.thetas(z), strict=True)))

    def deviance_slope(self, z: FloatArray) -> FloatArray:
        """Its exact gradient."""
        out = np.empty(self.size)
        for part, whitener, theta, start in zip(
            self.parts, self.whiteners, self.thetas(z), self.cuts, strict=False
        ):
            at = part.problem.response.evaluate(theta[None])
            residual = at.log_pred[0] - part.problem.y
            score = part.problem.weights * np.clip(residual, -part.spec.delta, part.spec.delta)
            gradient = whitener.T @ (at.jacobian[0] @ score)
            out[start : start + part.theta.size] = 2.0 / part.scale * gradient
        return out

    def scouted(self, sign: float, radius: float) -> FloatArray:
        """The most extreme of SCOUTS draws inside the region: a sampled start, for curved regions."""
        if self.scouts is None:
            moved = []
            for seed, (part, whitener) in enumerate(zip(self.parts, self.whiteners, strict=True)):
                offsets = part.draws(SCOUTS, seed) - part.theta
                moved.append(np.linalg.solve(whitener, offsets.T).T)
            scouts = np.concatenate(moved, axis=1)
            scouts = scouts[[self.deviance(z) <= radius**2 for z in scouts]]
            scouts = np.concatenate([np.zeros((1, self.size)), scouts])
            self.scouts = (scouts, np.array([self.value(z) for z in scouts]))
        scouts, values = self.scouts
        return np.asarray(scouts[np.nanargmax(sign * values)])

    def extreme(self, sign: float, radius: float, middle: float) -> float:
        """Largest (sign = 1) or smallest value over deviance <= radius^2 and the bounds, from two starts."""
        from scipy.optimize import minimize

        slope = self.slope(np.zeros(self.size))
        length = float(np.linalg.norm(slope))
        if length == 0.0 or not np.isfinite(length):
            return middle
        constraints = [
            {
                "type": "ineq",
                "fun": lambda z: 1.0 - self.deviance(z) / radius**2,
                "jac": lambda z: -self.deviance_slope(z) / radius**2,
            }
        ]
        if self.rests.size:
            constraints.append(
                {"type": "ineq", "fun": lambda z: self.rows @ z + self.rests, "jac": lambda _: self.rows}
            )
        best = middle
        for start in (sign * 0.95 * radius * slope / length, self.scouted(sign, radius)):
            result = minimize(
                lambda z: -sign * (self.value(z) - middle) / length,
                start,
                jac=lambda z: -sign * self.slope(z) / length,
                method="SLSQP",
                constraints=constraints,
                options={"maxiter": 200, "ftol": 1e-7},
            )
            if self.hit_undefined:
                break
            if self.deviance(result.x) <= radius**2 * (1 + 1e-3):
                value = self.value(result.x)
                best = max(best, value) if sign > 0 else min(best, value)
        return best


def _from_draws(parts: list[Likelihood], function: Callable[..., float], level: float, seed: int) -> Interval:
    draws = [part.draws(DRAWS, seed + i) for i, part in enumerate(parts)]
    values = np.empty(DRAWS)
    for row in range(DRAWS):
        raw = [
            part.problem.law.to_raw(thetas[row], part.problem.centre)
            for part, thetas in zip(parts, draws, strict=True)
        ]
        values[row] = function(*raw)
    finite = values[np.isfinite(values)]
    share = finite.size / DRAWS
    note = f"exists in {100 * share:.3g} % of the refits; the interval is over those"
    if finite.size < DRAWS / 10:
        return Interval(None, None, level, "residual bootstrap", note)
    lower, upper = np.quantile(finite, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(lower), float(upper), level, "residual bootstrap", note)
