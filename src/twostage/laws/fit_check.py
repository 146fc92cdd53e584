"""Checks a fit that was read from a file against its points: the coefficients must be an optimum of the stored objective.

It costs one evaluation, not a new fit. Only where the check fails, a fit to the points names what differs.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from twostage.laws.certificate import conditions
from twostage.laws.fit import Fit, fit_law
from twostage.laws.points import Points
from twostage.laws.problem import Problem

#: The objective of the stored coefficients agrees with the stored one to this share. Far above rounding, and far below the
#: effect of a change in the fourth digit of a coefficient.
OBJECTIVE_TOLERANCE = 1e-6
#: Optimality conditions hold to this; a hundred times looser than for a certificate, because of the change of coordinates.
KKT_TOLERANCE = 1e-3
#: Residuals below this are rounding.
ROUNDING = 1e-11


def checked(fit: Fit, points: Points) -> Fit:
    """Return the fit, with coordinates that rounding moved off a bound moved back.

    Args:
        fit: as read from a file.
        points: the points in the same file.

    Raises:
        ValueError: the coefficients are not the optimum of the objective on these points. The message names those that a
            fit to the points changes.
    """
    problem = Problem.of(points, fit.law)
    for name, value in problem.centre.items():
        if not np.isclose(fit.centre[name], value, rtol=1e-9, atol=0):
            raise ValueError(f"centre.{name}: {fit.centre[name]} in the file, {value} of its points")
    same, spec = problem.internal(fit.coefficients), fit.objective_spec
    theta = same if np.allclose(same, fit.theta, rtol=1e-6, atol=1e-9) else fit.theta
    with np.errstate(all="ignore"):
        residuals = problem.response.log_predict(theta[None])[0] - problem.y
        value = float(spec.value(residuals))
        rounding = float(spec.value(np.full(len(points), ROUNDING)))
    if not abs(value - fit.objective) <= OBJECTIVE_TOLERANCE * fit.objective + rounding:
        raise ValueError(
            _what_differs(fit, points, f"their objective is {value:.10g}, the file has {fit.objective:.10g}")
        )
    if fit.certificate.certified and value > rounding:
        at = conditions(problem, theta[None], problem.weights[None], spec)
        if not (at.kkt_residual[0] < KKT_TOLERANCE or at.expected_gain[0] < OBJECTIVE_TOLERANCE):
            raise ValueError(_what_differs(fit, points, "they are not an optimum"))
    return replace(fit, theta=theta)


def _what_differs(fit: Fit, points: Points, reason: str) -> str:
    """Return a message about coefficients that do not belong to the points, with what a fit to the points gives."""
    try:
        again = fit_law(
            points,
            fit.form,
            objective=fit.objective_name,
            delta=fit.objective_spec.delta,
            allow_degenerate=True,
        )
    except (ValueError, ArithmeticError):  # the points were changed to what no law can be fitted to
        return f"coefficients: not a fit to the stored points ({reason})"
    changed = [
        f"{name} = {again.coefficients[name]:.10g} instead of {value:.10g}"
        for name, value in fit.coefficients.items()
        if not np.isclose(value, again.coefficients[name], rtol=1e-6, atol=1e-12)
    ]
    found = f"a fit to these gives {', '.join(changed)}" if changed else "the objective was changed"
    return f"coefficients: not the fit to the stored points ({reason}); {found}"
