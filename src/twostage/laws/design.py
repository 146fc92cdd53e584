"""A form on fixed points: log-prediction, exact Jacobian and Hessian contraction, for a batch of parameter vectors.

Internal coordinates are (scales, exponents) with centred logarithms: L = sum_j c_j exp(h_j(eta)). Working with the
scales themselves, not their logarithms, makes E = 0 or F = 0 an ordinary bound. No fitting here, only calculus.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from twostage.laws.points import AnyArray, FloatArray


@dataclass(frozen=True)
class Term:
    """One term: a scale times exp(sum of exponent x monomial of the logarithms).

    `exponents` pairs a name with its monomial (`("d1",)`, `("d1", "d2")`); single variables enter with a minus sign
    (D^-alpha), the interaction with a plus sign (alpha3), as in Eq. 2.
    """

    scale: str
    exponents: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Block:
    """A term filled in: the exponents `where` (consecutive) and their `features` (q_j, m) = d log g_j / d exponent;
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
    """What the descent needs of a design (`Design`, or several of them as a `stack.Stack`)."""

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
class Design:
    """A form with its centred logarithms filled in; k = number of scales + number of exponents."""

    blocks: tuple[Block, ...]
    n_exponents: int
    size: int

    @classmethod
    def build(
        cls, terms: tuple[Term, ...], exponents: tuple[str, ...], x: Mapping[str, FloatArray]
    ) -> Design:
        """The design of a form on centred logarithms x[name] of shape (m,)."""
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

    def take(self, rows: AnyArray) -> Design:
        """The design of some rows of a batch: all rows share it."""
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
class SaturatingDesign(Design):
    """The design of `tree`: log g_0 = -alpha1 x1 - alpha2 u2 / (1 + kappa z1), exponents (alpha1, alpha2, kappa).

    x1 and z1 are both ln D1, centred or not: each choice of the two is one choice of coordinates.
    """

    z1: FloatArray
    u2: FloatArray

    @classmethod
    def of(cls, x1: FloatArray, z1: FloatArray, u2: FloatArray) -> SaturatingDesign:
        """From ln D1 (twice) and ln(D2 / scale), each of shape (m,)."""
        # features at kappa = 0; kappa has bounds of its own, so its row only has to be there
        power = Block.of(0, np.stack([-x1, -u2, u2 * z1]))
        return cls((power, Block.of(0, np.zeros((0, x1.size)))), 3, x1.size, z1, u2)

    def log_terms(self, eta: FloatArray) -> list[FloatArray | None]:
        """As in `Design`, with the saturating exponent."""
        power = eta[:, 0:1] * self.blocks[0].features[0]
        return [power - eta[:, 1:2] * self.u2 / (1.0 + eta[:, 2:3] * self.z1), None]

    def features(self, j: int, theta: FloatArray) -> FloatArray:
        """(B, 3, m): -x1, -u2 / bend, alpha2 u2 z1 / bend^2."""
        bend = 1.0 + theta[:, 4:5] * self.z1
        out = np.empty((theta.shape[0], 3, self.size))
        out[:, 0] = self.blocks[0].features[0]
        out[:, 1] = -self.u2 / bend
        out[:, 2] = theta[:, 3:4] * self.u2 * self.z1 / bend**2
        return out

    def curvature(self, at: Evaluation, slope: FloatArray) -> FloatArray:
        """As in `Design`; here the features depend on the exponents and have second derivatives of their own."""
        features = self.features(0, at.theta)
        out = np.zeros((slope.shape[0], 5, 5))
        cross = (features @ (slope * at.unit[:, 0])[:, :, None])[..., 0]
        out[:, 0, 2:], out[:, 2:, 0] = cross, cross
        weights = slope * at.share[:, 0]
        out[:, 2:, 2:] = (features * weights[:, None]) @ features.transpose(0, 2, 1)
        bend = 1.0 + at.theta[:, 4:5] * self.z1
        mixed = np.vecdot(weights, self.u2 * self.z1 / bend**2)
        out[:, 3, 4] += mixed
        out[:, 4, 3] += mixed
        out[:, 4, 4] -= 2.0 * at.theta[:, 3] * np.vecdot(weights, self.u2 * self.z1**2 / bend**3)
        return out
