"""Laws in which the base counts as data: `transfer` and `blend`, with or without a term for the model size.

Both join the two stages by a sum inside a power, so they are not sums of power laws. `transfer` adds D2 and the tokens
that the base is worth; `blend` joins the power law of the base and that of the second stage by a power mean.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twostage.laws.form import Form
from twostage.laws.points import AnyArray, FloatArray
from twostage.laws.response import Block, CurvedResponse, Response

# Bounds of the search: exponents of D1 and D2, and the logarithm of the ratio of the two stages at the centre.
LARGEST_EXPONENT, LARGEST_RATIO = 3.0, 12.0
# s from a sharp minimum of the two stages to their product.
LARGEST_S = 50.0
LN2 = float(np.log(2.0))


class StagesForm(Form):
    """What both laws share: L = A g(D1, D2) + E, where a law over sizes has another scale with N^-beta."""

    @property
    def size_scale(self) -> str | None:
        """Name of the scale of the size term, if the law has one."""
        return next((name for name in self.scales if name not in ("A", "E")), None)

    def loss(self, coefficients: Mapping[str, float], logs: Mapping[str, FloatArray]) -> FloatArray:
        """Return the loss in nats per token from raw coefficients and logarithms."""
        c: Mapping[str, Any] = coefficients
        total = np.exp(self.log_stages(c, logs)) + c["E"]
        if self.size_scale is not None:
            total = total + c[self.size_scale] * np.exp(-c["beta"] * logs["n"])
        return np.asarray(total)

    @abstractmethod
    def log_stages(self, c: Mapping[str, Any], logs: Mapping[str, FloatArray]) -> Any:
        """ln of the term of the two stages from raw coefficients."""

    def blocks(self, first: FloatArray, x: Mapping[str, FloatArray]) -> tuple[tuple[Block, ...], int]:
        """The terms, with `first` (q, m) the features of the stages' one, and the number of exponents."""
        count, size = first.shape
        terms = [Block.of(0, first)]
        if self.size_scale is not None:
            terms.append(Block.of(count, -x["n"][None]))
            count += 1
        return (*terms, Block.of(0, np.zeros((0, size)))), count

    def centred(self, logs: Mapping[str, FloatArray], centre: Mapping[str, float]) -> dict[str, FloatArray]:
        """Centred logarithms, (m,) each."""
        return {name: np.asarray(value, float).ravel() - centre[name] for name, value in logs.items()}

    def size_factor(self, c: Mapping[str, Any], centre: Mapping[str, float]) -> dict[str, Any]:
        """Raw scale of the size term over the centred one, by its name."""
        if self.size_scale is None:
            return {}
        return {self.size_scale: np.exp(c["beta"] * centre["n"])}


class TransferForm(StagesForm):
    """L = A (D2 + k D1^b)^-alpha + E. Internal: ln k + b ln D1 - ln D2 at the centre in the place of k."""

    def log_stages(self, c: Mapping[str, Any], logs: Mapping[str, FloatArray]) -> Any:
        """As in `StagesForm`."""
        base = np.log(c["k"]) + c["b"] * logs["d1"] - logs["d2"]
        return np.log(c["A"]) - c["alpha"] * (logs["d2"] + soft_plus(base))

    def response(self, logs: Mapping[str, FloatArray], centre: Mapping[str, float]) -> Response:
        """The form on given points (logs of m points each), in centred coordinates, with exact derivatives."""
        x = self.centred(logs, centre)
        start = np.stack([-np.logaddexp(x["d2"], 0.0), np.full(x["d1"].size, -1.0), -x["d1"]])
        terms, count = self.blocks(start, x)
        return TransferResponse(terms, count, x["d1"].size, x["d1"], x["d2"])

    def exponent_limits(
        self, response: Response, logs: Mapping[str, FloatArray], centre: Mapping[str, float]
    ) -> tuple[FloatArray, FloatArray]:
        """As in `Form`, with bounds of alpha, the ratio of the stages and b that do not depend on the grid."""
        return _limited(
            self, response, logs, centre, np.array([LARGEST_EXPONENT, LARGEST_RATIO, LARGEST_EXPONENT])
        )

    def to_raw(self, internal: Sequence[complex] | AnyArray, centre: Mapping[str, float]) -> dict[str, float]:
        """Raw coefficients from one internal vector."""
        c: dict[str, Any] = dict(zip(self.internal, internal, strict=True))
        with np.errstate(over="ignore", invalid="ignore"):
            raw = c | {
                "A": c["A"] * np.exp(c["alpha"] * centre["d2"]),
                "k": np.exp(c["k"] + centre["d2"] - c["b"] * centre["d1"]),
            }
            raw |= {name: c[name] * factor for name, factor in self.size_factor(c, centre).items()}
        return {name: raw[name] for name in self.coefficients}

    def from_raw(self, coefficients: Mapping[str, float], centre: Mapping[str, float]) -> FloatArray:
        """Internal vector from raw coefficients: the inverse of `to_raw`."""
        c = coefficients
        value = {
            **c,
            "A": c["A"] * np.exp(-c["alpha"] * centre["d2"]),
            "k": np.log(c["k"]) - centre["d2"] + c["b"] * centre["d1"],
        }
        value |= {name: c[name] / factor for name, factor in self.size_factor(c, centre).items()}
        return np.array([value[name] for name in self.internal])


