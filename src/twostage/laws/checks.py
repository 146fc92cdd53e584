"""Checks that the points can determine a form, with messages that name the fix."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from twostage.laws.form import Form
from twostage.laws.points import FloatArray, Points

MIN_SIZES, MIN_SIZE_RANGE = 3, 4.0
# Smallest spread of the standardised logarithms in any direction, as a share of the largest, that counts as independent.
COLLINEAR = 0.01
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
    return complaints + collinear(variables)


def collinear(variables: Mapping[str, FloatArray]) -> list[str]:
    """Return a warning where the logarithms of the variables (m,) lie on a line or plane, as with D2 proportional to D1.

    Laws that differ only across this plane are then the same curve on the points. A variable that does not vary has its own
    message.
    """
    logs = {name: np.log(values) for name, values in variables.items() if np.unique(values).size > 1}
    if len(logs) < 2:
        return []
    centred = np.array([(x - x.mean()) / x.std() for x in logs.values()])
    directions, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    if sizes[-1] > COLLINEAR * sizes[0]:
        return []
    names = [
        _WORDS[name] for name, part in zip(logs, directions[:, -1], strict=True) if abs(part) > COLLINEAR
    ]
    listed = ", ".join(names[:-1]) + " and " + names[-1]
    return [
        f"{listed} vary together (one follows from the others): these points cannot tell apart laws that differ in how"
        f" {listed} enter; measure cells in which they vary independently"
    ]
