"""Notes on what a law says at given inputs: extrapolation, and where it makes no sense. For `predict` and `advise`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from twostage.common.units import format_quantity

if TYPE_CHECKING:
    from twostage.laws.fit import Fit
    from twostage.laws.points import Points

_MORE = {"d1": "a longer first stage", "d2": "more second-stage tokens", "n": "a larger model"}


def notes_on(fit: Fit, points: Points | None, values: dict[str, float]) -> list[str]:
    """Return the notes on a fit at `values` of its variables (d1, d2 in tokens, n in parameters)."""
    uncertain = (
        [] if fit.certificate.certified else ["the fit is not certified as the best one; see its warnings"]
    )
    return _outside(points, values) + _rising(fit, values) + uncertain


def _outside(points: Points | None, values: dict[str, float]) -> list[str]:
    """Notes on inputs outside the range of the fitted points."""
    notes = []
    for name, value in values.items():
        measured = None if points is None else points.variable(name)
        if measured is not None and not measured.min() <= value <= measured.max():
            low, high = format_quantity(measured.min()), format_quantity(measured.max())
            notes.append(
                f"{name} = {format_quantity(value)} is outside the fitted range ({low} to {high}): an extrapolation"
            )
    return notes


def _rising(fit: Fit, values: dict[str, float]) -> list[str]:
    """Notes on inputs in which the predicted loss rises, as it does not in training: the law does not hold there.

    For `mul` and `joint`, the loss rises with D2 where alpha_eff = alpha2 - alpha3 ln D1 is negative.
    """
    with np.errstate(over="ignore"):  # far outside, a law may exceed what a float holds
        here = float(fit.predict(**values))
        further = {
            name: float(fit.predict(**{**values, name: 1.01 * value})) for name, value in values.items()
        }
    return [
        f"{name} = {format_quantity(value)}: here the law predicts a higher loss for {_MORE[name]}; it does not hold there,"
        " do not use this number"
        for name, value in values.items()
        if further[name] > here * (1 + 1e-9)
    ]