class BlendForm(StagesForm):
    """L = [(A D2^-alpha)^(-1/s) + (B D1^-b)^(-1/s)]^(-s) + E.

    Internal: ln of the ratio of the two power laws at the centre in the place of B, ln s, and as scale the term itself at
    the point where both power laws are equal, which stays finite for large s.
    """

    def log_stages(self, c: Mapping[str, Any], logs: Mapping[str, FloatArray]) -> Any:
        """As in `StagesForm`."""
        second = np.log(c["A"]) - c["alpha"] * logs["d2"]
        base = np.log(c["B"]) - c["b"] * logs["d1"]
        return second - c["s"] * soft_plus((second - base) / c["s"])

    def response(self, logs: Mapping[str, FloatArray], centre: Mapping[str, float]) -> Response:
        """The form on given points (logs of m points each), in centred coordinates, with exact derivatives."""
        x = self.centred(logs, centre)
        half = np.full(x["d1"].size, -0.5)
        start = np.stack([0.5 * x["d2"], half, 0.5 * x["d1"], half])
        terms, count = self.blocks(start, x)
        return BlendResponse(terms, count, x["d1"].size, x["d1"], x["d2"])

    def exponent_limits(
        self, response: Response, logs: Mapping[str, FloatArray], centre: Mapping[str, float]
    ) -> tuple[FloatArray, FloatArray]:
        """As in `Form`, with bounds of alpha, the ratio of the stages, b and s that do not depend on the grid."""
        largest = [LARGEST_EXPONENT, LARGEST_RATIO, LARGEST_EXPONENT, np.log(LARGEST_S)]
        return _limited(self, response, logs, centre, np.array(largest))

    def to_raw(self, internal: Sequence[complex] | AnyArray, centre: Mapping[str, float]) -> dict[str, float]:
        """Raw coefficients from one internal vector."""
        c: dict[str, Any] = dict(zip(self.internal, internal, strict=True))
        with np.errstate(over="ignore", invalid="ignore"):
            s = np.exp(c["s"])
            middle = c["A"] * np.exp(s * LN2)
            raw = c | {
                "A": middle * np.exp(c["alpha"] * centre["d2"]),
                "B": middle * np.exp(c["b"] * centre["d1"] - c["B"]),
                "s": s,
            }
            raw |= {name: c[name] * factor for name, factor in self.size_factor(c, centre).items()}
        return {name: raw[name] for name in self.coefficients}

    def from_raw(self, coefficients: Mapping[str, float], centre: Mapping[str, float]) -> FloatArray:
        """Internal vector from raw coefficients: the inverse of `to_raw`."""
        c = coefficients
        second = c["A"] * np.exp(-c["alpha"] * centre["d2"])
        base = np.log(c["B"]) - c["b"] * centre["d1"]
        value = {
            **c,
            "A": second * np.exp(-c["s"] * LN2),
            "B": np.log(second) - base,
            "s": np.log(c["s"]),
        }
        value |= {name: c[name] / factor for name, factor in self.size_factor(c, centre).items()}
        return np.array([value[name] for name in self.internal])


def soft_plus(x: Any) -> Any:
    """ln(1 + e^x) without overflow, real or complex."""
    positive = np.real(x) > 0
    return np.where(positive, x, 0.0) + np.log1p(np.exp(np.where(positive, -x, x)))


