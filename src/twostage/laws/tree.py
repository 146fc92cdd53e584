"""The law of the toy model, with an exponent of D2 that saturates in D1: an example of a form that is not a sum of power laws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twostage.laws.declarations import TREE_D2_SCALE_TOKENS
from twostage.laws.form import Form
from twostage.laws.points import AnyArray, FloatArray, Points
from twostage.laws.response import Block, CurvedResponse, Response

# 1 + kappa ln D1 must stay positive on the data; relative to its value at the mean ln D1 it stays above this.
MARGIN = 0.02
# Beyond this the exponent is alpha2 / (kappa ln D1) to a part in 1e4: only the ratio is identified.
KAPPA_MAX = 1e3


class TreeForm(Form):
    """L = A D1^-alpha1 (D2/1e9)^(-alpha2/(1 + kappa ln D1)) + E."""

    def centre(self, points: Points) -> dict[str, float]:
        """The mean of ln D1, and for D2 the logarithm of the stated scale."""
        return super().centre(points) | {"d2": float(np.log(TREE_D2_SCALE_TOKENS))}

    def loss(self, coefficients: Mapping[str, float], logs: Mapping[str, FloatArray]) -> FloatArray:
        """Return the loss in nats per token from raw coefficients and logarithms."""
        c: Mapping[str, Any] = coefficients
        bend = 1.0 + c["kappa"] * logs["d1"]
        power = -c["alpha1"] * logs["d1"] + -c["alpha2"] * (logs["d2"] - np.log(TREE_D2_SCALE_TOKENS)) / bend
        return np.asarray(c["A"] * np.exp(power) + c["E"])

    def response(self, logs: Mapping[str, FloatArray], centre: Mapping[str, float]) -> Response:
        """The form on given points (logs of m points each), in centred coordinates, with exact derivatives."""
        x = {name: np.asarray(value, np.float64).ravel() - centre[name] for name, value in logs.items()}
        return TreeResponse.of(x["d1"], x["d1"], x["d2"])

    def to_raw(self, internal: Sequence[complex] | AnyArray, centre: Mapping[str, float]) -> dict[str, float]:
        """Raw coefficients from one internal vector (A, E, alpha1, alpha2, kappa; centred)."""
        value = dict(zip(self.internal, internal, strict=True))
        base = 1.0 - value["kappa"] * centre["d1"]
        with np.errstate(over="ignore", invalid="ignore"):
            scale = value["A"] * np.exp(value["alpha1"] * centre["d1"])
        raw = value | {"A": scale, "alpha2": value["alpha2"] / base, "kappa": value["kappa"] / base}
        return {name: raw[name] for name in self.coefficients}

    def from_raw(self, coefficients: Mapping[str, float], centre: Mapping[str, float]) -> FloatArray:
        """Internal vector from raw coefficients: the inverse of `to_raw`."""
        c = coefficients
        base = 1.0 + c["kappa"] * centre["d1"]
        scale = c["A"] * np.exp(-(c["alpha1"] * centre["d1"]))
        value = {**c, "A": scale, "alpha2": c["alpha2"] / base, "kappa": c["kappa"] / base}
        return np.array([value[name] for name in self.internal])

    def exponent_limits(
        self, response: Response, logs: Mapping[str, FloatArray], centre: Mapping[str, float]
    ) -> tuple[FloatArray, FloatArray]:
        """As in `Form`; of kappa: 1 + kappa x1 >= MARGIN on the data, and raw kappa <= KAPPA_MAX."""
        lower, upper = super().exponent_limits(response, logs, centre)
        x1, mean = logs["d1"] - centre["d1"], centre["d1"]
        room = 1.0 - MARGIN
        highest = KAPPA_MAX / (1.0 + KAPPA_MAX * mean)
        lower[2] = -room / max(float(x1.max()), 1e-9)
        upper[2] = min(room / max(float(-x1.min()), 1e-9), highest)
        return lower, upper


@dataclass(frozen=True)
class TreeResponse(CurvedResponse):
    """log g_0 = -alpha1 x1 - alpha2 u2 / (1 + kappa z1), exponents (alpha1, alpha2, kappa).

    x1 and z1 are both ln D1, centred or not: each choice of the two is one choice of coordinates.
    """

    z1: FloatArray
    u2: FloatArray

    @classmethod
    def of(cls, x1: FloatArray, z1: FloatArray, u2: FloatArray) -> TreeResponse:
        """From ln D1 (twice) and ln(D2 / scale), each of shape (m,)."""
        # features at kappa = 0; kappa has its own bounds, so its row only has to be there
        power = Block.of(0, np.stack([-x1, -u2, u2 * z1]))
        return cls((power, Block.of(0, np.zeros((0, x1.size)))), 3, x1.size, z1, u2)

    def log_terms(self, eta: FloatArray) -> list[FloatArray | None]:
        """As in `Response`, with the saturating exponent."""
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

    def second(self, j: int, theta: FloatArray, weights: FloatArray) -> FloatArray:
        """(B, 3, 3): mixed derivative of alpha2 and kappa, and the second one of kappa."""
        bend = 1.0 + theta[:, 4:5] * self.z1
        mixed = np.vecdot(weights, self.u2 * self.z1 / bend**2)
        out = np.zeros((theta.shape[0], 3, 3))
        out[:, 1, 2], out[:, 2, 1] = mixed, mixed
        out[:, 2, 2] = -2.0 * theta[:, 3] * np.vecdot(weights, self.u2 * self.z1**2 / bend**3)
        return out
