"""Batched local minimisation of the objective: Newton with exact second derivatives, bounds, and a search along kinks.

Every row of a batch is a separate problem (start, weights, data); all rows take each step together, by array operations.
Where a form does not fit the data within delta, the Huber objective is nearly polyhedral: at its minimum several
residuals are within delta, along curved ridges. Newton steps would be short there. So the step length comes from the
piecewise quadratic model with all its kinks, and a step that leaves the ridge is corrected for the curvature of the
residuals. Each start gives one local minimum; `solver` does the global search.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twostage.laws.points import AnyArray, FloatArray
from twostage.laws.response import Calculus

# Damping of the scaled Hessian, in units of min(1, delta / 1e-3): the curvature of directions that leave every kink
# shrinks with delta.
DAMPING_START, DAMPING_FLOOR, DAMPING_STOP = 1e-7, 1e-9, 1e8
LONGEST_STEP = 4.0
# Up to here LAPACK per matrix is faster than L D L^T over the batch.
SMALL_BATCH = 40


@dataclass(frozen=True)
class Box:
    """Bounds on the internal coordinates, each of shape (k,), or (B, k) for a batch whose rows differ."""

    lower: FloatArray
    upper: FloatArray

    def clip(self, theta: FloatArray) -> FloatArray:
        """Nearest point inside the bounds."""
        return np.minimum(np.maximum(theta, self.lower), self.upper)

    def take(self, rows: AnyArray) -> Box:
        """The bounds of some rows of a batch."""
        return self if self.lower.ndim == 1 else Box(self.lower[rows], self.upper[rows])


@dataclass(frozen=True)
class LocalModel:
    """The objective at theta (B, k): residual (B, m), jacobian (B, k, m), value (B,), gradient (B, k), Hessian
    (B, k, k), and root (B, k): one over the length of each Jacobian row, which scales the coordinates."""

    residual: FloatArray
    jacobian: FloatArray
    value: FloatArray
    gradient: FloatArray
    hessian: FloatArray
    root: FloatArray


def huber_sum(residuals: FloatArray, weights: FloatArray, delta: float) -> FloatArray:
    """Sum over the last axis of weights x Huber(delta)."""
    size = np.abs(residuals)
    inner = np.minimum(size, delta)
    size -= 0.5 * inner
    inner *= size
    return np.asarray(np.vecdot(inner, weights))


def clip_to(values: FloatArray, delta: float) -> FloatArray:
    """Huber's score psi: values clipped to [-delta, delta]."""
    return np.minimum(np.maximum(values, -delta), delta)


def model_at(
    response: Calculus, y: FloatArray, weights: FloatArray, theta: FloatArray, delta: float
) -> LocalModel:
    """Value and exact first and second derivatives of the objective."""
    at = response.evaluate(theta)
    residual = at.log_pred - y
    psi = clip_to(residual, delta)
    slope = weights * psi
    # Huber' is psi, and Huber itself is psi (r - psi / 2)
    value = np.vecdot(slope, residual - 0.5 * psi)
    jacobian = at.jacobian
    gradient = (jacobian @ slope[:, :, None])[..., 0]
    second = weights * (psi == residual) - slope
    hessian = (jacobian * second[:, None]) @ jacobian.transpose(0, 2, 1)
    hessian += response.curvature(at, slope)
    root = 1.0 / np.sqrt(np.vecdot(jacobian, jacobian) + 1e-300)
    return LocalModel(residual, jacobian, value, gradient, hessian, root)


