"""Combines several responses into one, so that rows of different forms are minimised in one batch.

The forms may have different numbers of coefficients; shorter vectors are padded with coordinates without effect. The
points (m) are common. `descent` handles them as one response.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from twostage.laws.descent import Box, descend
from twostage.laws.points import AnyArray, FloatArray
from twostage.laws.response import Evaluation, Response


@dataclass(frozen=True)
class BatchEvaluation:
    """`parts`, one per response, and their log_pred (B, m) and jacobian (B, k, m) put together."""

    log_pred: FloatArray
    jacobian: FloatArray
    parts: list[Evaluation]


@dataclass(frozen=True)
class ResponseBatch:
    """Several responses, and the number of consecutive batch rows of each."""

    responses: tuple[Response, ...]
    counts: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of points m."""
        return self.responses[0].size

    @property
    def k(self) -> int:
        """Length of the padded vectors."""
        return max(response.k for response in self.responses)

    def take(self, rows: AnyArray) -> ResponseBatch:
        """The batch of the selected rows (boolean mask or increasing indices)."""
        if rows.dtype == np.bool_:
            rows = np.flatnonzero(rows)
        ends = [0, *np.searchsorted(rows, np.cumsum(self.counts)).tolist()]
        return ResponseBatch(self.responses, tuple(end - start for start, end in pairwise(ends)))

    def log_predict(self, theta: FloatArray) -> FloatArray:
        """log L for theta (B, k), shape (B, m)."""
        return np.concatenate(
            [response.log_predict(theta[rows, : response.k]) for response, rows in self._owners()]
        )

    def evaluate(self, theta: FloatArray) -> BatchEvaluation:
        """Value and exact Jacobian (zero in padded coordinates) for theta (B, k)."""
        jacobian = np.zeros((*theta.shape, self.size))
        log_pred = np.empty((len(theta), self.size))
        parts = []
        for response, rows in self._owners():
            part = response.evaluate(theta[rows, : response.k])
            log_pred[rows], jacobian[rows, : response.k] = part.log_pred, part.jacobian
            parts.append(part)
        return BatchEvaluation(log_pred, jacobian, parts)

    def curvature(self, at: BatchEvaluation, slope: FloatArray) -> FloatArray:
        """As `Response.curvature`, (B, k, k)."""
        out = np.zeros((len(slope), self.k, self.k))
        for (response, rows), part in zip(self._owners(), at.parts, strict=True):
            out[rows, : response.k, : response.k] = response.curvature(part, slope[rows])
        return out

    def _owners(self) -> list[tuple[Response, slice]]:
        ends = np.cumsum(self.counts).tolist()
        pairs = zip(self.responses, self.counts, ends, strict=True)
        return [(response, slice(end - count, end)) for response, count, end in pairs if count]


@dataclass(frozen=True)
class Request:
    """Starts (B, k) to descend from on one response: weights (B, m), bounds, Huber threshold, and how far to go."""

    response: Response
    box: Box
    weights: FloatArray
    starts: FloatArray
    delta: float
    max_steps: int = 60
    tolerance: float = 1e-12


def descend_batch(requests: Sequence[Request], y: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    """Answers to requests of equal delta, max_steps and tolerance, in order: thetas (B, k) and values (B,) each."""
    first = requests[0]
    if len(requests) == 1:
        return [
            descend(
                first.response,
                y,
                first.weights,
                first.starts,
                first.box,
                first.delta,
                max_steps=first.max_steps,
                tolerance=first.tolerance,
            )
        ]
    batch = ResponseBatch(tuple(r.response for r in requests), tuple(len(r.starts) for r in requests))
    k = batch.k

    def padded(rows: FloatArray, count: int) -> FloatArray:
        out = np.zeros((count, k))
        out[:, : rows.shape[-1]] = rows
        return out

    starts = np.concatenate([padded(r.starts, len(r.starts)) for r in requests])
    box = Box(
        np.concatenate([padded(r.box.lower, len(r.starts)) for r in requests]),
        np.concatenate([padded(r.box.upper, len(r.starts)) for r in requests]),
    )
    weights = np.concatenate([r.weights for r in requests])
    thetas, values = descend(
        batch, y, weights, starts, box, first.delta, max_steps=first.max_steps, tolerance=first.tolerance
    )
    cuts = np.cumsum(batch.counts)[:-1]
    return [
        (theta[:, : r.response.k], value)
        for r, theta, value in zip(requests, np.split(thetas, cuts), np.split(values, cuts), strict=True)
    ]
