"""One fitting problem: a form on points, in centred coordinates, with the bounds of its search. No solving here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twostage.laws.descent import Box
from twostage.laws.design import Design
from twostage.laws.forms import TREE_KAPPA_MAX, TREE_MARGIN, Form
from twostage.laws.points import FloatArray, Points
from twostage.laws.solver import search_box


@dataclass(frozen=True)
class Problem:
    """Form, logarithms, centring constants, design, log losses y (m,), weights (m,) and bounds."""

    law: Form
    logs: dict[str, FloatArray]
    centre: dict[str, float]
    design: Design
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
        design = law.design(logs, centre)
        limits = kappa_limits(logs["d1"] - centre["d1"], centre["d1"]) if law.saturating else None
        return cls(law, logs, centre, design, y, np.ones(y.size), search_box(design, limits))

    def with_law(self, law: Form) -> Problem:
        """Another form of the same variables on the same points."""
        return Problem.from_logs(law, self.logs, self.centre, self.y)


def kappa_limits(x1: FloatArray, mean: float) -> tuple[float, float]:
    """Bounds of the centred kappa: 1 + kappa x1 >= TREE_MARGIN on the data, and raw kappa <= TREE_KAPPA_MAX."""
    room = 1.0 - TREE_MARGIN
    highest = TREE_KAPPA_MAX / (1.0 + TREE_KAPPA_MAX * mean)
    return -room / max(float(x1.max()), 1e-9), min(room / max(float(-x1.min()), 1e-9), highest)