def descend(
    response: Calculus,
    y: FloatArray,
    weights: FloatArray,
    theta: FloatArray,
    box: Box,
    delta: float,
    *,
    max_steps: int = 60,
    tolerance: float = 1e-12,
    frozen: AnyArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Minimise sum w Huber_delta(log_pred - y) from each row of theta (B, k); y, weights (m,) or (B, m).

    Returns theta (B, k) and values (B,). A step is taken only if it lowers the value, so a result is never worse than
    its start. A row stops when an undamped Newton step promises less than `tolerance` of the value. Coordinates marked
    in `frozen` (k,) keep their starting values (for profiles).
    """
    with np.errstate(all="ignore"):  # a trial far outside the data overflows to inf or NaN and is rejected
        return _descend(response, y, weights, theta, box, delta, max_steps, tolerance, frozen)


def _descend(
    response: Calculus,
    y: FloatArray,
    weights: FloatArray,
    theta: FloatArray,
    box: Box,
    delta: float,
    max_steps: int,
    tolerance: float,
    frozen: AnyArray | None,
) -> tuple[FloatArray, FloatArray]:
    """The loop of `descend`."""
    theta = box.clip(theta)
    shape = (theta.shape[0], response.size)
    y, weights = np.broadcast_to(y, shape), np.broadcast_to(weights, shape)
    final, final_value = theta.copy(), np.full(shape[0], np.inf)
    unit = min(1.0, delta / 1e-3)
    rows, damping = np.arange(shape[0]), np.full(shape[0], DAMPING_START * unit)
    for _ in range(max_steps):
        model = model_at(response, y, weights, theta, delta)
        step, promised = newton_step(model.hessian, model.gradient, model.root, theta, box, damping, frozen)
        small = np.abs(promised) <= tolerance * model.value + 1e-24 * delta
        done = (small & (damping <= 1e-4 * unit)) | (damping > DAMPING_STOP * unit) | ~np.isfinite(promised)
        if done.any():
            out = rows[done]
            final[out], final_value[out] = theta[done], model.value[done]
            keep = ~done
            rows, theta, damping, y, weights = rows[keep], theta[keep], damping[keep], y[keep], weights[keep]
            response, box = response.take(keep), box.take(keep)
            if rows.size == 0:
                return final, final_value
            step, promised = step[keep], promised[keep]
            model = LocalModel(*(getattr(model, name)[keep] for name in LocalModel.__dataclass_fields__))
        trial, value = _search(response, y, weights, theta, box, delta, model, step, damping, frozen)
        gain = model.value - value
        better = gain > 0
        theta = np.where(better[:, None], trial, theta)
        damping = np.where(
            better,
            np.maximum(damping * np.where(gain > 0.2 * promised, 0.1, 1.0), DAMPING_FLOOR * unit),
            np.maximum(damping * 10.0, 1e-6 * unit),
        )
    final[rows], final_value[rows] = theta, huber_sum(response.log_predict(theta) - y, weights, delta)
    return final, final_value


def _search(
    response: Calculus,
    y: FloatArray,
    weights: FloatArray,
    theta: FloatArray,
    box: Box,
    delta: float,
    model: LocalModel,
    step: FloatArray,
    damping: FloatArray,
    frozen: AnyArray | None,
) -> tuple[FloatArray, FloatArray]:
    """Trial points along the step and their values; the ones that fail are corrected for the curvature of residuals."""
    change = (step[:, None, :] @ model.jacobian)[:, 0]
    length = step_length(model, weights, theta, box, delta, step, change)
    trial = box.clip(theta + length[:, None] * step)
    residual = response.log_predict(trial) - y
    value = huber_sum(residual, weights, delta)
    bad = np.flatnonzero(~(value < model.value))
    if bad.size:
        some, limits = response.take(bad), box.take(bad)
        expected = model.residual[bad] + length[bad, None] * change[bad]
        jacobian, now, w = model.jacobian[bad], model.residual[bad], weights[bad]
        zone = w * (np.abs(expected) <= delta)
        jt = jacobian.transpose(0, 2, 1)
        hessian = model.hessian[bad] + (jacobian * (zone - w * (np.abs(now) <= delta))[:, None]) @ jt
        gradient = (jacobian @ (zone * (residual[bad] - expected))[:, :, None])[..., 0]
        back, _ = newton_step(hessian, gradient, model.root[bad], trial[bad], limits, damping[bad], frozen)
        corrected = limits.clip(trial[bad] + back)
        corrected_value = huber_sum(some.log_predict(corrected) - y[bad], w, delta)
        wins = corrected_value < value[bad]
        trial[bad[wins]], value[bad[wins]] = corrected[wins], corrected_value[wins]
    return trial, value


def step_length(
    model: LocalModel,
    weights: FloatArray,
    theta: FloatArray,
    box: Box,
    delta: float,
    step: FloatArray,
    change: FloatArray,
) -> FloatArray:
    """Length (B,) that minimises the model with all kinks, sum w Huber(r + t J d) + t^2 d.C.d / 2, within the bounds.

    C is the curvature of the residuals. Safeguarded Newton on the derivative, which increases except where C is negative enough.
    """
    pull = weights * change
    squares = pull * change
    psi = clip_to(model.residual, delta)
    start = np.vecdot(psi, pull)
    total = np.vecdot((step[:, None, :] @ model.hessian)[:, 0], step)
    curved = total - np.vecdot(squares, psi == model.residual)
    room = (np.where(step < 0, box.lower, box.upper) - theta) / step
    longest = np.clip(np.fmin.reduce(room, axis=-1), 1.0, LONGEST_STEP)
    low, high, t = np.zeros_like(longest), longest, np.ones_like(longest)
    for _ in range(6):
        moved = model.residual + t[:, None] * change
        psi = clip_to(moved, delta)
        slope = np.vecdot(psi, pull) + t * curved
        below = slope < 0
        open_ = (np.abs(slope) > 0.05 * np.abs(start)) & ~(below & (t >= longest))
        if not open_.any():
            break
        low, high = np.where(below, t, low), np.where(below, high, t)
        ahead = t - slope / (np.vecdot(squares, psi == moved) + curved)
        beyond = below & (ahead >= high)
        usable = (ahead > low) & (ahead < high)
        ahead = np.where(usable, ahead, np.where(beyond, high, 0.5 * (low + high)))
        t = np.where(open_, ahead, t)
    return np.asarray(t)


def newton_step(
    hessian: FloatArray,
    gradient: FloatArray,
    root: FloatArray,
    theta: FloatArray,
    box: Box,
    damping: FloatArray,
    frozen: AnyArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Damped Newton step that respects the bounds, and the decrease it promises: (B, k), (B,).

    A coordinate that the step would move past its bound is set to the bound, and the step of the others is solved again.
    """
    low, high = box.lower - theta, box.upper - theta
    fixed = ((low >= 0) & (gradient > 0)) | ((high <= 0) & (gradient < 0))
    if frozen is not None:
        fixed |= frozen
    matrix = hessian * root[:, :, None] * root[:, None, :]
    diagonal = np.arange(theta.shape[1])
    matrix[:, diagonal, diagonal] += damping[:, None]
    scaled = gradient * root
    low, high = low / root, high / root
    step = solve_free(matrix, scaled, fixed, np.zeros_like(theta), damping)
    out = (step < low) | (step > high)
    rows = np.flatnonzero(out.any(axis=1))
    while rows.size:
        fixed[rows] |= out[rows]
        bounded = np.minimum(np.maximum(step[rows], low[rows]), high[rows]) * fixed[rows]
        step[rows] = solve_free(matrix[rows], scaled[rows], fixed[rows], bounded, damping[rows])
        out[rows] = ~fixed[rows] & ((step[rows] < low[rows]) | (step[rows] > high[rows]))
        rows = rows[out[rows].any(axis=1)]
    # half the Newton decrement: what a positive definite model gains, and a lower bound of it for an indefinite one
    promised = -0.5 * np.vecdot(scaled, step)
    return np.minimum(np.maximum(step, low), high) * root, promised


def solve_free(
    hessian: FloatArray, gradient: FloatArray, fixed: AnyArray, step: FloatArray, smallest: FloatArray
) -> FloatArray:
    """Minimise g.d + d.H.d / 2 over the free coordinates with d = step on the fixed ones; (B, k) -> (B, k).

    A Hessian that is not positive definite is replaced by one that is, with pivots of at least `smallest` (B,), so the
    result is always a descent direction.
    """
    if fixed.any():
        free = ~fixed
        right = -(gradient + ((step * fixed)[:, None] @ hessian)[:, 0])
        matrix = np.where(free[:, :, None] & free[:, None, :], hessian, 0.0)
        diagonal = np.arange(gradient.shape[1])
        matrix[:, diagonal, diagonal] += fixed
        right = np.where(free, right, step)
    else:
        matrix, right = hessian, -gradient
    if len(right) <= SMALL_BATCH:
        try:
            np.linalg.cholesky(matrix)
            return np.asarray(np.linalg.solve(matrix, right[..., None])[..., 0])
        except np.linalg.LinAlgError:
            pass  # at least one is indefinite
    return _solve_modified(matrix, right, smallest)


def _solve_modified(matrix: FloatArray, right: FloatArray, smallest: FloatArray) -> FloatArray:
    """L D L^T without pivoting, vectorised over the batch; a pivot that is not positive is replaced by its size."""
    work = np.array(matrix.transpose(1, 2, 0), order="C")
    x = np.array(right.T, order="C")
    k = x.shape[0]
    lower: list[FloatArray] = []
    pivots = np.empty_like(x)
    for j in range(k):
        pivot = np.maximum(np.abs(work[j, j]), smallest)
        pivots[j] = pivot
        if j + 1 < k:
            column = work[j + 1 :, j] / pivot
            work[j + 1 :, j + 1 :] -= column[:, None] * work[j, j + 1 :][None]
            x[j + 1 :] -= column * x[j]
            lower.append(column)
    x /= pivots
    for j in range(k - 2, -1, -1):
        x[j] -= (lower[j] * x[j + 1 :]).sum(axis=0)
    return x.T
