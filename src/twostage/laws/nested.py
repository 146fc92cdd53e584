"""Nested forms, such as the hybrid form, which with F = 0 is the multiplicative one without interaction.

A form that contains another one (`contains` of its declaration) can never fit worse. The inner form is solved too; where
its optimum is lower than what the search found for the outer form, the outer form descends from there.
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


def solve_problems(
    problems: Sequence[Problem], weights: FloatArray, spec: Objective, *, verify: bool = False
) -> list[Family]:
    """Families of several forms on the same points, weights (P, m), solved together with the forms nested in them."""
    everything = list(problems)
    for outer in problems:
        inner = outer.law.contains
        if inner is not None and inner[0] not in [problem.law.name for problem in everything]:
            everything.append(outer.with_law(FORMS[inner[0]]))
    tasks = [Task(p.response, p.box, p.y, weights, spec, verify) for p in everything]
    solved = dict(zip((p.law.name for p in everything), solve_families(tasks), strict=True))
    families = []
    for problem in problems:
        family = solved[problem.law.name]
        if problem.law.contains is not None:
            family = not_worse(problem, family, solved[problem.law.contains[0]], spec)
        families.append(family)
    return families


def not_worse(problem: Problem, family: Family, inner: Family, spec: Objective) -> Family:
    """The family; members whose inner optimum is lower descend again from there."""
    worse = np.flatnonzero(inner.values < family.values)
    if worse.size == 0:
        return family
    starts = embedded(problem, inner.thetas[worse])
    weights = family.weights[worse]
    ends, values = minimise(problem.response, problem.y, weights, starts, problem.box, spec)
    # return the start if the descent gained nothing, so that rounding in the change of coordinates has no effect
    kept = np.vecdot(spec.per_point(problem.response.log_predict(starts) - problem.y), weights)
    ends = np.where((values <= kept)[:, None], ends, starts)
    thetas, best = family.thetas.copy(), family.values.copy()
    thetas[worse], best[worse] = ends, np.minimum(values, kept)
    seen = list(family.seen)
    for place, value in zip(worse.tolist(), values, strict=True):
        seen[place] = np.append(seen[place], value)
    return replace(family, thetas=thetas, values=best, seen=seen)


def embedded(problem: Problem, thetas: FloatArray) -> FloatArray:
    """Internal vectors (B, k') of the inner form as vectors (B, k) of the outer form of `problem`."""
    assert problem.law.contains is not None
    name, fixed = problem.law.contains
    rows = []
    for theta in thetas:
        raw = FORMS[name].to_raw(theta, problem.centre)
        rows.append(
            problem.law.from_raw(
                {key: float(np.real(v)) for key, v in raw.items()} | dict(fixed), problem.centre
            )
        )
    return np.array(rows)
