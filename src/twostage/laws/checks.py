"""Checks that the points can determine a form, with messages that name the fix."""

from __future__ import annotations

import numpy as np

from twostage.laws.form import Form
from twostage.laws.points import Points

MIN_SIZES, MIN_SIZE_RANGE = 3, 4.0
_WORDS = {"d1": "D1", "d2": "D2", "n": "N"}


def check_points(points: Points, law: Form, *, allow_degenerate: bool) -> list[str]:
    """Raise ValueError if the form cannot be fitted; return warnings about coefficients that are weakly determined.

    `allow_degenerate` turns the checks of distinct values of D1, D2 and N into warnings, but not the check of the number of points.
    """
    k = len(law.coefficients)
    if len(points) < k:
        raise ValueError(
            f"form {law.name!r} has {k} coefficients but there are only {len(points)} points; measure more cells"
        )
    variables = points.variables_for(law.variables)
    complaints = []
    for name, values in variables.items():
        distinct = np.unique(values)
        if name == "n" and "d1" in variables:
            if distinct.size < MIN_SIZES or distinct[-1] < MIN_SIZE_RANGE * distinct[0]:
                listed = ", ".join(f"{v:g}" for v in distinct)
                complaints.append(
                    f"a joint fit needs at least {MIN_SIZES} sizes over {MIN_SIZE_RANGE:g}x in N, got N = {listed}: "
                    "B, beta and E are not identified"
                )
        elif distinct.size < 2:
            complaints.append(
                f"all points have {_WORDS[name]} = {distinct[0]:g}: form {law.name!r} needs at least two values of "
                f"{_WORDS[name]}"
            )
    cells = len({tuple(row) for row in np.stack(list(variables.values()), axis=1).tolist()})
    if cells < k:
        complaints.append(f"form {law.name!r} has {k} coefficients but there are only {cells} distinct cells")
    if complaints and not allow_degenerate:
        raise ValueError(
            "; ".join(complaints) + "; measure more cells or pass allow_degenerate (--allow-degenerate)"
        )
    return complaints
