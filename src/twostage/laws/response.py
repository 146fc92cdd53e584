"""A form on fixed points: log-prediction, exact Jacobian and Hessian contraction, for a batch of parameter vectors.

Internal coordinates are (scales, exponents) with centred logarithms: L = sum_j c_j g_j with g_j = exp(h_j(exponents)).
The scales are coordinates, not their logarithms, so that E = 0 or F = 0 is an ordinary bound. Nothing is fitted here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from twostage.laws.declarations import Term
from twostage.laws.points import AnyArray, FloatArray


@dataclass(frozen=True)
class Block:
    """A term on the points: the exponents `where` (consecutive) and their `features` (q_j, m) = d log g_j / d exponent;
    `products` (q_j * q_j, m) of all pairs of features; `constant`: the term does not depend on the data (E)."""

    where: slice
    features: FloatArray
    products: FloatArray
    constant: bool

    @classmethod
    def of(cls, start: int, features: FloatArray) -> Block:
        """The block of exponents start, start + 1, ... with features (q_j, m)."""
        count, size = features.shape
        products = (features[:, None] * features).reshape(count * count, size)
        return cls(slice(start, start + count), features, products, count == 0)


@dataclass(frozen=True)
class Evaluation:
    """Values for a batch of B parameter vectors on m points: log_pred (B, m); jacobian (B, k, m) = d log_pred / d theta;
    share (t, B, m) = c_j g_j / L and unit (t, B, m) = g_j / L per term; theta (B, k)."""

    log_pred: FloatArray
    jacobian: FloatArray
    share: FloatArray
    unit: FloatArray
    theta: FloatArray


class Calculus(Protocol):
    """The interface of a response that the descent uses (`Response`, or several of them as a `batch.ResponseBatch`)."""

    @property
    def size(self) -> int:
        """Number of points m."""

    def take(self, rows: AnyArray) -> Calculus:
        """The same for some rows of a batch."""

    def log_predict(self, theta: FloatArray) -> FloatArray:
        """log L (B, m) for theta (B, k)."""

    def evaluate(self, theta: FloatArray) -> Any:
        """An object with log_pred (B, m) and jacobian (B, k, m)."""

    def curvature(self, at: Any, slope: FloatArray) -> FloatArray:
        """S (B, k, k) with sum_i slope_i Hess(log_pred_i) = S - J diag(slope) J^T."""


@dataclass(frozen=True)
class Response:
    """A form on points, with centred logarithms; k = number of scales + number of exponents."""

    blocks: tuple[Block, ...]
    n_exponents: int
    size: int

    @classmethod
    def build(
        cls, terms: tuple[Term, ...], exponents: tuple[str, ...], x: Mapping[str, FloatArray]
    ) -> Response:
        """The response of a form on centred logarithms x[name] of shape (m,)."""
        size = next(iter(x.values())).size
        blocks = []
        for term in terms:
            indices = [exponents.index(name) for name, _ in term.exponents]
            features = np.empty((len(indices), size))
            for row, (_, monomial) in enumerate(term.exponents):
                features[row] = 1.0 if len(monomial) > 1 else -1.0
                for variable in monomial:
                    features[row] *= x[variable]
            start = indices[0] if indices else 0
            if indices != list(range(start, start + len(indices))):
                raise AssertionError(f"exponents of term {term.scale} must be consecutive in {exponents}")
            blocks.append(Block.of(start, features))
        return cls(tuple(blocks), len(exponents), size)

    @property
    def n_terms(self) -> int:
        """Number of scales t."""
        return len(self.blocks)

    @property
    def k(self) -> int:
        """Number of coefficients."""
        return self.n_terms + self.n_exponents

    def take(self, rows: AnyArray) -> Response:
        """The response of some rows of a batch: all rows share it."""
        return self

    def reach(self) -> FloatArray:
        """Largest |d log g / d exponent| over points and terms at small exponents, shape (q,)."""
        reach = np.zeros(self.n_exponents)
        for block in self.blocks:
            reach[block.where] = np.maximum(reach[block.where], np.abs(block.features).max(axis=1))
        return reach

    def log_terms(self, eta: FloatArray) -> list[FloatArray | None]:
        """log g_j (B, m) for each term, exponents eta of shape (B, q); None for a constant term (g = 1)."""
        return [None if block.constant else eta[:, block.where] @ block.features for block in self.blocks]

    def log_predict(self, theta: FloatArray) -> FloatArray:
        """log L for theta (B, k), shape (B, m); -inf where every scale is zero."""
        total = np.zeros((theta.shape[0], self.size))
        for j, log_g in enumerate(self.log_terms(theta[:, self.n_terms :])):
            scale = theta[:, j : j + 1]
            total += scale if log_g is None else scale * np.exp(log_g)
        return np.log(total, out=total)

    def evaluate(self, theta: FloatArray) -> Evaluation:
        """Value and exact Jacobian for theta (B, k)."""
        t, batch = self.n_terms, theta.shape[0]
        jacobian = np.zeros((batch, self.k, self.size))
        unit = jacobian[:, :t]
        for j, log_g in enumerate(self.log_terms(theta[:, t:])):
            if log_g is None:
                unit[:, j] = 1.0
            else:
                np.exp(log_g, out=unit[:, j])
        share = theta[:, :t, None] * unit
        loss = share.sum(axis=1)
        inverse = (1.0 / loss)[:, None]
        unit *= inverse
        share *= inverse
        at = Evaluation(np.log(loss), jacobian, share, unit, theta)
        for j, block in enumerate(self.blocks):
            if not block.constant:
                where = slice(t + block.where.start, t + block.where.stop)
                jacobian[:, where] += share[:, j, None] * self.features(j, theta)
        return at

    def curvature(self, at: Evaluation, slope: FloatArray) -> FloatArray:
        """S with sum_i slope_i Hess(log_pred_i) = S - J diag(slope) J^T; slope (B, m) -> (B, k, k)."""
        t = self.n_terms
        out = np.zeros((slope.shape[0], self.k, self.k))
        for j, block in enumerate(self.blocks):
            if block.constant:
                continue
            where = slice(t + block.where.start, t + block.where.stop)
            cross = (slope * at.unit[:, j]) @ block.features.T
            out[:, j, where] = cross
            out[:, where, j] = cross
            count = len(block.features)
            pairs = (slope * at.share[:, j]) @ block.products.T
            out[:, where, where] += pairs.reshape(-1, count, count)
        return out

    def features(self, j: int, theta: FloatArray) -> FloatArray:
        """d log g_j / d exponents of term j: (q_j, m), or (B, q_j, m) where it depends on theta."""
        return self.blocks[j].features


@dataclass(frozen=True)
class CurvedResponse(Response, ABC):
    """Terms whose logarithms are not linear in the exponents.

    A subclass overrides `log_terms` and `features`, and adds `second`; `curvature` follows. Its blocks hold the features
    at small exponents, which set the bounds of the search (`reach`).
    """

    @abstractmethod
    def second(self, j: int, theta: FloatArray, weights: FloatArray) -> FloatArray:
        """Sum over points of weights (B, m) x d2 log g_j / d exponents^2 of term j: (B, q_j, q_j)."""

    def curvature(self, at: Evaluation, slope: FloatArray) -> FloatArray:
        """As in `Response`, with features that depend on the exponents and have second derivatives."""
        t = self.n_terms
        out = np.zeros((slope.shape[0], self.k, self.k))
        for j, block in enumerate(self.blocks):
            if block.constant:
                continue
            where = slice(t + block.where.start, t + block.where.stop)
            features = self.features(j, at.theta)
            cross = (features @ (slope * at.unit[:, j])[:, :, None])[..., 0]
            out[:, j, where], out[:, where, j] = cross, cross
            weights = slope * at.share[:, j]
            out[:, where, where] += (features * weights[:, None]) @ features.transpose(0, 2, 1)
            out[:, where, where] += self.second(j, at.theta, weights)
        return out
