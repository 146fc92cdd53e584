"""How many second-stage tokens a base is worth: what a model without a base needs for the same loss, minus D2.

The model without a base follows the same law in the limit D1 -> 0, where the form has one (`Declaration.no_base`), or a law of
its own, fitted to models trained from scratch. For `transfer` the worth is k D1^b, the effective data transferred of
Hernandez et al. 2021 (arXiv 2102.01293), whatever D2 is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from twostage.laws.crossover import Law, one_stage_terms
from twostage.laws.fit import Fit
from twostage.laws.forms import form_of
from twostage.laws.functional import quantity_interval
from twostage.laws.likelihood import likelihood_of
from twostage.laws.points import Points
from twostage.laws.quantities import Analytic, Coordinates

NO_POINTS = "no interval: the fit file does not have its points; write it again with `twostage fit`"


@dataclass(frozen=True)
class Worth:
    """What a base is worth.

    Attributes:
        d1_tokens, d2_tokens: tokens of the base and of the second stage; n: parameters before growth, if the law has them.
        loss_nats: loss of the reused model.
        scratch_tokens: tokens of a model without a base for that loss; infinite where no number suffices.
        worth_tokens: scratch_tokens - D2; negative where the base does harm.
        lower, upper: interval of worth_tokens; None where there is none.
        per_base_token: worth_tokens / D1.
        against: `the same law without a base`, or the form of the law from scratch.
        method, note: of the interval, as in `fit.Interval`.
    """

    d1_tokens: float
    d2_tokens: float
    n: float | None
    loss_nats: float
    scratch_tokens: float
    worth_tokens: float
    lower: float | None
    upper: float | None
    level: float
    per_base_token: float
    against: str
    method: str
    note: str


def worth(
    fit: Fit,
    points: Points | None,
    *,
    d1: float,
    d2: float,
    n: float | None = None,
    scratch: tuple[Fit, Points | None] | None = None,
    growth_factor: float = 1.0,
    level: float = 0.95,
) -> Worth:
    """Tokens that a base of `d1` tokens is worth to a second stage of `d2` tokens, with a profile-likelihood interval.

    Args:
        fit, points: the law of the second stage and the points it was fitted to (None: no interval).
        d1, d2: tokens; n: parameters before growth, for a law with a size term.
        scratch: a law of models trained from scratch (`power`, `chinchilla`) with its points; None: the same law without
            a base.
        growth_factor: parameters after / before growth, for the law from scratch.

    Raises:
        ValueError: the form does not depend on D1 and D2, or has no limit D1 -> 0 and no law from scratch is given; a
            variable is missing; the law without a base does not fall with tokens.
    """
    law = fit.law
    if not {"d1", "d2"} <= set(law.variables):
        raise ValueError(
            f"form {law.name!r} does not depend on D1 and D2; fit a two-stage form (transfer, blend, mul, ...)"
        )
    if scratch is None and law.no_base is None:
        raise ValueError(
            f"form {law.name!r} has no limit for a model without a base (D1 -> 0): give --scratch FIT.json, a law of models "
            "trained from scratch, or fit transfer or blend"
        )
    given = {"d1": d1, "d2": d2, "n": n}
    if missing := [name for name in law.variables if given[name] is None]:
        raise ValueError(f"form {law.name!r} needs {', '.join(missing)}: {law.equation}")
    values = {name: given[name] for name in law.variables}
    logs = law.logs(**values)
    n_final = None if n is None else growth_factor * n

    def share(*raws: Mapping[str, Any]) -> Any:
        """D2 over the tokens without a base; zero or negative where no number of tokens suffices."""
        reused = raws[0]
        without = Law(scratch[0].form, raws[1]) if scratch else _without_base(fit.form, reused)
        floor, scale, exponent = one_stage_terms(without, n_final if scratch else n)
        excess = law.loss(reused, logs) - floor
        sign = np.where(np.real(excess) < 0, -1.0, 1.0)
        with np.errstate(all="ignore"):
            return sign * np.exp((np.log(excess * sign) - np.log(scale)) / exponent + np.log(d2))

    fits = [fit] if scratch is None else [fit, scratch[0]]
    everything = [points] if scratch is None else [points, scratch[1]]
    middle = float(np.real(share(*(f.coefficients for f in fits))))
    if not np.isfinite(middle):
        raise ValueError("the law without a base does not fall with tokens, so the worth is not defined")
    known = [p for p in everything if p is not None]
    lower = upper = None
    method, note = "none", NO_POINTS
    if len(known) == len(fits):
        parts = [likelihood_of(p, f) for p, f in zip(known, fits, strict=True)]
        quantity = Analytic(Coordinates.of([part.problem for part in parts]), share)
        interval = quantity_interval(parts, quantity, level)
        # the worth falls with the share
        lower, upper = (
            None if end is None else _tokens(end, d2) - d2 for end in (interval.upper, interval.lower)
        )
        method, note = interval.method, interval.note
    tokens = _tokens(middle, d2)
    return Worth(
        d1_tokens=d1,
        d2_tokens=d2,
        n=n,
        loss_nats=float(fit.predict(**values)),
        scratch_tokens=tokens,
        worth_tokens=tokens - d2,
        lower=lower,
        upper=upper,
        level=level,
        per_base_token=(tokens - d2) / d1,
        against="the same law without a base" if scratch is None else scratch[0].form,
        method=method,
        note=note,
    )


def _without_base(form: str, raw: Mapping[str, Any]) -> Law:
    limit = form_of(form).no_base
    assert limit is not None
    name, source = limit
    return Law(name, {coefficient: raw[own] for coefficient, own in source.items()})


def _tokens(share: float, d2: float) -> float:
    return d2 / share if share > 0 else float("inf")
