"""Forms inside forms: the hybrid form with F = 0 is the multiplicative one without interaction (fact: never worse).

The inner form is solved beside the outer one; wherever its optimum is lower than what the search found for the outer
form, the outer form descends from there. So the inequality holds by construction and not by luck of the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from twostage.laws.forms import FORMS
from twostage.laws.objective import Objective
from twostage.laws.points import FloatArray
from twostage.laws.problem import Problem
from twostage.laws.solver import Family, Task, minimise, solve_families

INNER = {"hyb": ("mul0", {"F": 0.0})}


def solve_problems(
    problems: Sequence[Problem], weights: FloatArray, spec: Objective, *, verify: bool = False
) -> list[Family]:
    """Families of several forms on the same points, weights (P, m), solved together with the forms nested in them."""
    names = [problem.law.name for problem in problems]
    inner_names = [INNER[name][0] for name in names if name in INNER]
    extra = [name for name in dict.fromkeys(inner_names) if name not in names]
    everything = list(problems)
    for name in extra:
        outer = next(p for p in problems if INNER.get(p.law.name, ("",))[0] == name)
        everything.append(outer.with_law(FORMS[name]))
    tasks = [Task(p.design, p.box, p.y, weights, spec, verify) for p in everything]
    solved = dict(zip((p.law.name for p in everything), solve_families(tasks), strict=True))
    families = []
    for problem in problems:
        family = solved[problem.law.name]
        if problem.law.name in INNER:
            family = not_worse(problem, family, solved[INNER[problem.law.name][0]], spec)
        families.append(family)
    return families


def not_worse(problem: Problem, family: Family, inner: Family, spec: Objective) -> Family:
    """The family, descended once more from the inner optimum for every member where that is lower."""
    worse = np.flatnonzero(inner.values < family.values)
    if worse.size == 0:
        return family
    starts = embedded(problem, inner.thetas[worse])
    weights = family.weights[worse]
    ends, values = minimise(problem.design, problem.y, weights, starts, problem.box, spec)
    # rounding of the change of coordinates must not leave a trace: keep the start where nothing was gained
    kept = np.vecdot(spec.per_point(problem.design.log_predict(starts) - problem.y), weights)
    ends = np.where((values <= kept)[:, None], ends, starts)
    thetas, best = family.thetas.copy(), family.values.copy()
    thetas[worse], best[worse] = ends, np.minimum(values, kept)
    seen = list(family.seen)
    for place, value in zip(worse.tolist(), values, strict=True):
        seen[place] = np.append(seen[place], value)
    return replace(family, thetas=thetas, values=best, seen=seen)


def embedded(problem: Problem, thetas: FloatArray) -> FloatArray:
    """Internal vectors (B, k') of the inner form as vectors (B, k) of the outer form of `problem`."""
    name, fixed = INNER[problem.law.name]
    rows = []
    for theta in thetas:
        raw = FORMS[name].to_raw(theta, problem.centre)
        rows.append(
            problem.law.from_raw({key: float(np.real(v)) for key, v in raw.items()} | fixed, problem.centre)
        )
    return np.array(rows)
