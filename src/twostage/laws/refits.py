"""Many warm-started refits of one problem, for bootstraps: other losses or other weights, same points."""

from __future__ import annotations

import numpy as np

from twostage.laws.objective import Objective
from twostage.laws.points import FloatArray
from twostage.laws.problem import Problem
from twostage.laws.solver import minimise

# Rows per batch, so that the arrays of a batch stay in the processor's cache.
CHUNK_DOUBLES = 16_000


def refit(
    problem: Problem, y: FloatArray, weights: FloatArray, theta: FloatArray, spec: Objective
) -> FloatArray:
    """Local minima from theta (k,) for log losses y and weights, each (m,) or (n, m): internal vectors (n, k)."""
    m = problem.y.size
    count = max(y.shape[0] if y.ndim == 2 else 1, weights.shape[0] if weights.ndim == 2 else 1)
    y, weights = np.broadcast_to(y, (count, m)), np.broadcast_to(weights, (count, m))
    rows = max(1, CHUNK_DOUBLES // m)
    parts = []
    for start in range(0, count, rows):
        now = slice(start, start + rows)
        starts = np.tile(theta, (len(y[now]), 1))
        parts.append(minimise(problem.response, y[now], weights[now], starts, problem.box, spec)[0])
    return np.concatenate(parts)
