"""Intervals of any number that follows from one fit or several: coefficients, predicted losses, alpha_eff, D*.

The profile-likelihood interval is the range of the number over all coefficients that the points do not reject. Where the
number does not exist for some of them (no crossover), or the profile cannot be followed, the interval comes from refits to
resampled residuals instead; `method` and `note` say so and why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from twostage.laws.fit import Fit, Interval
from twostage.laws.likelihood import EXACT, NO_FREEDOM, Likelihood, likelihood_of, student_quantile
from twostage.laws.points import Points
from twostage.laws.profile import End, Profile
from twostage.laws.quantities import Coordinates, LogLoss, Plain, Quantity

DRAWS = 2000
METHOD = "profile-likelihood"


def interval_of(
    points: Points | Sequence[Points],
    fit: Fit | Sequence[Fit],
    function: Callable[..., float],
    level: float = 0.95,
    *,
    seed: int = 0,
) -> Interval:
    """Interval of `function`, which takes one mapping of raw coefficients per fit, in order, and returns a number.

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
    quantity = Plain(Coordinates.of([part.problem for part in parts]), function)
    return quantity_interval(parts, quantity, level, seed=seed)


def log_loss_interval(part: Likelihood, level: float, **variables: float) -> Interval:
    """Interval of ln L at d1, d2, n."""
    return quantity_interval([part], LogLoss.at(part.problem, **variables), level)


def quantity_interval(
    parts: Sequence[Likelihood],
    quantity: Quantity,
    level: float,
    *,
    name: str = "",
    floor: float | None = None,
    seed: int = 0,
) -> Interval:
    """Profile-likelihood interval of a quantity over the likelihoods of its fits; see `interval_of`.

    `name`: of a coefficient, whose range is not limited by the law except at `floor` (in the quantity's own scale).
    """
    if any(np.isnan(part.scale) for part in parts):
        return Interval(None, None, level, METHOD, NO_FREEDOM)
    optimum = np.concatenate([part.theta for part in parts])
    middle = float(quantity.values(optimum[None])[0])
    if not np.isfinite(middle):
        raise ValueError("the function is not finite at the fitted coefficients, so it has no interval")
    if all(part.exact for part in parts):
        return Interval(middle, middle, level, METHOD, "the fit is exact")
    parts = [replace(part, scale=float(np.maximum(part.scale, EXACT))) for part in parts]
    radius = student_quantile(level, sum(part.dof for part in parts))
    profile = Profile(parts, quantity, radius**2)
    if profile.constant:
        return Interval(middle, middle, level, METHOD, "it does not depend on the coefficients")
    ends = profile.ends()
    if profile.undefined:
        return from_draws(parts, quantity, level, "it does not exist for all laws that the points allow", seed)
    if not name and any(end.kind == "lost" for end in ends):
        return from_draws(parts, quantity, level, "its profile could not be followed", seed)
    values, notes = zip(
        *(_described(end, word, name, floor) for end, word in zip(ends, ("lower", "upper"), strict=True)),
        strict=True,
    )
    return Interval(*values, level, METHOD, "; ".join(note for note in notes if note))


def _described(end: End, word: str, name: str, floor: float | None) -> tuple[float | None, str]:
    """The value of an end, None where it is open, and a note on it."""
    if end.kind == "crossing":
        return end.value, ""
    at_floor = floor is not None and word == "lower" and end.value <= floor + 1e-9 * abs(floor)
    if at_floor:
        return floor, f"lower end is the bound of {name}"
    if end.kind == "bound" and not name:
        return end.value, f"{word} end is the last value that the law allows"
    return None, f"{word} end not found: the points do not bound {name or 'it'} on this side"


def from_draws(
    parts: Sequence[Likelihood], quantity: Quantity, level: float, reason: str, seed: int = 0
) -> Interval:
    """The central range over refits to resampled residuals; the note gives the reason and the share where it exists."""
    draws = np.concatenate([part.draws(DRAWS, seed + i) for i, part in enumerate(parts)], axis=1)
    values = quantity.values(draws)
    finite = values[np.isfinite(values)]
    share = finite.size / DRAWS
    note = f"{reason}; exists in {100 * share:.3g} % of the refits; the interval is over those"
    if finite.size < DRAWS / 10:
        return Interval(None, None, level, "residual bootstrap", note)
    lower, upper = np.quantile(finite, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(lower), float(upper), level, "residual bootstrap", note)
