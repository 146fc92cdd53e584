"""The paper's fitting procedure, for comparison: SciPy BFGS from random starts.

Section 4 of arXiv 2510.06548 (after Hoffmann et al. 2022): ln L by log-sum-exp over (ln scale - exponent x ln D), Huber
loss with delta = 1e-3, BFGS with finite-difference gradients in raw units, best of many random starts.
"""

from __future__ import annotations

import numpy as np

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
    from scipy.optimize import minimize

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
