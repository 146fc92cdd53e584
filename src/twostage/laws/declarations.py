"""The laws, each declared once; equation numbers are those of arXiv 2510.06548.

To add one, add it here: `--form`, `compare`, a study's `laws.forms`, the tables and the table in `docs/laws.md` follow
from the declaration (see `docs/recipe-law.md`). This module imports no numpy, so that it is fast to import.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf

# The saturating exponent is not invariant to the unit of D2: at this D2 the curves of all D1 differ only by the
# factor D1^-alpha1. Our choice: 1e9 tokens, inside the grid of the paper (0.58e9 to 74e9).
TREE_D2_SCALE_TOKENS = 1e9


@dataclass(frozen=True)
class Term:
    """One term: a scale times exp(sum of exponent x monomial of the logarithms).

    `exponents` pairs a name with its monomial (`("d1",)`, `("d1", "d2")`); single variables enter with a minus sign
    (D^-alpha), the interaction with a plus sign (alpha3), as in Eq. 2.
    """

    scale: str
    exponents: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Coefficient:
    """Unit and bounds of a coefficient; `scale`: it multiplies a term, so the loss is linear in it."""

    unit: str
    lower: float = -inf
    upper: float = inf
    scale: bool = False


SCALE = Coefficient("nats per token", lower=0.0, scale=True)
EXPONENT = Coefficient("1")
# Positive, but the loss is not linear in them.
LEVEL = Coefficient("nats per token", lower=0.0)
WORTH = Coefficient("tokens^(1 - b)", lower=0.0)
SHARPNESS = Coefficient("1", lower=0.0)


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """One law.

    Attributes:
        name: as in `--form`, in a study's `laws.forms` and in fit files.
        title: heading in tables.
        equation: the source, and the law as text.
        coefficients: name -> unit and bounds, in printing order.
        variables: the columns that it needs, of `d1`, `d2`, `n`.
        terms: of a sum of power laws, in the order of the scales. A monomial `("d1", "d2")` is the interaction of
            `alpha3`; `("d",)` is D1 + D2.
        calculus: `module:class` of the subclass of `form.Form` that implements the derivatives. Set it for laws that are not
            sums of power laws, e.g. `twostage.laws.tree:TreeForm`.
        constants: fixed numbers with units, written to fit files.
        contains: a form nested in this one, and the coefficients with which this form equals it. The fit is then never
            worse than that of the nested form.
        no_base: the limit D1 -> 0 (a model without a base), where it exists: a one-stage form, and which coefficient of this
            form each of its coefficients is.
        no_second: the limit D2 -> 0 (the base itself) as text, where it exists.
    """

    name: str
    title: str
    equation: str
    coefficients: Mapping[str, Coefficient]
    variables: tuple[str, ...]
    terms: tuple[Term, ...] = ()
    calculus: str = "twostage.laws.form:MonomialForm"
    constants: Mapping[str, float] = field(default_factory=dict)
    contains: tuple[str, Mapping[str, float]] | None = None
    no_base: tuple[str, Mapping[str, str]] | None = None
    no_second: str | None = None

    @cached_property
    def scales(self) -> tuple[str, ...]:
        """Names of the non-negative scales, one per term."""
        return tuple(name for name, coefficient in self.coefficients.items() if coefficient.scale)

    @cached_property
    def exponents(self) -> tuple[str, ...]:
        """Names of the other coefficients, in which the loss is not linear."""
        return tuple(name for name, coefficient in self.coefficients.items() if not coefficient.scale)

    @cached_property
    def internal(self) -> tuple[str, ...]:
        """Names in the internal order: scales, then exponents."""
        return self.scales + self.exponents


_D1, _D2, _N, _D12 = ("d1",), ("d2",), ("n",), ("d1", "d2")
_MUL = Term("A", (("alpha1", _D1), ("alpha2", _D2), ("alpha3", _D12)))
_E = Term("E", ())
_TRANSFER = {"A": SCALE, "alpha": EXPONENT, "k": WORTH, "b": EXPONENT}
_BLEND = {"A": SCALE, "alpha": EXPONENT, "B": LEVEL, "b": EXPONENT, "s": SHARPNESS}
# In the limit of no first stage: a power law of D2, or Chinchilla's law with the scales of N and D2 in its order.
_ONE_STAGE_OVER_SIZES = (
    "chinchilla",
    {"A": "C", "alpha": "beta", "B": "A", "beta": "alpha", "E": "E"},
)
_ONE_STAGE = ("power", {"A": "A", "alpha": "alpha", "E": "E"})

_LAWS = (
    Declaration(
        name="power",
        title="Power",
        equation="Eq. 1: L = A D2^-alpha + E",
        coefficients={"A": SCALE, "alpha": EXPONENT, "E": SCALE},
        variables=("d2",),
        terms=(Term("A", (("alpha", _D2),)), _E),
    ),
    Declaration(
        name="mul",
        title="Mul.",
        equation="Eq. 2: L = A D1^-alpha1 D2^(-alpha2 + alpha3 ln D1) + E",
        coefficients={"A": SCALE, "alpha1": EXPONENT, "alpha2": EXPONENT, "alpha3": EXPONENT, "E": SCALE},
        variables=("d1", "d2"),
        terms=(_MUL, _E),
    ),
    Declaration(
        name="mul0",
        title="Mul. (α₃ = 0)",
        equation="Eq. 2 with alpha3 = 0: L = A D1^-alpha1 D2^-alpha2 + E",
        coefficients={"A": SCALE, "alpha1": EXPONENT, "alpha2": EXPONENT, "E": SCALE},
        variables=("d1", "d2"),
        terms=(Term("A", (("alpha1", _D1), ("alpha2", _D2))), _E),
    ),
    Declaration(
        name="add",
        title="Add.",
        equation="Eq. 3: L = A D1^-alpha1 + F D2^-alpha2 + E",
        coefficients={"A": SCALE, "alpha1": EXPONENT, "F": SCALE, "alpha2": EXPONENT, "E": SCALE},
        variables=("d1", "d2"),
        terms=(Term("A", (("alpha1", _D1),)), Term("F", (("alpha2", _D2),)), _E),
    ),
    Declaration(
        name="hyb",
        title="Hyb.",
        equation="Eq. 4: L = (A D1^-alpha1 + F) D2^-alpha2 + E",
        coefficients={"A": SCALE, "alpha1": EXPONENT, "F": SCALE, "alpha2": EXPONENT, "E": SCALE},
        variables=("d1", "d2"),
        terms=(Term("A", (("alpha1", _D1), ("alpha2", _D2))), Term("F", (("alpha2", _D2),)), _E),
        contains=("mul0", {"F": 0.0}),
    ),
    Declaration(
        name="merged",
        title="Merged",
        equation="Eq. 6: L = A (D1 + D2)^-alpha + E",
        coefficients={"A": SCALE, "alpha": EXPONENT, "E": SCALE},
        variables=("d1", "d2"),
        terms=(Term("A", (("alpha", ("d",)),)), _E),
        no_base=_ONE_STAGE,
        no_second="A D1^-alpha + E",
    ),
    Declaration(
        name="joint",
        title="Joint",
        equation="Eq. 7: L = A D1^-alpha1 D2^(-alpha2 + alpha3 ln D1) + B N^-beta + E",
        coefficients={
            "A": SCALE,
            "alpha1": EXPONENT,
            "alpha2": EXPONENT,
            "alpha3": EXPONENT,
            "B": SCALE,
            "beta": EXPONENT,
            "E": SCALE,
        },
        variables=("d1", "d2", "n"),
        terms=(_MUL, Term("B", (("beta", _N),)), _E),
    ),
    Declaration(
        name="chinchilla",
        title="Chinchilla",
        equation="Chinchilla (Hoffmann et al. 2022): L = A/N^alpha + B/D^beta + E, D = d2",
        coefficients={"A": SCALE, "B": SCALE, "E": SCALE, "alpha": EXPONENT, "beta": EXPONENT},
        variables=("d2", "n"),
        terms=(Term("A", (("alpha", _N),)), Term("B", (("beta", _D2),)), _E),
    ),
    Declaration(
        name="tree",
        title="Tree",
        equation="saturating exponent: L = A D1^-alpha1 (D2/1e9)^(-alpha2/(1 + kappa ln D1)) + E",
        coefficients={"A": SCALE, "alpha1": EXPONENT, "alpha2": EXPONENT, "kappa": EXPONENT, "E": SCALE},
        variables=("d1", "d2"),
        constants={"d2_scale_tokens": TREE_D2_SCALE_TOKENS},
        calculus="twostage.laws.tree:TreeForm",
    ),
    Declaration(
        name="transfer",
        title="Transfer",
        equation="effective data (after Hernandez et al. 2021): L = A (D2 + k D1^b)^-alpha + E",
        coefficients=_TRANSFER | {"E": SCALE},
        variables=("d1", "d2"),
        calculus="twostage.laws.blend:TransferForm",
        no_base=_ONE_STAGE,
        no_second="A k^-alpha D1^(-alpha b) + E",
    ),
    Declaration(
        name="blend",
        title="Blend",
        equation="power mean of both stages: L = [(A D2^-alpha)^(-1/s) + (B D1^-b)^(-1/s)]^-s + E",
        coefficients=_BLEND | {"E": SCALE},
        variables=("d1", "d2"),
        calculus="twostage.laws.blend:BlendForm",
        no_base=_ONE_STAGE,
        no_second="B D1^-b + E",
    ),
    Declaration(
        name="joint0",
        title="Joint (α₃ = 0)",
        equation="Eq. 7 with alpha3 = 0: L = A D1^-alpha1 D2^-alpha2 + B N^-beta + E",
        coefficients={
            "A": SCALE,
            "alpha1": EXPONENT,
            "alpha2": EXPONENT,
            "B": SCALE,
            "beta": EXPONENT,
            "E": SCALE,
        },
        variables=("d1", "d2", "n"),
        terms=(Term("A", (("alpha1", _D1), ("alpha2", _D2))), Term("B", (("beta", _N),)), _E),
    ),
    Declaration(
        name="joint-add",
        title="Joint add.",
        equation="additive over sizes: L = A/N^alpha + B/D1^beta + G/D2^gamma + E",
        coefficients={
            "A": SCALE,
            "alpha": EXPONENT,
            "B": SCALE,
            "beta": EXPONENT,
            "G": SCALE,
            "gamma": EXPONENT,
            "E": SCALE,
        },
        variables=("d1", "d2", "n"),
        terms=(
            Term("A", (("alpha", _N),)),
            Term("B", (("beta", _D1),)),
            Term("G", (("gamma", _D2),)),
            _E,
        ),
    ),
    Declaration(
        name="joint-transfer",
        title="Joint transfer",
        equation="transfer over sizes: L = A (D2 + k D1^b)^-alpha + C N^-beta + E",
        coefficients=_TRANSFER | {"C": SCALE, "beta": EXPONENT, "E": SCALE},
        variables=("d1", "d2", "n"),
        calculus="twostage.laws.blend:TransferForm",
        no_base=_ONE_STAGE_OVER_SIZES,
        no_second="A k^-alpha D1^(-alpha b) + C N^-beta + E",
    ),
    Declaration(
        name="joint-blend",
        title="Joint blend",
        equation="blend over sizes: L = [(A D2^-alpha)^(-1/s) + (B D1^-b)^(-1/s)]^-s + C N^-beta + E",
        coefficients=_BLEND | {"C": SCALE, "beta": EXPONENT, "E": SCALE},
        variables=("d1", "d2", "n"),
        calculus="twostage.laws.blend:BlendForm",
        no_base=_ONE_STAGE_OVER_SIZES,
        no_second="B D1^-b + C N^-beta + E",
    ),
)
DECLARED: dict[str, Declaration] = {law.name: law for law in _LAWS}
#: The laws of one method's D1 x D2 grid, which a study may list in `laws.forms`.
GRID_FORMS = tuple(name for name, law in DECLARED.items() if law.variables == ("d1", "d2"))
#: The laws of Tables 1 and 2.
PAPER_FORMS = ("mul", "mul0", "add", "hyb")
