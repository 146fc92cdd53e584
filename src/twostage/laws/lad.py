"""Least absolute deviation to rounding: an active-set method for one problem, started near its minimum.

At the minimum some residuals are exactly zero (the set Z); the others do not change sign. With Z fixed the problem is
smooth with the constraints r_Z = 0, so each step is an exact Newton step in the null space of their gradients. A point
whose residual reaches zero on the way joins Z; one with a multiplier above one in size leaves it. Bounds of the
coordinates are handled the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twostage.laws.descent import Box
from twostage.laws.points import AnyArray, FloatArray
from twostage.laws.response import Response

MAX_STEPS, MAX_RESTARTS = 120, 3
# Residuals are computed to a few 1e-16; smaller ones count as zero.
ZERO = 1e-12
MULTIPLIER_SLACK = 1e-7


@dataclass(frozen=True)
class Stationarity:
    """Conditions at one point: the gradient left in each free coordinate (k,) after the best multipliers, the multipliers of
    the points with residual zero, the smallest curvature in the directions left free (1 where none is left)."""

    pull: FloatArray
    multipliers: FloatArray
    zero: AnyArray
    curvature: float


def finish(response: Response, y: FloatArray, weights: FloatArray, theta: FloatArray, box: Box) -> FloatArray:
    """The nearby local minimum of sum w |log_pred - y| from theta (k,); never worse than theta."""
    value = np.inf
    with np.errstate(all="ignore"):
        for _ in range(MAX_RESTARTS):
            # the sets may no longer be valid at the end of a path: choose them again while that lowers the value
            state = _ActiveSet(response, y, weights, theta, box)
            theta = state.run()
            if state.value >= value * (1 - 1e-13):
                break
            value = state.value
    return theta


def stationarity(
    response: Response, y: FloatArray, weights: FloatArray, theta: FloatArray, box: Box
) -> Stationarity:
    """First and second order conditions at theta (k,)."""
    at = response.evaluate(theta[None])
    residual, jacobian = (at.log_pred - y)[0], at.jacobian[0]
    zero = np.flatnonzero(np.abs(residual) <= ZERO)
    low, high = theta <= box.lower, theta >= box.upper
    free = ~(low | high)
    slope = weights * np.sign(residual)
    slope[zero] = 0.0
    outer = jacobian @ slope
    multipliers = np.zeros(0)
    curvature = 1.0
    scale = np.sqrt(np.vecdot(jacobian, jacobian)) + 1e-300
    null = np.diag(1.0 / scale)[free].T
    if zero.size:
        rows = (jacobian / scale[:, None])[free][:, zero]
        multipliers = np.linalg.lstsq(rows, -(outer / scale)[free], rcond=None)[0]
        multipliers = np.clip(multipliers, -weights[zero], weights[zero])
        slope[zero] = multipliers
        u, size, _ = np.linalg.svd(rows)
        rank = int((size > 1e-9 * size[0]).sum())
        null = np.zeros((theta.size, int(free.sum()) - rank))
        null[free] = u[:, rank:] / scale[free, None]
    pull = jacobian @ slope
    pull = np.where(
        low & high, 0.0, np.where(low, np.minimum(pull, 0.0), np.where(high, np.maximum(pull, 0.0), pull))
    )
    if null.shape[1]:
        hessian = response.curvature(at, slope[None])[0] - (jacobian * slope) @ jacobian.T
        curvature = float(np.linalg.eigvalsh(null.T @ hessian @ null)[0])
    return Stationarity(pull, multipliers, zero, curvature)


class _ActiveSet:
    """State of `finish`: the point, the zero set, the sides of the other points and the coordinates held at bounds."""

    def __init__(
        self, response: Response, y: FloatArray, weights: FloatArray, theta: FloatArray, box: Box
    ) -> None:
        self.response, self.y, self.weights, self.box = response, y, weights, box
        self.theta = box.clip(theta)
        residual = response.log_predict(self.theta[None])[0] - y
        self.value = float(weights @ np.abs(residual))
        self.side = np.where(residual < 0, -1.0, 1.0)
        self.held = (self.theta <= box.lower) | (self.theta >= box.upper)
        self.zero: list[int] = []
        self._take_independent(np.argsort(np.abs(residual), kind="stable"), np.abs(residual))

    def _take_independent(self, order: AnyArray, size: FloatArray) -> None:
        """Start with the smallest residuals whose gradients are independent, if clearly smaller than the rest."""
        jacobian = self.response.evaluate(self.theta[None]).jacobian[0][~self.held]
        small = 0.05 * float(np.median(size))
        for i in order.tolist():
            if size[i] > small or len(self.zero) == len(jacobian):
                break
            if self.weights[i] > 0 and np.linalg.matrix_rank(jacobian[:, [*self.zero, i]], 1e-8) > len(
                self.zero
            ):
                self.zero.append(i)

    def run(self) -> FloatArray:
        for _ in range(MAX_STEPS):
            if not self._advance():
                break
        return self.theta

    def _advance(self) -> bool:
        """One step or one change of the sets; False when the conditions hold or no progress is possible."""
        at = self.response.evaluate(self.theta[None])
        residual, jacobian = (at.log_pred - self.y)[0], at.jacobian[0]
        zero, free = self.zero, ~self.held
        slope = self.weights * self.side
        slope[zero] = 0.0
        outer = jacobian @ slope
        scale = np.sqrt(np.vecdot(jacobian, jacobian)) + 1e-300
        rows = (jacobian / scale[:, None])[free][:, zero]
        q, r = np.linalg.qr(rows, mode="complete") if zero else (np.eye(int(free.sum())), np.zeros((0, 0)))
        count = len(zero)
        basis, null, triangle = q[:, :count], q[:, count:], r[:count]
        pull = (outer / scale)[free]
        multipliers = np.linalg.solve(triangle, -basis.T @ pull) if zero else np.zeros(0)
        slope[zero] = multipliers
        hessian = self.response.curvature(at, slope[None])[0] - (jacobian * slope) @ jacobian.T
        hessian = (hessian / scale / scale[:, None])[np.ix_(free, free)]
        range_step = basis @ np.linalg.solve(triangle.T, -residual[zero]) if zero else np.zeros(len(pull))
        step = range_step.copy()
        if null.shape[1]:
            values, vectors = np.linalg.eigh(null.T @ hessian @ null)
            values = np.maximum(np.abs(values), 1e-9)
            step += null @ (vectors @ (vectors.T @ (null.T @ -(pull + hessian @ range_step)) / values))
        if zero:
            multipliers = np.linalg.solve(triangle, -basis.T @ (pull + hessian @ step))
        full = np.zeros(self.theta.size)
        full[free] = step / scale[free]
        change = full @ jacobian
        if np.abs(change).max() > 1e-13 and self._move(
            full, change, residual, jacobian, hessian, step, outer
        ):
            return True
        return self._release(multipliers, outer, jacobian)

    def _move(
        self,
        full: FloatArray,
        change: FloatArray,
        residual: FloatArray,
        jacobian: FloatArray,
        hessian: FloatArray,
        step: FloatArray,
        outer: FloatArray,
    ) -> bool:
        """Take the step up to the kink or bound where the descent ends; whether the value fell."""
        length, kink = self._reach(change, residual, float(outer @ full), float(step @ hessian @ step))
        room = (np.where(full < 0, self.box.lower, self.box.upper) - self.theta) / full
        room[~(full != 0)] = np.inf
        wall = int(np.argmin(room))
        hit = room[wall] < length
        if hit:
            length, kink = float(room[wall]), None
        for _ in range(25):
            trial = self.box.clip(self.theta + length * full)
            for corrected in (trial, self._onto_zero(trial, jacobian)):
                now = self.response.log_predict(corrected[None])[0] - self.y
                value = float(self.weights @ np.abs(now))
                if value < self.value:
                    self.theta, self.value = corrected, value
                    moved = np.abs(now) > ZERO
                    self.side[moved] = np.sign(now[moved])
                    if hit:
                        self.held[wall] = True
                        while len(self.zero) > int((~self.held).sum()):
                            self.zero.pop()
                    elif kink is not None and len(self.zero) < int((~self.held).sum()):
                        self.zero.append(kink)
                    return True
            length, kink, hit = 0.4 * length, None, False
        return False

    def _reach(
        self, change: FloatArray, residual: FloatArray, slope: float, curve: float
    ) -> tuple[float, int | None]:
        """Length along the step that minimises the model with kinks (at most 1), and the kink where it ends."""
        times = -residual / change
        times[self.zero] = np.inf
        times[(times <= 0) | (residual * self.side < 0)] = np.inf
        for i in np.argsort(times, kind="stable").tolist():
            if not times[i] < 1.0:
                break
            slope += 2.0 * self.weights[i] * abs(change[i])
            if slope + max(curve, 0.0) * times[i] >= 0:
                return float(times[i]), i
        return 1.0, None

    def _onto_zero(self, trial: FloatArray, jacobian: FloatArray) -> FloatArray:
        """The trial moved back to r_Z = 0, to second order."""
        if not self.zero:
            return trial
        residual = self.response.log_predict(trial[None])[0] - self.y
        free = ~self.held
        scale = np.sqrt(np.vecdot(jacobian, jacobian))[free] + 1e-300
        rows = jacobian[free][:, self.zero] / scale[:, None]
        back = np.linalg.lstsq(rows.T, -residual[self.zero], rcond=1e-12)[0]
        moved = trial.copy()
        moved[free] += back / scale
        return self.box.clip(moved)

    def _release(self, multipliers: FloatArray, outer: FloatArray, jacobian: FloatArray) -> bool:
        """Release the most violated zero or bound; False where all conditions hold."""
        excess = np.abs(multipliers) / np.maximum(self.weights[self.zero], 1e-300) - 1.0
        pull = outer + jacobian[:, self.zero] @ multipliers
        share = pull / (np.abs(jacobian) @ self.weights + 1e-300)
        low = self.held & (self.theta <= self.box.lower) & (self.box.lower < self.box.upper)
        high = self.held & (self.theta >= self.box.upper) & (self.box.lower < self.box.upper)
        wish = np.where(low, -share, np.where(high, share, 0.0))
        worst_bound = int(np.argmax(wish))
        if excess.size and excess.max() > max(MULTIPLIER_SLACK, wish[worst_bound]):
            place = int(np.argmax(excess))
            self.side[self.zero[place]] = np.sign(multipliers[place])
            del self.zero[place]
            return True
        if wish[worst_bound] > MULTIPLIER_SLACK:
            self.held[worst_bound] = False
            return True
        return False
