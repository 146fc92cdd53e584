"""Compare reuse of a base model with training from scratch, as numbers and as text, from two fits.

`advise` collects what `crossover` and `consequences` compute for given N, D1 and D2; `sentences` writes it as text.
The command line reads the files and prints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twostage.common.units import format_quantity
from twostage.laws.consequences import (
    Draws,
    Estimate,
    alpha_eff_estimate,
    catch_up_estimate,
    number_of,
    saving_estimate,
)
from twostage.laws.forms import form_of

SURE, LIKELY = 0.95, 0.75  # shares of draws behind "clearly" and "probably"; our choice


@dataclass(frozen=True)
class ReusePlan:
    """The question: train a base of `d1_tokens` on `d2_tokens` more; `n` is its size before growth, in parameters."""

    d1_tokens: float
    d2_tokens: float
    n: float | None
    growth_factor: float

    def __post_init__(self) -> None:
        for name, value in (("d1", self.d1_tokens), ("d2", self.d2_tokens), ("n", self.n)):
            if value is not None and not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name}: {value} must be finite and larger than 0")
        if not self.growth_factor >= 1:
            raise ValueError(
                f"growth factor: {self.growth_factor} must be at least 1 (parameters after / before growth)"
            )


@dataclass(frozen=True)
class Advice:
    """The numbers behind the sentences.

    Attributes:
        plan: the question.
        alpha_eff: effective exponent of D2 for this base.
        loss_nats: loss of the reused model after D2.
        gain_of_doubling_nats: by how much the loss falls when D2 is doubled.
        scratch_loss_nats: loss from scratch after D2 tokens; None without a law from scratch, as all below.
        scratch_tokens: tokens from scratch to the same loss.
        saved_tokens: scratch_tokens - D2.
        share_of_sunk_cost: saved_tokens / D1.
        catch_up_tokens: D2 beyond which training from scratch wins.
        reuse_better: share of draws in which reuse has a lower loss than D2 tokens from scratch (the base exists already).
        pays_off: share of draws in which reuse also has a lower loss than D1 + D2 tokens from scratch (no base exists yet).
        verdict: `reuse`, `from scratch` or `undecided`; None without a law from scratch.
    """

    plan: ReusePlan
    alpha_eff: Estimate
    loss_nats: Estimate
    gain_of_doubling_nats: Estimate
    scratch_loss_nats: Estimate | None = None
    scratch_tokens: Estimate | None = None
    saved_tokens: Estimate | None = None
    share_of_sunk_cost: Estimate | None = None
    catch_up_tokens: Estimate | None = None
    reuse_better: float | None = None
    pays_off: float | None = None
    verdict: str | None = None


def advise(
    reused: Draws,
    scratch: Draws | None = None,
    *,
    d1: float,
    d2: float,
    n: float | None = None,
    growth_factor: float = 1.0,
    level: float = 0.95,
) -> Advice:
    """Compare reuse of a base model with training from scratch.

    Args:
        reused: draws of the second stage's law; needs D1 and D2 (`mul`, `joint`, ...).
        scratch: draws of a one-stage law (`chinchilla`, `power`) of the second-stage corpus; None: no comparison.
        d1, d2: tokens of the base and of its second stage.
        n: parameters before growth; needed by laws with a size term.
        growth_factor: parameters after / before growth.
        level: coverage of the intervals.

    Raises:
        ValueError: a form that lacks D1, a law from scratch that is not one-stage, or a missing N; a quantity that
            is not positive, or a growth factor below 1.
    """
    plan = ReusePlan(d1, d2, n, growth_factor)
    if not {"d1", "d2"} <= set(form_of(reused.point.form).variables):
        raise ValueError(
            f"form {reused.point.form!r} does not depend on D1; fit a two-stage form (mul, joint, ...) for advice"
        )
    if scratch is not None and "d1" in form_of(scratch.point.form).variables:
        raise ValueError(
            f"form {scratch.point.form!r} is not a law of training from scratch; fit chinchilla (n, d2) or power (d2)"
        )
    for law in (reused, scratch):
        if law is not None and law.point.has_size and plan.n is None:
            raise ValueError(f"form {law.point.form!r} has a size term: give the number of parameters (--n)")

    def losses(draws: Draws, tokens: float, size: float | None, base: float | None) -> np.ndarray:
        return draws.law.loss(tokens, d1=base, n=size)[:, 0]

    drawn = losses(reused, d2, n, d1)
    exponents = (
        alpha_eff_estimate(reused, d1, level=level)
        if "alpha2" in reused.point.coefficients
        else Estimate(
            *(float("nan"),) * 3, level, reused.method, 0.0
        )  # the form has no exponent of D2, like `merged`
    )
    common = {
        "plan": plan,
        "alpha_eff": exponents,
        "loss_nats": number_of(reused, lambda law: law.loss(d2, d1=d1, n=n), level=level),
        "gain_of_doubling_nats": number_of(
            reused, lambda law: law.loss(d2, d1=d1, n=n) - law.loss(2 * d2, d1=d1, n=n), level=level
        ),
    }
    if scratch is None:
        return Advice(**common)  # type: ignore[arg-type]
    n_final = None if n is None else growth_factor * n
    drawn_scratch = losses(scratch, d2, n_final, None)
    drawn_both = losses(scratch, d1 + d2, n_final, None)
    savings = saving_estimate(scratch, reused, d1=d1, d2=d2, n=n, growth_factor=growth_factor, level=level)
    reuse_better = float(np.mean(drawn < drawn_scratch))
    return Advice(
        **common,  # type: ignore[arg-type]
        scratch_loss_nats=number_of(scratch, lambda law: law.loss(d2, n=n_final), level=level),
        scratch_tokens=savings["scratch_tokens"],
        saved_tokens=savings["saved_tokens"],
        share_of_sunk_cost=savings["share_of_sunk_cost"],
        catch_up_tokens=catch_up_estimate(
            scratch, reused, d1=d1, n=n, growth_factor=growth_factor, level=level
        ),
        reuse_better=reuse_better,
        pays_off=float(np.mean(drawn < drawn_both)),
        verdict="reuse"
        if reuse_better >= LIKELY
        else "from scratch"
        if reuse_better <= 1 - LIKELY
        else "undecided",
    )


def sentences(advice: Advice) -> list[str]:
    """The advice as text: every number with its interval, every statement with its share of the draws."""
    plan, q = advice.plan, format_quantity
    model = "" if plan.n is None else f" with {q(plan.n * plan.growth_factor)} parameters"
    lines = [
        f"A base of {q(plan.d1_tokens)} tokens, trained on {q(plan.d2_tokens)} more{model}: loss"
        f" {_range(advice.loss_nats, '{:.4f}'.format)} nats per token; doubling the second stage gains"
        f" {_range(advice.gain_of_doubling_nats, '{:.4f}'.format)}."
    ]
    exponent = advice.alpha_eff
    if exponent.upper <= 0:
        lines.append(
            "This base is saturated: the law sees no gain from more second-stage tokens (alpha_eff <= 0)."
        )
    elif exponent.lower <= 0:
        lines.append(
            "Whether more second-stage tokens help this base is not decided by the data (alpha_eff may be 0)."
        )
    if advice.verdict is None:
        lines.append(
            "Give --scratch FIT.json, a law of models trained from scratch, to compare with training from scratch."
        )
        return lines
    assert advice.reuse_better is not None
    assert advice.pays_off is not None
    assert advice.scratch_tokens is not None
    assert advice.saved_tokens is not None
    assert advice.share_of_sunk_cost is not None
    assert advice.catch_up_tokens is not None
    tokens = advice.scratch_tokens
    if np.isinf(tokens.value):
        lines.append("From scratch, no number of tokens reaches this loss.")
    else:
        lines.append(f"From scratch, the same loss takes {_range(tokens, q)} tokens.")
    if advice.verdict == "reuse":
        sure = "Clearly" if advice.reuse_better >= SURE else "Probably"
        lines.append(f"{sure} reuse the base ({_percent(advice.reuse_better)} of the draws).")
        if np.isfinite(advice.saved_tokens.value):
            lines.append(
                f"It saves {_range(advice.saved_tokens, q)} tokens, {_range(advice.share_of_sunk_cost, _percent)} of what the base cost."
            )
    elif advice.verdict == "from scratch":
        sure = "Clearly" if advice.reuse_better <= 1 - SURE else "Probably"
        lines.append(
            f"{sure} train from scratch ({_percent(1 - advice.reuse_better)} of the draws): that reaches a lower loss with the same tokens."
        )
    else:
        lines.append(
            f"Undecided: reuse is better in {_percent(advice.reuse_better)} of the draws; the data do not decide between the two."
        )
    lines.append(
        f"If the base were not trained yet, spending all {q(plan.d1_tokens + plan.d2_tokens)} tokens from scratch would be better"
        f" in {_percent(1 - advice.pays_off)} of the draws."
    )
    crossing = advice.catch_up_tokens
    crosses = _percent(crossing.exists_share)
    if np.isnan(crossing.value):
        rest = "" if crossing.exists_share == 0 else f" ({crosses} of the draws cross somewhere)"
        lines.append(f"The two laws do not cross: more second-stage tokens do not change the verdict{rest}.")
    else:
        rest = "" if crossing.exists_share == 1 else f" (only {crosses} of the draws cross at all)"
        lines.append(
            f"Training from scratch overtakes for good at {_range(crossing, q)} second-stage tokens{rest}."
        )
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _range(number: Estimate, write: object) -> str:
    assert callable(write)
    if np.isnan(number.lower) or np.isnan(number.upper):
        return f"{write(number.value)} (no interval)"
    return f"{write(number.value)} ({write(number.lower)} to {write(number.upper)})"
