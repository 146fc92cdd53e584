"""Comparison of forms: leave-one-out error, information criteria, extrapolation to the lowest losses, and seed noise.

A cell is left out with all its seeds. Errors are predicted minus measured loss in nats per token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from twostage.laws.certificate import conditions
from twostage.laws.checks import check_points
from twostage.laws.fit import Fit, fit_law
from twostage.laws.form import Form
from twostage.laws.forms import form_of
from twostage.laws.nested import solve_problems
from twostage.laws.objective import Objective
from twostage.laws.points import AnyArray, FloatArray, Points
from twostage.laws.problem import Problem
from twostage.laws.solver import helper_weights

if TYPE_CHECKING:
    import pandas as pd

# Shares of the cells, cheapest first, from which a rolling origin predicts the others; our choice.
ORIGINS = (0.4, 0.55, 0.7, 0.85)


@dataclass(frozen=True)
class LooResult:
    """Leave-one-out errors of one form.

    `errors_nats` (m,): predicted by the fit without the point's own cell minus measured; `cells` (m,): its label;
    `rms_nats` over all points. Per fold (cells in sorted order): `fold_cells`, `fold_objectives`, `fold_coefficients`
    (raw) and `certified`, whether the refit satisfies first and second order conditions.
    """

    form: str
    rms_nats: float
    errors_nats: FloatArray
    cells: AnyArray
    fold_cells: AnyArray
    fold_objectives: FloatArray
    fold_coefficients: dict[str, FloatArray]
    certified: AnyArray


@dataclass(frozen=True)
class ExtrapolationResult:
    """A fit without the lowest losses, and its errors (predicted minus measured, nats) on them; `held_out` (m,) bool."""

    fit: Fit
    held_out: AnyArray
    errors_nats: FloatArray
    rms_nats: float


@dataclass(frozen=True)
class NoiseFloor:
    """Spread between seeds of the same cell: pooled standard deviation of the loss (nats) and of its logarithm."""

    sd_nats: float
    sd_log: float
    n_cells: int
    degrees_of_freedom: int


def leave_one_out(points: Points, form: str, *, objective: str = "huber", delta: float = 1e-3) -> LooResult:
    """Refit without each cell in turn. ValueError where a fold would have fewer points than coefficients."""
    return leave_one_out_table(points, (form,), objective=objective, delta=delta)[form]


def leave_one_out_table(
    points: Points,
    forms: Sequence[str] = ("mul", "mul0", "add", "hyb"),
    *,
    objective: str = "huber",
    delta: float = 1e-3,
) -> dict[str, LooResult]:
    """`leave_one_out` of several forms (Tables 1 and 2), solved together."""
    spec = Objective(objective, delta)
    fold_cells, fold_of = np.unique(points.cell, return_inverse=True)
    weights = (fold_of[None, :] != np.arange(fold_cells.size)[:, None]).astype(float)
    problems = []
    for form in forms:
        law = form_of(form)
        check_points(points, law, allow_degenerate=False)
        if weights.sum(axis=1).min() < len(law.coefficients):
            raise ValueError(
                f"leave-one-out of {form!r}: a fold has fewer points than coefficients; measure more cells"
            )
        problems.append(Problem.of(points, law))
    results = {}
    for problem, family in zip(problems, solve_problems(problems, weights, spec), strict=True):
        law, form = problem.law, problem.law.name
        predicted = np.exp(problem.response.log_predict(family.thetas))[fold_of, np.arange(len(points))]
        errors = predicted - points.loss
        raw = law.to_raw(family.thetas.T, problem.centre)
        results[form] = LooResult(
            form=form,
            rms_nats=float(np.sqrt(np.mean(errors**2))),
            errors_nats=errors,
            cells=points.cell,
            fold_cells=fold_cells,
            fold_objectives=family.values,
            fold_coefficients={name: np.real(values) for name, values in raw.items()},
            certified=conditions(problem, family.thetas, weights, spec).certified,
        )
    return results


def extrapolation_errors(
    points: Points, form: str, *, objective: str = "huber", delta: float = 1e-3
) -> dict[str, float]:
    """RMS errors in nats of predictions beyond the fitted cells; NaN where too few cells are left to fit.

    `extrapolation`: the longest D1 row and the longest D2 column are left out and predicted. `rolling_origin`: the form is
    fitted to the cheapest cells (N (D1 + D2)) and predicts all dearer ones, pooled over ORIGINS. `largest_size`: the
    largest N is left out and predicted (laws over sizes).
    """
    law, spec = form_of(form), Objective(objective, delta)
    variables = points.variables_for(law.variables)
    tests = {name: [mask] for name, mask in _beyond(variables).items()}
    tests["rolling_origin"] = _dearer(points)
    problem = Problem.of(points, law)
    usable = {
        name: [mask for mask in masks if _determined(points, law, ~mask)] for name, masks in tests.items()
    }
    masks = [mask for masks in usable.values() for mask in masks]
    if not masks:
        return dict.fromkeys(tests, float("nan"))
    # further members of the family give the search more minima to compare
    weights = np.concatenate([[(~mask).astype(float) for mask in masks], helper_weights(problem.weights)])
    thetas = solve_problems([problem], weights, spec)[0].thetas[: len(masks)]
    errors = np.exp(problem.response.log_predict(thetas)) - points.loss
    found, start = {}, 0
    for name, masks in usable.items():
        stop = start + len(masks)
        missed = [row[mask] for row, mask in zip(errors[start:stop], masks, strict=True)]
        found[name] = float(np.sqrt(np.mean(np.concatenate(missed) ** 2))) if missed else float("nan")
        start = stop
    return found


def _beyond(variables: Mapping[str, FloatArray]) -> dict[str, AnyArray]:
    """Rows (m,) bool that lie beyond the others: in D1 or D2, and in N."""
    tokens = [values == values.max() for name, values in variables.items() if name != "n"]
    tests = {"extrapolation": np.any(tokens, axis=0)}
    if "n" in variables:
        tests["largest_size"] = variables["n"] == variables["n"].max()
    return tests


def _dearer(points: Points) -> list[AnyArray]:
    """For each origin the rows (m,) bool whose cost is above that of the given share of the cells."""
    present = points.variables()
    size = present.get("n", np.ones(len(points)))
    cost = size * (present.get("d1", 0.0) + present.get("d2", 0.0))
    cheapest = np.sort([cost[points.cell == cell][0] for cell in np.unique(points.cell)])
    limits = {float(cheapest[int(np.ceil(share * len(cheapest))) - 1]) for share in ORIGINS}
    return [cost > limit * (1 + 1e-9) for limit in sorted(limits) if (cost > limit * (1 + 1e-9)).any()]


def _determined(points: Points, law: Form, keep: AnyArray) -> bool:
    """Whether the kept rows can determine the form, with a cell to spare."""
    if np.unique(points.cell[keep]).size <= len(law.coefficients):
        return False
    try:
        check_points(points.subset(keep), law, allow_degenerate=False)
    except ValueError:
        return False
    return True


def compare(
    points: Points,
    forms: Sequence[str] = ("mul", "mul0", "add", "hyb"),
    *,
    objective: str = "huber",
    delta: float = 1e-3,
) -> pd.DataFrame:
    """One row per form, best leave-one-out first: form, loo_rms_nats, extrapolation_rms_nats, rolling_origin_rms_nats,
    largest_size_rms_nats (see `extrapolation_errors`), rms_nats (in sample), aic, bic, objective, n_coefficients,
    certified (the fit and every fold).

    AIC and BIC take Gaussian log residuals: m ln(sum r^2 / m) + 2 (k + 1), or (k + 1) ln m; only differences matter.
    """
    import pandas as pd

    left_out = leave_one_out_table(points, forms, objective=objective, delta=delta)
    rows = []
    for form in forms:
        fit = fit_law(points, form, objective=objective, delta=delta)
        beyond = extrapolation_errors(points, form, objective=objective, delta=delta)
        residuals = fit.residuals(points)
        m, k = len(points), len(fit.coefficients)
        likelihood = m * np.log(max(float(np.mean(residuals**2)), np.finfo(float).tiny))
        rows.append(
            {
                "form": form,
                "loo_rms_nats": left_out[form].rms_nats,
                "extrapolation_rms_nats": beyond["extrapolation"],
                "rolling_origin_rms_nats": beyond["rolling_origin"],
                "largest_size_rms_nats": beyond.get("largest_size", float("nan")),
                "rms_nats": float(np.sqrt(np.mean((points.loss * np.expm1(residuals)) ** 2))),
                "aic": float(likelihood + 2 * (k + 1)),
                "bic": float(likelihood + np.log(m) * (k + 1)),
                "objective": fit.objective,
                "n_coefficients": k,
                "certified": bool(fit.certificate.certified and left_out[form].certified.all()),
            }
        )
    return pd.DataFrame(rows).sort_values("loo_rms_nats", kind="stable").reset_index(drop=True)


def extrapolation_test(
    points: Points, form: str, share: float = 0.1, *, objective: str = "huber", delta: float = 1e-3
) -> ExtrapolationResult:
    """Fit without the `share` of points with the lowest losses and predict them (Figures 4 left and 9)."""
    if not 0 < share < 1:
        raise ValueError(f"share {share!r}: give a fraction between 0 and 1, e.g. 0.1")
    count = max(1, round(share * len(points)))
    held_out = np.zeros(len(points), bool)
    held_out[np.argsort(points.loss, kind="stable")[:count]] = True
    fit = fit_law(points.subset(~held_out), form, objective=objective, delta=delta)
    unseen = points.subset(held_out)
    errors = fit.predict(**unseen.variables_for(fit.law.variables)) - unseen.loss
    return ExtrapolationResult(fit, held_out, errors, float(np.sqrt(np.mean(errors**2))))


def noise_floor(points: Points) -> NoiseFloor:
    """Pooled standard deviation between seeds within cells; ValueError where no cell has two seeds."""
    _, index, counts = np.unique(points.cell, return_inverse=True, return_counts=True)
    dof = int((counts - 1).sum())
    if dof == 0:
        raise ValueError(
            "no cell has more than one seed, so there is no noise floor to measure; run further seeds"
        )

    def pooled(values: FloatArray) -> float:
        means = np.bincount(index, values) / counts
        return float(np.sqrt(np.sum((values - means[index]) ** 2) / dof))

    return NoiseFloor(pooled(points.loss), pooled(points.log_loss), int((counts > 1).sum()), dof)
