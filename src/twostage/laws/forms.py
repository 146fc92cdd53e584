"""The functional forms of the laws as pure functions, with equation numbers of arXiv 2510.06548.

Every form is a sum of terms, each a scale (A, F, B, E >= 0) times exp(a function of the exponents), so value, gradient
and Hessian are exact and shared (`design.Design`). Natural logarithm throughout; D1 and D2 in tokens, N in
non-embedding parameters, losses in nats per token. Fitting is not done here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from twostage.laws.design import Design, SaturatingDesign, Term
from twostage.laws.points import AnyArray, FloatArray, Points

# The saturating exponent is not invariant to the unit of D2: it says at which D2 the curves of all D1 differ by the
# factor D1^-alpha1 alone. Our choice: 1e9 tokens, inside the grid of the paper (0.58e9 to 74e9).
TREE_D2_SCALE_TOKENS = 1e9
# 1 + kappa ln D1 must stay positive on the data; in units of its value at the mean ln D1 we keep it above this.
TREE_MARGIN = 0.02
# Beyond this the exponent is alpha2 / (kappa ln D1) to a part in 1e4: only the ratio is identified.
TREE_KAPPA_MAX = 1e3


@dataclass(frozen=True)
class Form:
    """One law.

    `coefficients` are the raw names in printing order; `terms` say how each scale multiplies its exponents; `variables`
    are the columns used (`d1`, `d2`, `n`). `saturating` marks the one form whose exponent is nonlinear (`tree`).
    """

    name: str
    equation: str
    coefficients: tuple[str, ...]
    terms: tuple[Term, ...]
    exponents: tuple[str, ...]
    variables: tuple[str, ...]
    merged: bool = False
    saturating: bool = False

    @property
    def scales(self) -> tuple[str, ...]:
        """Names of the non-negative scales, one per term, in the internal order."""
        return tuple(term.scale for term in self.terms)

    @property
    def internal(self) -> tuple[str, ...]:
        """Names in the internal order: scales, then exponents."""
        return self.scales + self.exponents

    def logs(
        self, d1: ArrayLike | None = None, d2: ArrayLike | None = None, n: ArrayLike | None = None
    ) -> dict[str, FloatArray]:
        """The logarithms the form is made of, by name (`d1`, `d2`, `n`, or `d` = D1 + D2), broadcast together.

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
        if self.merged:
            values = {"d": values["d1"] + values["d2"]}
        shape = np.broadcast_shapes(*(v.shape for v in values.values()))
        return {name: np.log(np.broadcast_to(v, shape)) for name, v in values.items()}

    def centre(self, points: Points) -> dict[str, float]:
        """Centring constants: the means of the logarithms over the points (`tree`: ln of the stated scale for D2)."""
        means = {
            name: float(np.mean(x)) for name, x in self.logs(**points.variables_for(self.variables)).items()
        }
        if self.saturating:
            means["d2"] = float(np.log(TREE_D2_SCALE_TOKENS))
        return means

    def design(self, logs: Mapping[str, FloatArray], centre: Mapping[str, float]) -> Design:
        """The form on given points (flat logs of shape (m,)), in centred coordinates."""
        x = {name: np.asarray(value, np.float64).ravel() - centre[name] for name, value in logs.items()}
        if self.saturating:
            return SaturatingDesign.of(x["d1"], x["d1"], x["d2"])
        return Design.build(self.terms, self.exponents, x)

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
                f"form {self.name!r} has the coefficients {self.coefficients}, got {tuple(coefficients)}"
            )
        logs = self.logs(d1, d2, n)
        if self.saturating:
            logs = logs | {"d2": logs["d2"] - np.log(TREE_D2_SCALE_TOKENS)}
        shape = next(iter(logs.values())).shape
        total: Any = np.zeros(shape)
        for term in self.terms:
            exponent: Any = np.zeros(shape)
            for name, monomial in term.exponents:
                part: Any = -coefficients[name] if monomial != ("d1", "d2") else coefficients[name]
                for variable in monomial:
                    part = part * logs[variable]
                if self.saturating and name == "alpha2":
                    part = part / (1.0 + coefficients["kappa"] * logs["d1"])
                exponent = exponent + part
            total = total + coefficients[term.scale] * np.exp(exponent)
        return np.asarray(total)

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
        if self.saturating:
            base = 1.0 - value["kappa"] * centre["d1"]
            raw["kappa"] = value["kappa"] / base
            raw["alpha2"] = value["alpha2"] / base
        for term in self.terms:
            with np.errstate(
                over="ignore", invalid="ignore"
            ):  # implausible exponents: reported by `fit.assemble`
                raw[term.scale] = value[term.scale] * np.exp(self._shift(term, value, centre))
        return {name: raw[name] for name in self.coefficients}

    def from_raw(self, coefficients: Mapping[str, float], centre: Mapping[str, float]) -> FloatArray:
        """Internal vector from raw coefficients: the inverse of `to_raw`."""
        value = dict(coefficients)
        if "alpha3" in value:
            value["alpha1"] = coefficients["alpha1"] - coefficients["alpha3"] * centre["d2"]
            value["alpha2"] = coefficients["alpha2"] - coefficients["alpha3"] * centre["d1"]
        if self.saturating:
            base = 1.0 + coefficients["kappa"] * centre["d1"]
            value["kappa"] = coefficients["kappa"] / base
            value["alpha2"] = coefficients["alpha2"] / base
        for term in self.terms:
            value[term.scale] = coefficients[term.scale] * np.exp(-self._shift(term, value, centre))
        return np.array([value[name] for name in self.internal])

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

    def shifts(self, term: Term, centre: Mapping[str, float]) -> FloatArray:
        """Per exponent of a term (q_j,): ln(raw scale / centred scale) is their sum times the centred exponents."""
        products = []
        for _, monomial in term.exponents:
            # the D2 of the saturating exponent is divided by a stated scale, not centred
            skip = self.saturating and monomial == ("d2",)
            products.append(0.0 if skip else float(np.prod([centre[variable] for variable in monomial])))
        if self.saturating and term.exponents:
            products.append(0.0)  # kappa
        return np.array(products)

    def _shift(self, term: Term, value: Mapping[str, complex], centre: Mapping[str, float]) -> complex:
        names = [name for name, _ in term.exponents]
        return sum((value[n] * s for n, s in zip(names, self.shifts(term, centre), strict=False)), start=0.0)


