"""The calculus of a declared law: `Form`, and `MonomialForm` for laws that are sums of power laws.

Every form can be written as L = sum_j c_j exp(h_j(exponents)) with scales c_j >= 0, and is fitted in centred
coordinates (see `response`). Natural logarithm; D1 and D2 in tokens, N in non-embedding parameters, L in nats per token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from twostage.laws.declarations import Declaration, Term
from twostage.laws.points import AnyArray, FloatArray, Points
from twostage.laws.response import Response

# A term may change by at most e^+-20 over the data, per exponent, from its value at the centre: the box of the search.
EXPONENT_REACH = 20.0


class Form(Declaration, ABC):
    """A declared law with the calculus that follows from it; its attributes are those of `Declaration`."""

    def logs(
        self, d1: ArrayLike | None = None, d2: ArrayLike | None = None, n: ArrayLike | None = None
    ) -> dict[str, FloatArray]:
        """Logarithms of the variables, by name, broadcast together.

        Raises ValueError where a variable is missing or not positive.
        """
        given = {"d1": d1, "d2": d2, "n": n}
        values: dict[str, FloatArray] = {}
        for name in self.variables:
            value = given[name]
            if value is None:
                raise ValueError(f"form {self.name!r} needs {name}: {self.equation}")
            array = np.asarray(value, np.float64)
            if not np.all(np.isfinite(array) & (array > 0)):
                raise ValueError(
                    f"form {self.name!r}: {name} must be positive and finite, in units of one token or parameter"
                )
            values[name] = array
        values = self.combined(values)
        shape = np.broadcast_shapes(*(v.shape for v in values.values()))
        return {name: np.log(np.broadcast_to(v, shape)) for name, v in values.items()}

    def combined(self, values: dict[str, FloatArray]) -> dict[str, FloatArray]:
        """The quantities whose logarithms the form uses, from the variables: by default the variables themselves."""
        return values

    def centre(self, points: Points) -> dict[str, float]:
        """Centring constants: the means of the logarithms over the points."""
        logs = self.logs(**points.variables_for(self.variables))
        return {name: float(np.mean(x)) for name, x in logs.items()}

    def predict(
        self,
        coefficients: Mapping[str, float],
        d1: ArrayLike | None = None,
        d2: ArrayLike | None = None,
        n: ArrayLike | None = None,
    ) -> FloatArray:
        """Loss in nats per token from raw coefficients, shape of the broadcast inputs.

        d1, d2 in tokens, n in non-embedding parameters. Works for complex coefficients too (complex-step derivatives).
        Raises ValueError for an unknown or missing coefficient or variable.
        """
        if set(coefficients) != set(self.coefficients):
            raise ValueError(
                f"form {self.name!r} has the coefficients {tuple(self.coefficients)}, got {tuple(coefficients)}"
            )
        return np.asarray(self.loss(coefficients, self.logs(d1, d2, n)))

    def raw_jacobian(self, internal: FloatArray, centre: Mapping[str, float]) -> FloatArray:
        """d raw / d internal, shape (k, k), rows in the order of `coefficients`; complex step, exact to rounding."""
        step = 1e-40
        columns = []
        for i in range(len(internal)):
            moved = internal.astype(np.complex128)
            moved[i] += 1j * step
            raw = self.to_raw(moved, centre)
            columns.append([np.imag(raw[name]) / step for name in self.coefficients])
        return np.array(columns).T

    def exponent_limits(
        self, response: Response, logs: Mapping[str, FloatArray], centre: Mapping[str, float]
    ) -> tuple[FloatArray, FloatArray]:
        """Bounds of the search for the internal exponents, (q,) each: EXPONENT_REACH / max |d h / d exponent|.

        An exponent of a quantity that is constant on the points is fixed at 0.
        """
        reach = response.reach()
        limit = np.where(reach > 1e-9, EXPONENT_REACH / np.maximum(reach, 1e-9), 0.0)
        bounds = [self.coefficients[name] for name in self.exponents]
        return (
            np.maximum(-limit, [bound.lower for bound in bounds]),
            np.minimum(limit, [bound.upper for bound in bounds]),
        )

    @abstractmethod
    def loss(self, coefficients: Mapping[str, float], logs: Mapping[str, FloatArray]) -> FloatArray:
        """Return the loss in nats per token from raw coefficients and logarithms."""

    @abstractmethod
    def response(self, logs: Mapping[str, FloatArray], centre: Mapping[str, float]) -> Response:
        """The form on given points (logs of m points each), in centred coordinates, with exact derivatives."""

    @abstractmethod
    def to_raw(self, internal: Sequence[complex] | AnyArray, centre: Mapping[str, float]) -> dict[str, float]:
        """Raw coefficients from one internal vector (scales, then exponents; centred). Complex input stays complex."""

    @abstractmethod
    def from_raw(self, coefficients: Mapping[str, float], centre: Mapping[str, float]) -> FloatArray:
        """Internal vector from raw coefficients: the inverse of `to_raw`."""


class MonomialForm(Form):
    """A sum of terms, each a scale times a product of powers: the declaration's `terms`."""

    def combined(self, values: dict[str, FloatArray]) -> dict[str, FloatArray]:
        """Return D1 + D2 if the terms use it, else the variables."""
        merged = any(monomial == ("d",) for term in self.terms for _, monomial in term.exponents)
        return {"d": values["d1"] + values["d2"]} if merged else values

    def loss(self, coefficients: Mapping[str, float], logs: Mapping[str, FloatArray]) -> FloatArray:
        """Return the loss in nats per token from raw coefficients and logarithms."""
        shape = next(iter(logs.values())).shape
        total: Any = np.zeros(shape)
        for term in self.terms:
            exponent: Any = np.zeros(shape)
            for name, monomial in term.exponents:
                part: Any = -coefficients[name] if len(monomial) == 1 else coefficients[name]
                for variable in monomial:
                    part = part * logs[variable]
                exponent = exponent + part
            total = total + coefficients[term.scale] * np.exp(exponent)
        return np.asarray(total)

    def response(self, logs: Mapping[str, FloatArray], centre: Mapping[str, float]) -> Response:
        """The form on given points (logs of m points each), in centred coordinates, with exact derivatives."""
        x = {name: np.asarray(value, np.float64).ravel() - centre[name] for name, value in logs.items()}
        return Response.build(self.terms, self.exponents, x)

    def to_raw(self, internal: Sequence[complex] | AnyArray, centre: Mapping[str, float]) -> dict[str, float]:
        """Raw coefficients from one internal vector (scales, then exponents; centred). Complex input stays complex.

        A centred interaction (x1 - m1)(x2 - m2) moves alpha1 by alpha3 m2, alpha2 by alpha3 m1, and every scale by its
        own exponential at the raw origin.
        """
        value = dict(zip(self.internal, internal, strict=True))
        raw = dict(value)
        if "alpha3" in value:
            raw["alpha1"] = value["alpha1"] + value["alpha3"] * centre["d2"]
            raw["alpha2"] = value["alpha2"] + value["alpha3"] * centre["d1"]
        for term in self.terms:
            # implausible exponents overflow: `fit.assemble` warns of them
            with np.errstate(over="ignore", invalid="ignore"):
                raw[term.scale] = value[term.scale] * np.exp(self._shift(term, value, centre))
        return {name: raw[name] for name in self.coefficients}

    def from_raw(self, coefficients: Mapping[str, float], centre: Mapping[str, float]) -> FloatArray:
        """Internal vector from raw coefficients: the inverse of `to_raw`."""
        value = dict(coefficients)
        if "alpha3" in value:
            value["alpha1"] = coefficients["alpha1"] - coefficients["alpha3"] * centre["d2"]
            value["alpha2"] = coefficients["alpha2"] - coefficients["alpha3"] * centre["d1"]
        for term in self.terms:
            value[term.scale] = coefficients[term.scale] * np.exp(-self._shift(term, value, centre))
        return np.array([value[name] for name in self.internal])

    def _shift(self, term: Term, value: Mapping[str, complex], centre: Mapping[str, float]) -> complex:
        names = [name for name, _ in term.exponents]
        return sum((value[n] * s for n, s in zip(names, shifts_of(term, centre), strict=True)), start=0.0)


def shifts_of(term: Term, centre: Mapping[str, float]) -> FloatArray:
    """Per exponent of a term (q_j,): ln(raw scale / centred scale) is their sum times the centred exponents."""
    return np.array(
        [float(np.prod([centre[variable] for variable in monomial])) for _, monomial in term.exponents]
    )
