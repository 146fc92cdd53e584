"""Starting points by variable projection: for fixed exponents the scales follow from a small non-negative least squares.

A grid over the exponents, weighted by 1/L^2 so that relative residuals count, gives an error surface; its local minima seed
the descent. The exponents stay free in sign.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from twostage.laws.descent import Box
from twostage.laws.points import FloatArray
from twostage.laws.response import Response

GRID_COUNTS = {1: 41, 2: 21, 3: 11, 4: 7, 5: 5}
SEEDS = 8


def grid_seeds(response: Response, loss: FloatArray, weights: FloatArray, box: Box) -> FloatArray:
    """The SEEDS best local minima on the grid, followed by its best other points; (s, k)."""
    t, q = response.n_terms, response.n_exponents
    counts = [
        GRID_COUNTS[q] if high > low else 1 for low, high in zip(box.lower[t:], box.upper[t:], strict=True)
    ]
    grid = exponent_grid(box.lower[t:], box.upper[t:], counts)
    with np.errstate(all="ignore"):  # a grid corner may overflow; its error is then infinite
        scales, error = scales_by_nnls(response, loss, weights, grid)
    landscape = error.reshape(counts)
    lowest = np.ones(counts, bool)
    for axis, count in enumerate(counts):
        if count > 1:
            rise = np.diff(landscape, axis=axis)
            edge = np.full_like(np.take(landscape, [0], axis=axis), np.inf)
            lowest &= np.concatenate([rise, edge], axis=axis) >= 0
            lowest &= np.concatenate([-edge, rise], axis=axis) <= 0
    order = np.lexsort((error, ~lowest.ravel()))[:SEEDS]
    return np.concatenate([scales[order], grid[order]], axis=1)


def scales_by_nnls(
    response: Response, loss: FloatArray, weights: FloatArray, eta: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Best scales >= 0 for each exponent vector eta (B, q), and the weighted squared relative residual.

    Exact: with at most three terms every active set is tried. Returns scales (B, t) and squared residuals (B,).
    """
    t, batch = response.n_terms, eta.shape[0]
    basis = np.empty((batch, t, response.size))
    for j, log_g in enumerate(response.log_terms(eta)):
        basis[:, j] = 1.0 if log_g is None else np.exp(log_g)
    root = np.sqrt(weights)
    basis *= root / loss
    norm = np.sqrt((basis * basis).sum(axis=2))
    basis /= norm[..., None]
    gram, target = basis @ basis.transpose(0, 2, 1), basis @ root
    best, scales = np.full(batch, np.inf), np.zeros((batch, t))
    total = float(weights.sum())
    for size in range(1, t + 1):
        for chosen in combinations(range(t), size):
            index = np.array(chosen)
            right = target[:, index]
            solution = right
            if size > 1:
                # unit diagonal: a tiny ridge term makes parallel terms solvable
                sub = gram[:, index[:, None], index] + 1e-12 * np.eye(size)
                solution = np.asarray(np.linalg.solve(sub, right[..., None])[..., 0])
            error = total - (solution * right).sum(axis=1)
            good = (solution >= 0).all(axis=1) & (error < best)
            best[good] = error[good]
            scales[good] = 0.0
            scales[np.ix_(good, index)] = solution[good]
    return scales / norm, best


def exponent_grid(lower: FloatArray, upper: FloatArray, counts: list[int]) -> FloatArray:
    """Grid between the bounds, denser near zero (cubic spacing), shape (product of counts, q)."""
    axes = []
    for low, high, count in zip(lower, upper, counts, strict=True):
        u = np.linspace(-1.0, 1.0, count) if count > 1 else np.zeros(1)
        axes.append(np.where(u < 0, -low, high) * u**3)
    mesh = np.meshgrid(*axes, indexing="ij")
    return np.stack([axis.ravel() for axis in mesh], axis=1)
