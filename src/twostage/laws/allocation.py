"""How to split a second-stage budget: compute-optimal tokens D2 and size N for a base trained on D1 tokens.

Eq. 9 of arXiv 2510.06548v1 and its Appendix E.1, in closed form; one-stage (Chinchilla) laws are the same problem
without D1. The compute is that of the second stage only, C2 = 6 N_final D2: the base is a sunk cost. `crossover` compares
it with training from scratch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from twostage.laws.crossover import Law, alpha_eff

FLOPS_PER_TOKEN_AND_PARAMETER = 6.0  # C = 6 N D, section 5.3


@dataclass(frozen=True)
class Allocation:
    """The compute-optimal split of one second-stage budget.

    Attributes:
        d2_tokens: second-stage tokens.
        n_base: parameters before growth (the N of the law).
        n_final: parameters that are trained in the second stage, growth_factor * n_base.
        loss_nats: predicted loss there.
        d2_exponent: a in D2 ~ C2^a, equal to beta / (alpha_eff + beta).
        n_exponent: b in N ~ C2^b, equal to alpha_eff / (alpha_eff + beta); a + b = 1.
    """

    d2_tokens: float
    n_base: float
    n_final: float
    loss_nats: float
    d2_exponent: float
    n_exponent: float


@dataclass(frozen=True)
class _Terms:
    """L = data_scale D2^-data_exponent + size_scale N^-size_exponent + floor."""

    data_scale: float
    data_exponent: float
    size_scale: float
    size_exponent: float
    floor: float


def _terms(law: Law, d1_tokens: float | None) -> _Terms:
    c = {name: float(value) for name, value in law.coefficients.items()}
    if law.form == "chinchilla":
        return _Terms(c["B"], c["beta"], c["A"], c["alpha"], c["E"])
    if law.form != "joint":
        raise ValueError(
            f"form {law.form!r}: an allocation needs a law with a size term, joint or chinchilla"
        )
    if d1_tokens is None or not d1_tokens > 0:
        raise ValueError(
            f"d1_tokens: a two-stage law needs the base's tokens, larger than 0 (got {d1_tokens})"
        )
    scale = c["A"] * math.exp(-c["alpha1"] * math.log(d1_tokens))
    return _Terms(scale, float(alpha_eff(c, d1_tokens)), c["B"], c["beta"], c["E"])


def _exponents(terms: _Terms, d1_tokens: float | None) -> tuple[float, float]:
    data, size = terms.data_exponent, terms.size_exponent
    if not data > 0:
        raise ValueError(
            f"exponent of D2 = {data:.4g} at D1 = {d1_tokens}: the law says that second-stage tokens do not lower the"
            " loss of this base, so no finite D2 is optimal"
        )
    if not size > 0:
        raise ValueError(
            f"exponent of N = {size:.4g}: the law says that parameters do not lower the loss, so no finite N is optimal"
        )
    return size / (data + size), data / (data + size)


def compute_exponents(law: Law, *, d1_tokens: float | None = None) -> tuple[float, float]:
    """Exponents (a, b) of D2 ~ C2^a and N ~ C2^b (Eq. 9), for any budget; a + b = 1.

    Args:
        law: `joint` (Eq. 7; then `d1_tokens` is needed) or `chinchilla`.
        d1_tokens: tokens of the base.

    Raises:
        ValueError: another form, or no optimum exists because alpha_eff <= 0 (more tokens do not help a base that was
            trained this long) or the exponent of N is <= 0.
    """
    return _exponents(_terms(law, d1_tokens), d1_tokens)


def optimal_allocation(
    law: Law, *, compute_flops: float, d1_tokens: float | None = None, growth_factor: float = 1.0
) -> Allocation:
    """Minimise the loss over D2 and N at C2 = 6 growth_factor N D2 (Appendix E.1).

    With K = C2 / (6 growth_factor): D2 = G K^a, N = K^b / G, G = (A_eff alpha_eff / (B beta))^(1 / (alpha_eff + beta)).
    The last lines of E.1 print N ~ D2^(alpha2 - alpha3 log D1)/beta; the correct term is D2^((alpha2 - alpha3 log D1)/beta).

    Args:
        law: `joint` (Eq. 7) or `chinchilla`; natural log, raw tokens and parameters.
        compute_flops: C2, floating point operations of the second stage.
        d1_tokens: tokens of the base; fixed. Needed for `joint`.
        growth_factor: parameters after / before growth: 1 for continual pretraining, 2 for `stack` and `expand`.

    Raises:
        ValueError: a budget or factor that is not positive, a scale that is not positive, or no optimum
            (see `compute_exponents`).
    """
    for name, value in (("compute_flops", compute_flops), ("growth_factor", growth_factor)):
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name}: {value} must be finite and larger than 0")
    terms = _terms(law, d1_tokens)
    for name, value in (("data", terms.data_scale), ("size", terms.size_scale)):
        if not value > 0:
            raise ValueError(
                f"scale of the {name} term = {value}: without it the law has no trade-off to optimise"
            )
    a, b = _exponents(terms, d1_tokens)
    ratio = terms.data_scale * terms.data_exponent / (terms.size_scale * terms.size_exponent)
    log_g = math.log(ratio) / (terms.data_exponent + terms.size_exponent)
    log_k = math.log(compute_flops / (FLOPS_PER_TOKEN_AND_PARAMETER * growth_factor))
    log_d2, log_n = log_g + a * log_k, b * log_k - log_g
    loss = (
        terms.data_scale * math.exp(-terms.data_exponent * log_d2)
        + terms.size_scale * math.exp(-terms.size_exponent * log_n)
        + terms.floor
    )
    n_base = math.exp(log_n)
    return Allocation(math.exp(log_d2), n_base, growth_factor * n_base, loss, a, b)