_D1, _D2, _N, _D12 = ("d1",), ("d2",), ("n",), ("d1", "d2")
_E = Term("E", ())

FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form(
            "power",
            "Eq. 1: L = A D2^-alpha + E",
            ("A", "alpha", "E"),
            (Term("A", (("alpha", _D2),)), _E),
            ("alpha",),
            ("d2",),
        ),
        Form(
            "mul",
            "Eq. 2: L = A D1^-alpha1 D2^(-alpha2 + alpha3 ln D1) + E",
            ("A", "alpha1", "alpha2", "alpha3", "E"),
            (Term("A", (("alpha1", _D1), ("alpha2", _D2), ("alpha3", _D12))), _E),
            ("alpha1", "alpha2", "alpha3"),
            ("d1", "d2"),
        ),
        Form(
            "mul0",
            "Eq. 2 with alpha3 = 0: L = A D1^-alpha1 D2^-alpha2 + E",
            ("A", "alpha1", "alpha2", "E"),
            (Term("A", (("alpha1", _D1), ("alpha2", _D2))), _E),
            ("alpha1", "alpha2"),
            ("d1", "d2"),
        ),
        Form(
            "add",
            "Eq. 3: L = A D1^-alpha1 + F D2^-alpha2 + E",
            ("A", "alpha1", "F", "alpha2", "E"),
            (Term("A", (("alpha1", _D1),)), Term("F", (("alpha2", _D2),)), _E),
            ("alpha1", "alpha2"),
            ("d1", "d2"),
        ),
        Form(
            "hyb",
            "Eq. 4: L = (A D1^-alpha1 + F) D2^-alpha2 + E",
            ("A", "alpha1", "F", "alpha2", "E"),
            (Term("A", (("alpha1", _D1), ("alpha2", _D2))), Term("F", (("alpha2", _D2),)), _E),
            ("alpha1", "alpha2"),
            ("d1", "d2"),
        ),
        Form(
            "merged",
            "Eq. 6: L = A (D1 + D2)^-alpha + E",
            ("A", "alpha", "E"),
            (Term("A", (("alpha", ("d",)),)), _E),
            ("alpha",),
            ("d1", "d2"),
            merged=True,
        ),
        Form(
            "joint",
            "Eq. 7: L = A D1^-alpha1 D2^(-alpha2 + alpha3 ln D1) + B N^-beta + E",
            ("A", "alpha1", "alpha2", "alpha3", "B", "beta", "E"),
            (
                Term("A", (("alpha1", _D1), ("alpha2", _D2), ("alpha3", _D12))),
                Term("B", (("beta", _N),)),
                _E,
            ),
            ("alpha1", "alpha2", "alpha3", "beta"),
            ("d1", "d2", "n"),
        ),
        Form(
            "chinchilla",
            "Chinchilla (Hoffmann et al. 2022): L = A/N^alpha + B/D^beta + E, D = d2",
            ("A", "B", "E", "alpha", "beta"),
            (Term("A", (("alpha", _N),)), Term("B", (("beta", _D2),)), _E),
            ("alpha", "beta"),
            ("d2", "n"),
        ),
        Form(
            "tree",
            "saturating exponent: L = A D1^-alpha1 (D2/1e9)^(-alpha2/(1 + kappa ln D1)) + E",
            ("A", "alpha1", "alpha2", "kappa", "E"),
            (Term("A", (("alpha1", _D1), ("alpha2", _D2))), _E),
            ("alpha1", "alpha2", "kappa"),
            ("d1", "d2"),
            saturating=True,
        ),
    )
}


def form_of(name: str) -> Form:
    """The form of that name; ValueError with the known names otherwise."""
    try:
        return FORMS[name]
    except KeyError:
        raise ValueError(f"unknown form {name!r}; known forms: {', '.join(FORMS)}") from None
