"""Intervals of any number that follows from one fit or several: coefficients, predicted losses, alpha_eff, D*.

The profile-likelihood interval is the range of the number over all coefficients that the points do not reject. Where the
number does not exist for some of them (no crossover), or the profile cannot be followed, the interval comes from refits to
resampled residuals instead; `method` and `note` say so and why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from twostage.laws.fit import Fit, Interval
from twostage.laws.likelihood import EXACT, NO_FREEDOM, Likelihood, likelihood_of, student_quantile
from twostage.laws.points import Points
from twostage.laws.profile import End, Profiles
from twostage.laws.quantities import Coordinates, LogLoss, Plain, Quantity

DRAWS = 2000
METHOD = "profile-likelihood"


def interval_of(
    points: Points | Sequence[Points],
    fit: Fit | Sequence[Fit],
    function: Callable[..., Any],
    level: float = 0.95,
    *,
    arrays: bool = False,
    seed: int = 0,
) -> Interval:
    """Interval of `function`, which takes one mapping of raw coefficients per fit, in order, and returns a number.

    With `arrays` it takes coefficients of shape (B, 1) and returns B numbers, which is much faster.

    The ends are the largest and smallest value of the function subject to D <= t^2, with D = sum over fits of
    2 (f - f_min) / s and t the Student quantile (degrees of freedom summed over fits); see
    `uncertainty.profile_interval` for s. Give strongly skewed functions in logarithms (ln D*). Where the function is
    NaN or infinite inside that region, the interval is the central range of `DRAWS` refits to
    resampled residuals, among those where it is finite; `method` is then "residual bootstrap" and `note` gives the
    share where it exists. Raises ValueError where the function is not finite at the estimates.
    """
    all_points = [points] if isinstance(points, Points) else list(points)
    fits = [fit] if isinstance(fit, Fit) else list(fit)
    parts = [likelihood_of(p, f) for p, f in zip(all_points, fits, strict=True)]
    quantity = Plain(Coordinates.of([part.problem for part in parts]), function, arrays=arrays)
    return quantity_interval(parts, quantity, level, seed=seed)


def log_loss_interval(part: Likelihood, level: float, **variables: float) -> Interval:
    """Interval of ln L at d1, d2, n."""
    return quantity_interval([part], LogLoss.at(part.problem, **variables), level)


def quantity_interval(
    parts: Sequence[Likelihood], quantity: Quantity, level: float, *, seed: int = 0
) -> Interval:
    """Profile-likelihood interval of a quantity over the likelihoods of its fits; see `interval_of`."""
    return quantity_intervals(parts, [quantity], level, seed=seed)[0]


@dataclass(frozen=True)
class Range:
    """What a coefficient may be: its name for notes, and its lower bound in the quantity's scale (None: no bound)."""

    name: str
    floor: float | None


def quantity_intervals(
    parts: Sequence[Likelihood],
    quantities: Sequence[Quantity],
    level: float,
    *,
    ranges: Sequence[Range | None] | None = None,
    seed: int = 0,
) -> list[Interval]:
    """Intervals of several quantities over the same likelihoods, all profiles in one batch; `ranges` of coefficients."""
    if any(np.isnan(part.scale) for part in parts):
        return [Interval(None, None, level, METHOD, NO_FREEDOM)] * len(quantities)
    optimum = np.concatenate([part.theta for part in parts])
    middles = [float(quantity.values(optimum[None])[0]) for quantity in quantities]
    if not np.isfinite(middles).all():
        raise ValueError("the function is not finite at the fitted coefficients, so it has no interval")
    if all(part.exact for part in parts):
        return [Interval(middle, middle, level, METHOD, "the fit is exact") for middle in middles]
    parts = [replace(part, scale=float(np.maximum(part.scale, EXACT))) for part in parts]
    radius = student_quantile(level, sum(part.dof for part in parts))
    profiles = Profiles(parts, quantities, radius**2)
    ends = profiles.ends()
    intervals = []
    for index, (quantity, middle) in enumerate(zip(quantities, middles, strict=True)):
        allowed = ranges[index] if ranges is not None else None
        if not profiles.known(index):
            note = "the points do not determine it"
            intervals.append(Interval(None, None, level, METHOD, note))
        elif profiles.constant(index):
            note = "it does not depend on the coefficients"
            intervals.append(Interval(middle, middle, level, METHOD, note))
        elif profiles.undefined[index] and allowed is None:  # a coefficient always exists
            reason = "it does not exist for all laws that the points allow"
            intervals.append(from_draws(parts, quantity, level, reason, seed))
        elif allowed is None and any(end.kind == "lost" for end in ends[index]):
            intervals.append(from_draws(parts, quantity, level, "its profile could not be followed", seed))
        else:
            lower, low_note = _described(ends[index][0], "lower", allowed)
            upper, high_note = _described(ends[index][1], "upper", allowed)
            notes = "; ".join(note for note in (low_note, high_note) if note)
            intervals.append(Interval(lower, upper, level, METHOD, notes))
    return intervals


def _described(end: End, word: str, allowed: Range | None) -> tuple[float | None, str]:
    """The value of an end, None where it is open, and a note on it."""
    if end.kind == "crossing":
        return end.value, ""
    if allowed is None:
        if end.kind == "bound":
            return end.value, f"{word} end is the last value that the law allows"
        return None, f"{word} end not found: the points do not bound it on this side"
    floor = allowed.floor
    if floor is not None and word == "lower" and end.value <= floor + 1e-9 * abs(floor):
        return floor, f"lower end is the bound of {allowed.name}"
    return None, f"{word} end not found: the points do not bound {allowed.name} on this side"


def from_draws(
    parts: Sequence[Likelihood], quantity: Quantity, level: float, reason: str, seed: int = 0
) -> Interval:
    """The central range over refits to resampled residuals; the note gives the reason and the share where it exists."""
    draws = np.concatenate([part.draws(DRAWS, seed + i) for i, part in enumerate(parts)], axis=1)
    with np.errstate(all="ignore"):  # where it does not exist
        values = quantity.values(draws)
    finite = values[np.isfinite(values)]
    share = finite.size / DRAWS
    note = f"{reason}; exists in {100 * share:.3g} % of the refits; the interval is over those"
    if finite.size < DRAWS / 10:
        return Interval(None, None, level, "residual bootstrap", note)
    lower, upper = np.quantile(finite, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(lower), float(upper), level, "residual bootstrap", note)
