"""Write reference_optima.json: for each case the lowest objective that 10,000 random starts reach.

Run as `python tests/laws/make_reference_optima.py` (about ten minutes on one core). The starts are random in the box
of the search; each descends on its own, without the exponent grid, the exchange between folds or any other part of the
global search that the references are there to check. For `lad` the starts descend on a nearby Huber objective and the
best 40 distinct ends are finished exactly.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
from grids import simulated

from twostage.laws.descent import descend
from twostage.laws.forms import FORMS
from twostage.laws.lad import finish
from twostage.laws.problem import Problem

STARTS, CHUNK = 10_000, 1000
FOLDS = (None, 0, 7, 18)
GRID_TRUTHS, NOISES = ("stack", "cpt", "falling", "add", "hyb"), (1e-3, 1e-2)
GRID_FORMS = ("mul", "mul0", "add", "hyb", "tree")


def cases():
    """(truth, noise, form, left-out row or None, objective)."""
    for truth in GRID_TRUTHS:
        for noise in NOISES:
            for form in GRID_FORMS:
                for fold in FOLDS:
                    yield truth, noise, form, fold, "huber"
                yield truth, noise, form, None, "lad"
            for form in ("power", "merged"):
                yield truth, noise, form, None, "huber"
    for truth in ("joint", "chinchilla"):
        for noise in NOISES:
            yield truth, noise, truth, None, "huber"


def random_starts(problem: Problem, count: int, rng: np.random.Generator) -> np.ndarray:
    """Scales uniform up to the mean loss; exponents cubed-uniform within 3 of zero (or the box, where that is less)."""
    t, q = problem.response.n_terms, problem.response.n_exponents
    scales = float(np.exp(problem.y).mean()) * rng.uniform(0, 1, (count, t))
    low, high = np.maximum(problem.box.lower[t:], -3.0), np.minimum(problem.box.upper[t:], 3.0)
    u = rng.uniform(-1, 1, (count, q))
    return np.concatenate([scales, np.where(u < 0, -low, high) * u**3], axis=1)


def reference(truth: str, noise: float, form: str, fold: int | None, objective: str) -> float:
    """Lowest objective over all random starts."""
    points = simulated(truth, noise)
    problem = Problem.of(points, FORMS[form])
    weights = np.ones(len(points))
    if fold is not None:
        weights[fold] = 0.0
    rng = np.random.default_rng(zlib.crc32(f"{truth} {noise} {form} {fold} {objective}".encode()))
    delta = 1e-3 if objective == "huber" else 0.1 * noise
    thetas, values = [], []
    for _ in range(STARTS // CHUNK):
        ends, found = descend(
            problem.response,
            problem.y,
            weights,
            random_starts(problem, CHUNK, rng),
            problem.box,
            delta,
            max_steps=100,
        )
        thetas.append(ends)
        values.append(found)
    theta, value = np.concatenate(thetas), np.concatenate(values)
    if objective == "huber":
        return float(np.nanmin(value))
    order = np.argsort(value, kind="stable")
    distinct = order[np.concatenate([[True], np.diff(value[order]) > 1e-7 * value[order][1:]])][:40]
    ends = np.array([finish(problem.response, problem.y, weights, theta[i], problem.box) for i in distinct])
    return float(np.abs(problem.response.log_predict(ends) - problem.y).sum(axis=1).min())


def main() -> None:
    """Compute all cases and write the file next to this script."""
    rows = [
        {
            "truth": t,
            "noise": n,
            "form": f,
            "fold": fold,
            "objective": o,
            "value": reference(t, n, f, fold, o),
        }
        for t, n, f, fold, o in cases()
    ]
    header = {"command": "python tests/laws/make_reference_optima.py", "starts": STARTS, "delta": 1e-3}
    lines = ",\n".join(json.dumps(row) for row in rows)
    path = Path(__file__).with_name("reference_optima.json")
    path.write_text(json.dumps(header)[:-1] + ', "optima": [\n' + lines + "\n]}\n")


if __name__ == "__main__":
    main()
