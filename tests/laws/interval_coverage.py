"""How often intervals hold the truth, for many simulations at once; run as `python tests/laws/interval_coverage.py` for the table.

An interval of the predicted loss holds the true loss exactly if the points do not reject it: if the best deviance among
laws that predict it is below the threshold. So one constrained fit per simulation is enough, and all simulations descend in
one batch. `test_intervals_hold` checks that the intervals themselves agree with this.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from grids import TRUTHS

from twostage.laws.covariance import variance_scale
from twostage.laws.descent import descend
from twostage.laws.forms import FORMS
from twostage.laws.likelihood import student_quantile
from twostage.laws.objective import Objective
from twostage.laws.points import FloatArray, Points
from twostage.laws.problem import Problem
from twostage.laws.profile import Observed
from twostage.laws.quantities import LogLoss
from twostage.laws.solver import LEAST_SQUARES_DELTA

SPEC = Objective("huber", 1e-3)
SMALLEST = 0.577e9
TRUTHS_TESTED = (
    "power",
    "stack",
    "cpt",
    "mul0",
    "add",
    "hyb",
    "merged",
    "tree",
    "transfer",
    "blend",
)
SIDES, NOISES, PLACES = (5, 4), (1e-3, 1e-2), ("inside", "edge", "beyond")


def place(side: int, where: str) -> float:
    """D1 = D2 between the second and third value of the grid, at its corner, or ten times beyond, in tokens."""
    largest = SMALLEST * 2.0 ** (side - 1)
    return {"inside": SMALLEST * 2**1.5, "edge": largest, "beyond": 10 * largest}[where]


def grid(truth: str, side: int) -> Points:
    """The true losses on a side x side grid."""
    form, coefficients = TRUTHS[truth]
    tokens = SMALLEST * 2.0 ** np.arange(side)
    mesh = dict(
        zip(("d1", "d2"), (a.ravel() for a in np.meshgrid(tokens, tokens, indexing="ij")), strict=True)
    )
    loss = FORMS[form].predict(coefficients, **{name: mesh[name] for name in FORMS[form].variables})
    return Points(loss=loss, **mesh)


def noisy(points: Points, noise: float, count: int, seed: int = 0) -> FloatArray:
    """Log losses (count, m) with normal noise."""
    return points.log_loss + noise * np.random.default_rng(seed).standard_normal((count, len(points)))


def lowest(
    problem: Problem, response, y: FloatArray, weights: FloatArray, starts: list[FloatArray], delta: float
) -> FloatArray:
    """The best end (n, k) of several descents of each row."""
    best, values = starts[0], np.full(len(y), np.inf)
    for start in starts:
        ends, found = descend(response, y, weights, start, problem.box, delta, max_steps=100)
        better = found < values
        best, values = np.where(better[:, None], ends, best), np.where(better, found, values)
    return best


def fitted(problem: Problem, y: FloatArray, truth: FloatArray) -> FloatArray:
    """Fits (n, k) to log losses y (n, m), from the truth, by least squares, and from other simulations' fits."""
    true = np.tile(truth, (len(y), 1))
    squares = descend(
        problem.response, y, problem.weights, true, problem.box, LEAST_SQUARES_DELTA, max_steps=30
    )[0]
    rng = np.random.default_rng(1)
    starts = [true, squares, *(squares[rng.permutation(len(y))] for _ in range(4))]
    return lowest(problem, problem.response, y, problem.weights, starts, SPEC.delta)


def constrained(
    problem: Problem, y: FloatArray, truth: FloatArray, free: FloatArray, quantity: LogLoss, value: float
) -> FloatArray:
    """Fits (n, k) to y (n, m) that predict `value`: the quantity is one more observation with a very large weight."""
    unit = 1e5  # of the quantity, so that its residual stays quadratic
    observed = Observed(
        (problem.response,),
        (SPEC.delta,),
        (quantity,),
        np.array([unit]),
        np.full(truth.size, 1e-3),
        np.zeros(len(y), int),
    )
    weights = np.concatenate([problem.weights, [1e4 * (unit / SPEC.delta) ** 2]])
    rows = np.concatenate([y / SPEC.delta, np.full((len(y), 1), value / unit)], axis=1)
    squares = descend(
        observed, rows, weights, free, problem.box, LEAST_SQUARES_DELTA / SPEC.delta, max_steps=30
    )[0]
    return lowest(problem, observed, rows, weights, [free, np.tile(truth, (len(y), 1)), squares], 1.0)


def deviances(truth: str, side: int, noise: float, count: int) -> Iterator[tuple[str, FloatArray]]:
    """For each place: its name, and the deviance of the true loss there over its threshold at 95 %, (count,)."""
    form, coefficients = TRUTHS[truth]
    law, points = FORMS[form], grid(truth, side)
    problem, y = Problem.of(points, law), noisy(points, noise, count)
    true = law.from_raw(coefficients, problem.centre)
    free = fitted(problem, y, true)
    residuals = problem.response.log_predict(free) - y
    number = ((free > problem.box.lower) & (free < problem.box.upper)).sum(axis=1)
    scales = np.array(
        [np.prod(variance_scale(r, SPEC, int(k))) for r, k in zip(residuals, number, strict=True)]
    )
    limits = np.array(
        [student_quantile(0.95, int(r.size - k)) for r, k in zip(residuals, number, strict=True)]
    )
    for where in PLACES:
        tokens = dict.fromkeys(law.variables, place(side, where))
        quantity = LogLoss.at(problem, **tokens)
        ends = constrained(
            problem, y, true, free, quantity, float(np.log(law.predict(coefficients, **tokens)))
        )
        rise = SPEC.value(problem.response.log_predict(ends) - y) - SPEC.value(residuals)
        yield where, 2 * rise / scales / limits**2


def main(count: int = 500) -> None:
    """Print the table of docs/laws.md."""
    print("| law | grid | noise | " + " | ".join(PLACES) + " |")
    print("| --- | --- | --- |" + " ---: |" * len(PLACES))
    for truth in TRUTHS_TESTED:
        for side in SIDES:
            for noise in NOISES:
                shares = [100 * np.mean(d <= 1) for _, d in deviances(truth, side, noise, count)]
                cells = " | ".join(f"{share:.1f}" for share in shares)
                print(f"| {truth} | {side} x {side} | {noise:g} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
