"""Compare reuse of a base model with training from scratch: where the two laws cross (Eq. 8, Figures 4 right, 10 and 11).

Pure functions of two laws, one for models trained from scratch and one for the second stage; their intervals are in
`consequences`. Natural logarithms, D in tokens, N in parameters, losses in nats per token. The law of the second
stage takes N *before* growth; the model trained from scratch has growth_factor * N parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from twostage.laws.form import MonomialForm
from twostage.laws.forms import form_of

FloatArray = NDArray[np.float64]
Coefficient = float | FloatArray

# Roots are searched in this range of tokens. It is larger than any corpus, to distinguish a
# crossover at 1e20 tokens from laws that do not cross.
SEARCH_TOKENS = (1e4, 1e40)
_GRID_POINTS = 800
_BISECTIONS = 60  # 0.1 / 2^60 in ln D: below one part in 1e16
_LOG_STEP = 1e-4  # central differences of smooth functions: relative error about 1e-8


@dataclass(frozen=True)
class Law:
    """A form with its coefficients: the pure part of a fit.

    Coefficients may be arrays of shape (draws, 1), to evaluate many draws at once.
    """

    form: str
    coefficients: Mapping[str, Coefficient]

    def loss(self, d2: Any, *, d1: Any = None, n: Any = None) -> FloatArray:
        """Loss in nats per token, shape of the broadcast inputs and coefficients.

        `d1` and `d2` in tokens, `n` in parameters (before growth). What the form does not use is ignored. Raises
        ValueError where something that it needs is missing or not positive.
        """
        # The forms broadcast over coefficients as they do over inputs; their signature names the common case.
        coefficients = cast("Mapping[str, float]", self.coefficients)
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # drawn laws overflow at the far end of a search: infinite loss
            return form_of(self.form).predict(coefficients, d1=d1, d2=d2, n=n)

    def with_coefficients(self, **changes: Coefficient) -> Law:
        """The same law with some coefficients replaced."""
        return replace(self, coefficients={**self.coefficients, **changes})

    @property
    def has_size(self) -> bool:
        """Whether the loss depends on N."""
        return "n" in form_of(self.form).variables


class FittedLaw(Protocol):
    """The attributes of `fit.Fit` that this module uses."""

    @property
    def form(self) -> str: ...  # noqa: D102

    @property
    def coefficients(self) -> dict[str, float]: ...  # noqa: D102


def law_of(fit: FittedLaw) -> Law:
    """The law of a fit, with its point estimates."""
    return Law(fit.form, dict(fit.coefficients))


@dataclass(frozen=True)
class Crossover:
    """The number of tokens above which training from scratch is better than reuse.

    Attributes:
        tokens: the crossover in tokens; NaN where the laws do not cross within `SEARCH_TOKENS`.
        slope: d ln tokens / d ln N there; NaN without a crossover or without a size term.
        beyond: which is better at the upper end of the search, `scratch` or `reuse`.
    """

    tokens: float
    slope: float
    beyond: str


@dataclass(frozen=True)
class Saving:
    """Tokens that training from scratch would need for the same loss, for one run.

    Attributes:
        loss_nats: loss of the reused model after D2 tokens.
        scratch_tokens: tokens from scratch to the same loss; infinite where no number of tokens suffices.
        saved_tokens: scratch_tokens - D2; negative where training from scratch would have been cheaper.
        share_of_sunk_cost: saved_tokens / D1; 1 means that it saves as many tokens as the base took.
    """

    loss_nats: float
    scratch_tokens: float
    saved_tokens: float
    share_of_sunk_cost: float


def alpha_eff(coefficients: Mapping[str, Coefficient], d1: Any) -> FloatArray:
    """Effective exponent of D2 for a base trained on `d1` tokens (section 4.1): alpha2 - alpha3 ln D1.

    For `tree` it is alpha2 / (1 + kappa ln D1); for forms without interaction it is alpha2. Shape of `d1`, broadcast
    with the coefficients.
    """
    log_d1 = np.log(np.asarray(d1, dtype=np.float64))
    if "kappa" in coefficients:
        return np.asarray(coefficients["alpha2"] / (1.0 + coefficients["kappa"] * log_d1))
    return np.asarray(coefficients["alpha2"] - coefficients.get("alpha3", 0.0) * log_d1)


def saturation_tokens(coefficients: Mapping[str, float]) -> float:
    """D1 at which alpha_eff reaches zero, exp(alpha2 / alpha3); infinite where alpha3 <= 0."""
    alpha3 = coefficients.get("alpha3", 0.0)
    if not alpha3 > 0:
        return float("inf")
    with np.errstate(over="ignore"):
        return float(np.exp(coefficients["alpha2"] / alpha3))


def upper_root(
    difference: Callable[[FloatArray], FloatArray], bounds: tuple[float, float] = SEARCH_TOKENS
) -> FloatArray:
    """Largest number of tokens at which `difference` (scratch minus reuse, nats) turns from positive to not positive.

    Eq. 8 has a second root at 1e6 to 1e7 tokens, where the difference changes sign the other way; it is not a
    crossover and is never returned.

    Args:
        difference: tokens of shape (1, m) or (draws, m) -> losses of shape (1, m) or (draws, m).
        bounds: search range in tokens.

    Returns:
        Tokens, shape (draws,); NaN where there is no such root.
    """
    log_grid = np.log(np.geomspace(bounds[0], bounds[1], _GRID_POINTS))
    values = difference(np.exp(log_grid)[None, :])
    turns = (values[:, :-1] > 0) & (values[:, 1:] <= 0)
    found = turns.any(axis=1)
    last = turns.shape[1] - 1 - np.argmax(turns[:, ::-1], axis=1)
    low, high = log_grid[last], log_grid[last + 1]
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        positive = difference(np.exp(middle)[:, None])[:, 0] > 0
        low, high = np.where(positive, middle, low), np.where(positive, high, middle)
    return np.where(found, np.exp(0.5 * (low + high)), np.nan)


def _sizes(n: float | None, growth_factor: float) -> tuple[float | None, float | None]:
    """(N of the reused law, N of the model from scratch)."""
    if not growth_factor >= 1:
        raise ValueError(
            f"growth_factor: {growth_factor} must be at least 1 (parameters after / before growth)"
        )
    return n, None if n is None else growth_factor * n


def d_star_draws(scratch: Law, reused: Law, n: float | None, *, growth_factor: float = 2.0) -> FloatArray:
    """D* of Eq. 8 for many draws of coefficients (shape (draws, 1) each); tokens, shape (draws,), NaN without a crossover."""
    n_base, n_final = _sizes(n, growth_factor)
    return upper_root(lambda d: scratch.loss(d, n=n_final) - reused.loss(d, d1=d, n=n_base))


def catch_up_draws(
    scratch: Law, reused: Law, *, d1: float, n: float | None, growth_factor: float = 1.0
) -> FloatArray:
    """`catch_up` for many draws of coefficients (shape (draws, 1) each); tokens, shape (draws,), NaN without a crossover."""
    n_base, n_final = _sizes(n, growth_factor)
    return upper_root(lambda d: scratch.loss(d, n=n_final) - reused.loss(d, d1=d1, n=n_base))


def d_star(scratch: Law, reused: Law, n: float | None, *, growth_factor: float = 2.0) -> Crossover:
    """Solve Eq. 8, L_scratch(D*, g N) = L_reused(D1 = D*, D2 = D*, N), numerically.

    Beyond D* the tokens that match the reused model from scratch are fewer than its sunk cost; below, more.

    Args:
        scratch: law of models trained from scratch on the second-stage data (`chinchilla` or `power`).
        reused: law of the second stage (`joint`, `mul`, ...).
        n: parameters before growth; None for laws without a size term.
        growth_factor: parameters after / before growth.
    """

    def gap(log_d: float, log_n: float) -> float:
        n_base, n_final = _sizes(np.exp(log_n), growth_factor)
        d = np.exp(log_d)
        return float(scratch.loss(d, n=n_final) - reused.loss(d, d1=d, n=n_base))

    tokens = float(d_star_draws(scratch, reused, n, growth_factor=growth_factor)[0])
    log_n = 0.0 if n is None else float(np.log(n))
    beyond = "reuse" if gap(float(np.log(SEARCH_TOKENS[1])), log_n) > 0 else "scratch"
    if np.isnan(tokens) or not (scratch.has_size or reused.has_size):
        return Crossover(tokens, float("nan"), beyond)
    log_d, step = float(np.log(tokens)), _LOG_STEP
    by_n = gap(log_d, log_n + step) - gap(log_d, log_n - step)
    by_d = gap(log_d + step, log_n) - gap(log_d - step, log_n)
    return Crossover(tokens, -by_n / by_d, beyond)


def catch_up(scratch: Law, reused: Law, *, d1: float, n: float | None, growth_factor: float = 1.0) -> float:
    """Tokens D2 beyond which a model trained from scratch on D2 tokens beats reuse of a `d1`-token base (Figures 10, 11).

    NaN where the two loss curves do not cross within `SEARCH_TOKENS`.
    """
    return float(catch_up_draws(scratch, reused, d1=d1, n=n, growth_factor=growth_factor)[0])


def one_stage_terms(law: Law, n: Any = None) -> tuple[Any, Any, Any]:
    """(floor, scale, exponent) of a one-stage law L = floor + scale D^-exponent with `n` parameters.

    The coefficients may be arrays or complex. ValueError for a law with D1, one that is not a sum of power laws, or
    without `n` where the law has a size term.
    """
    form, c = form_of(law.form), law.coefficients
    if "d1" in form.variables or not isinstance(form, MonomialForm):
        raise ValueError(
            f"form {law.form!r}: training from scratch needs a one-stage law, chinchilla or power"
        )
    if law.has_size and n is None:
        raise ValueError(f"n: a {law.form} law needs the number of parameters")
    floor: Any = np.asarray(c["E"])
    scale: Any = 0.0
    exponent: Any = 0.0
    for term in form.terms:
        for name, monomial in term.exponents:
            if monomial == ("n",):
                floor = floor + c[term.scale] * np.asarray(n, dtype=np.float64) ** -np.asarray(c[name])
            else:
                scale, exponent = c[term.scale], c[name]
    return floor, scale, exponent


def scratch_tokens(scratch: Law, loss_nats: Any, n: float | None) -> FloatArray:
    """Tokens from scratch to reach `loss_nats` with `n` parameters: the inverse of a one-stage law.

    Infinite where the loss is at or below what the law reaches with infinite data; shape of `loss_nats`.

    Raises:
        ValueError: not a one-stage law, or a law whose data exponent or scale is not positive.
    """
    floor, scale, exponent = one_stage_terms(scratch, n)
    if np.any(np.asarray(exponent) <= 0) or np.any(np.asarray(scale) <= 0):
        raise ValueError(
            f"{scratch.form}: scale {scale} and exponent {exponent} of the tokens must be positive to invert the law"
        )
    excess = np.asarray(loss_nats, dtype=np.float64) - floor
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(
            excess > 0, np.exp((np.log(scale) - np.log(np.maximum(excess, 0))) / exponent), np.inf
        )


def saving(
    scratch: Law, reused: Law, *, d1: float, d2: float, n: float | None, growth_factor: float = 1.0
) -> Saving:
    """Tokens that reuse of a `d1`-token base saves over training from scratch, also as a share of the sunk cost D1."""
    n_base, n_final = _sizes(n, growth_factor)
    loss = float(reused.loss(d2, d1=d1, n=n_base))
    tokens = float(scratch_tokens(scratch, loss, n_final))
    return Saving(loss, tokens, tokens - d2, (tokens - d2) / d1)


def log_quadratic(
    scratch: Law,
    reused: Law,
    *,
    n_range: tuple[float, float] = (1e9, 1e12),
    n_centre: float = 1e11,
    points: int = 25,
    growth_factor: float = 2.0,
) -> tuple[float, float, float]:
    """Approximate D*(N) as D0 (N/n_centre)^(s + c ln(N/n_centre)), the paper's analytic form, by least squares in ln D*.

    Returns:
        D0 in tokens, s, c.

    Raises:
        ValueError: the laws do not cross at some of the `points` log-spaced sizes in `n_range`.
    """
    sizes = np.geomspace(*n_range, points)
    tokens = np.array([d_star_draws(scratch, reused, n, growth_factor=growth_factor)[0] for n in sizes])
    if np.isnan(tokens).any():
        raise ValueError(
            f"no crossover at N = {sizes[np.isnan(tokens)][0]:.4g}: D*(N) cannot be approximated over {n_range}"
        )
    curvature, slope, log_d0 = np.polyfit(np.log(sizes / n_centre), np.log(tokens), 2)
    return float(np.exp(log_d0)), float(slope), float(curvature)


def log_quadratic_d_star(
    d0: float, slope: float, curvature: float, n: Any, n_centre: float = 1e11
) -> FloatArray:
    """D0 (N/n_centre)^(s + c ln(N/n_centre)) in tokens; with 13T, -0.6, -0.04 the formula below Eq. 8."""
    x = np.log(np.asarray(n, dtype=np.float64) / n_centre)
    return np.asarray(d0 * np.exp(slope * x + curvature * x * x))


def d_star_sensitivity(
    scratch: Law, reused: Law, n: float, *, growth_factor: float = 2.0
) -> dict[str, float]:
    """d ln D* / d coefficient, by implicit differentiation at the root.

    Keys are `scratch.A`, `reused.alpha3` and so on. With Table 8 at 1e11 parameters `reused.alpha3` is -2.7e4: a change
    of 1e-4 in alpha3 moves D* by a factor of 15, so D* cannot be computed from three printed decimals.

    Raises:
        ValueError: there is no crossover at `n`.
    """
    tokens = d_star(scratch, reused, n, growth_factor=growth_factor).tokens
    if np.isnan(tokens):
        raise ValueError(f"n: there is no crossover at {n:.4g} parameters")
    n_base, n_final = _sizes(n, growth_factor)

    def gap(scratch_law: Law, reused_law: Law, d: float) -> float:
        return float(scratch_law.loss(d, n=n_final) - reused_law.loss(d, d1=d, n=n_base))

    step = _LOG_STEP
    by_d = (gap(scratch, reused, tokens * np.exp(step)) - gap(scratch, reused, tokens * np.exp(-step))) / (
        2 * step
    )
    result = {}
    for side, law in (("scratch", scratch), ("reused", reused)):
        for name, value in law.coefficients.items():
            change = 1e-6 * max(abs(float(value)), 1e-3)
            both = []
            for sign in (1, -1):
                moved = law.with_coefficients(**{name: float(value) + sign * change})
                both.append(gap(moved, reused, tokens) if side == "scratch" else gap(scratch, moved, tokens))
            result[f"{side}.{name}"] = -(both[0] - both[1]) / (2 * change) / by_d
    return result
