"""One fitting problem: a form on points, in centred coordinates, with the bounds of its search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from twostage.laws.descent import Box
from twostage.laws.form import Form
from twostage.laws.points import FloatArray, Points
from twostage.laws.response import Response


@dataclass(frozen=True)
class Problem:
    """Form, logarithms, centring constants, response, log losses y (m,), weights (m,) and bounds."""

    law: Form
    logs: dict[str, FloatArray]
    centre: dict[str, float]
    response: Response
    y: FloatArray
    weights: FloatArray
    box: Box

    @classmethod
    def of(cls, points: Points, law: Form) -> Problem:
        """The problem of fitting `law` to all points with weight one."""
        logs = law.logs(**points.variables_for(law.variables))
        return cls.from_logs(law, logs, law.centre(points), points.log_loss)

    @classmethod
    def from_logs(
        cls, law: Form, logs: dict[str, FloatArray], centre: dict[str, float], y: FloatArray
    ) -> Problem:
        """The same from logarithms of the variables, each (m,), and log losses y (m,)."""
        response = law.response(logs, centre)
        lower, upper = law.exponent_limits(response, logs, centre)
        scales = [law.coefficients[name] for name in law.scales]
        box = Box(
            np.concatenate([[scale.lower for scale in scales], lower]),
            np.concatenate([[scale.upper for scale in scales], upper]),
        )
        return cls(law, logs, centre, response, y, np.ones(y.size), box)

    def with_law(self, law: Form) -> Problem:
        """Another form of the same variables on the same points."""
        return Problem.from_logs(law, self.logs, self.centre, self.y)

    def internal(self, coefficients: Mapping[str, float]) -> FloatArray:
        """Internal vector (k,) of raw coefficients; what rounding moved off a bound is moved back. May not be finite."""
        with np.errstate(all="ignore"):
            theta = np.asarray(self.law.from_raw(coefficients, self.centre), float)
        for bound in (self.box.lower, self.box.upper):
            theta = np.where(np.isclose(theta, bound, rtol=1e-9, atol=1e-12), bound, theta)
        return theta
