"""A law that is not a sum of power laws, as a contributor would write it; `test_new_law` copies it into the library.

L = A (D2 + k D1^b)^-alpha + E with ln k as coefficient. Exponents (alpha, lnk, b); centred: ln k + b ln D1 - ln D2 at the
centre instead of ln k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twostage.laws.form import Form
from twostage.laws.points import AnyArray, FloatArray
from twostage.laws.response import Block, CurvedResponse, Response


class EffectiveForm(Form):
    def loss(self, coefficients: Mapping[str, float], logs: Mapping[str, FloatArray]) -> FloatArray:
        c: Mapping[str, Any] = coefficients
        data = np.exp(logs["d2"]) + np.exp(c["lnk"] + c["b"] * logs["d1"])
        return np.asarray(c["A"] * data ** -c["alpha"] + c["E"])

    def response(self, logs: Mapping[str, FloatArray], centre: Mapping[str, float]) -> Response:
        x1, x2 = (np.asarray(logs[name], float).ravel() - centre[name] for name in ("d1", "d2"))
        start = np.stack([-np.logaddexp(x2, 0.0), np.full(x1.size, -1.0), -x1])
        return EffectiveResponse(
            (Block.of(0, start), Block.of(0, np.zeros((0, x1.size)))), 3, x1.size, x1, x2
        )

    def exponent_limits(
        self, response: Response, logs: Mapping[str, FloatArray], centre: Mapping[str, float]
    ) -> tuple[FloatArray, FloatArray]:
        lower, upper = super().exponent_limits(response, logs, centre)
        return np.maximum(lower, [-3.0, -10.0, -3.0]), np.minimum(upper, [3.0, 10.0, 3.0])

    def to_raw(self, internal: Sequence[complex] | AnyArray, centre: Mapping[str, float]) -> dict[str, float]:
        c = dict(zip(self.internal, internal, strict=True))
        scale = c["A"] * np.exp(c["alpha"] * centre["d2"])
        raw = c | {"A": scale, "lnk": c["lnk"] + centre["d2"] - c["b"] * centre["d1"]}
        return {name: raw[name] for name in self.coefficients}

    def from_raw(self, coefficients: Mapping[str, float], centre: Mapping[str, float]) -> FloatArray:
        c = coefficients
        scale = c["A"] * np.exp(-c["alpha"] * centre["d2"])
        value = {**c, "A": scale, "lnk": c["lnk"] - centre["d2"] + c["b"] * centre["d1"]}
        return np.array([value[name] for name in self.internal])


@dataclass(frozen=True)
class EffectiveResponse(CurvedResponse):
    x1: FloatArray
    x2: FloatArray

    def parts(self, eta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """ln(D2 + k D1^b), and the share of the second summand; (B, m) each."""
        base = eta[:, 1:2] + eta[:, 2:3] * self.x1
        data = np.logaddexp(self.x2, base)
        return data, np.exp(base - data)

    def log_terms(self, eta: FloatArray) -> list[FloatArray | None]:
        return [-eta[:, 0:1] * self.parts(eta)[0], None]

    def features(self, j: int, theta: FloatArray) -> FloatArray:
        data, share = self.parts(theta[:, 2:])
        pull = -theta[:, 2:3] * share
        return np.stack([-data, pull, pull * self.x1], axis=1)

    def second(self, j: int, theta: FloatArray, weights: FloatArray) -> FloatArray:
        _, share = self.parts(theta[:, 2:])
        first, curved = -share * weights, -theta[:, 2:3] * share * (1.0 - share) * weights
        x, zero = self.x1, np.zeros(len(theta))
        a_k, a_b = first.sum(axis=1), (first * x).sum(axis=1)
        k_k, k_b, b_b = curved.sum(axis=1), (curved * x).sum(axis=1), (curved * x * x).sum(axis=1)
        rows = [[zero, a_k, a_b], [a_k, k_k, k_b], [a_b, k_b, b_b]]
        return np.array(rows).transpose(2, 0, 1)
