"""The paper's fitting procedure, for comparison: SciPy BFGS from random starts.

Section 4 of arXiv 2510.06548 (after Hoffmann et al. 2022): ln L by log-sum-exp over (ln scale - exponent x ln D), Huber
loss with delta = 1e-3, BFGS with finite-difference gradients in raw units, best of many random starts.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from twostage.laws.checks import check_points
from twostage.laws.fit import Fit, Problem, Solution, assemble, certify, form_of
from twostage.laws.form import Form, MonomialForm
from twostage.laws.objective import Objective
from twostage.laws.points import FloatArray, Points

# Ranges of the random starts (log scales, exponents): our choice, wide around every fit of Tables 7 and 8.
START_RANGES = {
    "scale": (-1.0, 5.0),
    "E": (-3.0, 1.0),
    "exponent": (0.0, 1.0),
    "alpha3": (-0.02, 0.05),
}


def log_features(points: Points, law: Form) -> list[FloatArray]:
    """Per term, the (q, m) monomials of the raw logarithms, signs included."""
    logs = law.logs(**points.variables_for(law.variables))
    response = law.response(logs, dict.fromkeys(logs, 0.0))
    features = []
    for block in response.blocks:
        full = np.zeros((response.n_exponents, response.size))
        full[block.where] = block.features
        features.append(full)
    return features


def objective_in_logs(
    parameters: FloatArray, features: list[FloatArray], y: FloatArray, spec: Objective
) -> float:
    """Objective at (ln scales, raw exponents), by log-sum-exp."""
    t = len(features)
    parts = np.stack([parameters[j] + parameters[t:] @ block for j, block in enumerate(features)])
    top = parts.max(axis=0)
    return float(spec.value(top + np.log(np.exp(parts - top).sum(axis=0)) - y))


def random_starts(law: Form, count: int, rng: np.random.Generator) -> FloatArray:
    """Uniform starts (count, k) in (ln scales, raw exponents)."""
    ranges = [START_RANGES["E" if s == "E" else "scale"] for s in law.scales]
    ranges += [START_RANGES.get(e, START_RANGES["exponent"]) for e in law.exponents]
    low, high = np.array(ranges).T
    return rng.uniform(low, high, size=(count, low.size))


def run_bfgs(
    points: Points, law: Form, starts: int, seed: int, spec: Objective
) -> tuple[FloatArray, float, FloatArray]:
    """Best (ln scales, raw exponents), its objective, and the objective of every start (starts,)."""
    if not isinstance(law, MonomialForm):
        raise ValueError(f"the paper's procedure is defined for sums of power laws; {law.name!r} is not one")
    features, y = log_features(points, law), points.log_loss
    best, best_value, values = None, np.inf, []
    for start in random_starts(law, starts, np.random.default_rng(seed)):
        with np.errstate(all="ignore"):
            result = minimize(objective_in_logs, start, args=(features, y, spec), method="BFGS")
        values.append(result.fun)
        if result.fun < best_value:
            best, best_value = result.x, float(result.fun)
    if best is None:
        raise ValueError(f"none of {starts} random starts gave a finite objective")
    return best, best_value, np.array(values)


def fit_bfgs_multistart(
    points: Points,
    form: str,
    starts: int = 1000,
    seed: int = 0,
    *,
    objective: str = "huber",
    delta: float = 1e-3,
) -> Fit:
    """The paper's procedure: SciPy BFGS, log-sum-exp, `starts` random starts in raw units; not certified to be optimal.

    For comparison only. Its certificate reports the KKT residual it reached and how many starts agreed with its best.
    """
    law, spec = form_of(form), Objective(objective, delta)
    warnings = check_points(points, law, allow_degenerate=False)
    parameters, value, values = run_bfgs(points, law, starts, seed, spec)
    t = len(law.scales)
    raw = dict(zip(law.internal, [*np.exp(parameters[:t]), *parameters[t:]], strict=True))
    problem = Problem.of(points, law)
    theta = law.from_raw(raw, problem.centre)
    solution = Solution(theta, value, np.sort(values), starts)
    return assemble(problem, theta, value, spec, certify(problem, solution, spec), warnings)