def _limited(
    form: Form,
    response: Response,
    logs: Mapping[str, FloatArray],
    centre: Mapping[str, float],
    largest: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """The usual bounds, and at most `largest` (q,) for the first exponents; s and the ratio have no bounds but those."""
    reach = response.reach()
    limit = np.where(reach > 1e-9, 20.0 / np.maximum(reach, 1e-9), 0.0)
    limit[: largest.size] = np.where(
        limit[: largest.size] > 0, np.minimum(limit[: largest.size], largest), 0.0
    )
    return -limit, limit


class StagesResponse(CurvedResponse):
    """The first term is that of the two stages; those after it are power laws."""

    @abstractmethod
    def stages(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """log g (B, m) of the first term and its features (B, q, m), from its exponents (B, q)."""

    @property
    def first(self) -> slice:
        """The exponents of the first term, among all coordinates."""
        return slice(self.n_terms, self.n_terms + self.blocks[0].where.stop)

    def log_terms(self, eta: FloatArray) -> list[FloatArray | None]:
        """As in `Response`."""
        terms = super().log_terms(eta)
        terms[0] = self.stages(eta[:, self.blocks[0].where])[0]
        return terms

    def features(self, j: int, theta: FloatArray) -> FloatArray:
        """As in `Response`."""
        return super().features(j, theta)[None] if j else self.stages(theta[:, self.first])[1]


@dataclass(frozen=True)
class TransferResponse(StagesResponse):
    """log g = -alpha logaddexp(x2, h + b x1), exponents (alpha, h, b); x1, x2 (m,) centred ln D1, ln D2."""

    x1: FloatArray
    x2: FloatArray

    def parts(self, eta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """ln of the data, and the share of the base in it; (B, m) each."""
        base = eta[:, 1:2] + eta[:, 2:3] * self.x1
        data = np.logaddexp(self.x2, base)
        return data, np.exp(base - data)

    def stages(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """As in `StagesResponse`."""
        data, share = self.parts(theta)
        pull = -theta[:, :1] * share
        return -theta[:, :1] * data, np.stack([-data, pull, pull * self.x1], axis=1)

    def second(self, j: int, theta: FloatArray, weights: FloatArray) -> FloatArray:
        """As in `CurvedResponse`."""
        if j:
            return np.zeros((len(theta), 1, 1))
        eta = theta[:, self.first]
        _, share = self.parts(eta)
        slope, curved = -share * weights, -eta[:, :1] * share * (1.0 - share) * weights
        x, out = self.x1, np.zeros((len(theta), 3, 3))
        out[:, 0, 1], out[:, 0, 2] = slope.sum(axis=1), slope @ x
        out[:, 1, 0], out[:, 2, 0] = out[:, 0, 1], out[:, 0, 2]
        out[:, 1, 1], out[:, 1, 2], out[:, 2, 2] = curved.sum(axis=1), curved @ x, curved @ (x * x)
        out[:, 2, 1] = out[:, 1, 2]
        return out


@dataclass(frozen=True)
class BlendResponse(StagesResponse):
    """log g = s ln 2 - s logaddexp(u / s, v / s), u = alpha x2, v = h + b x1, exponents (alpha, h, b, ln s).

    x1, x2 (m,): centred ln D1, ln D2.
    """

    x1: FloatArray
    x2: FloatArray

    def parts(self, eta: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """s (B, 1); u, v and the share of v in the mean, (B, m) each."""
        s = np.exp(eta[:, 3:4])
        u, v = eta[:, :1] * self.x2, eta[:, 1:2] + eta[:, 2:3] * self.x1
        return s, u, v, 0.5 * (1.0 + np.tanh(0.5 * (v - u) / s))

    def stages(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """As in `StagesResponse`; the derivative in s is the entropy of the two shares."""
        s, u, v, share = self.parts(theta)
        larger = np.logaddexp(u / s, v / s)
        entropy = larger - ((1.0 - share) * u + share * v) / s
        rows = [-(1.0 - share) * self.x2, -share, -share * self.x1, s * (LN2 - entropy)]
        return s * (LN2 - larger), np.stack(rows, axis=1)

    def second(self, j: int, theta: FloatArray, weights: FloatArray) -> FloatArray:
        """As in `CurvedResponse`."""
        if j:
            return np.zeros((len(theta), 1, 1))
        s, u, v, share = self.parts(theta[:, self.first])
        apart, bent = v - u, share * (1.0 - share) / s
        entropy = np.logaddexp(u / s, v / s) - ((1.0 - share) * u + share * v) / s
        # derivatives of v - u in (alpha, h, b); ln s acts on it as on -(v - u)
        ways = np.broadcast_to(np.stack([-self.x2, np.ones(self.size), self.x1]), (len(theta), 3, self.size))
        ways = np.concatenate([ways, -apart[:, None]], axis=1)
        out = -(ways * (bent * weights)[:, None]) @ ways.transpose(0, 2, 1)
        out[:, 3, 3] += np.vecdot(weights, s * (LN2 - entropy))
        return np.asarray(out)
