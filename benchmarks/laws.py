"""Speed, memory and accuracy of the law fits compared with SciPy's BFGS with random starts, on one core.

Run as `python benchmarks/laws.py [--json OUT.json] [--coverage SIMULATIONS]`. The paper's procedure would take hours, so
SciPy's time is measured on a sample of starts and scaled; the output has the number of starts.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # set before NumPy is imported, so that both use one core

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from paper_procedure import log_features, objective_in_logs, random_starts

from twostage.laws.fit import fit_law
from twostage.laws.forms import FORMS
from twostage.laws.objective import Objective
from twostage.laws.points import Points
from twostage.laws.selection import leave_one_out_table
from twostage.laws.uncertainty import bootstrap, profile_intervals

FORMS_OF_TABLE = ("mul", "mul0", "add", "hyb")
STARTS_PER_FIT = 1000  # of SciPy
STACK = {"A": 33.394, "alpha1": 0.087, "alpha2": 0.119, "alpha3": 0.0029968, "E": 0.973}
CHINCHILLA = {"A": 406.4, "B": 410.7, "E": 1.69, "alpha": 0.34, "beta": 0.28}


def stack_grid(seed: int = 0, noise: float = 1e-3) -> Points:
    """Return the paper's 5 x 5 grid with the Stack law of Table 8 and Gaussian noise of ln L."""
    tokens = 0.577e9 * 2.0 ** np.arange(5)
    d1, d2 = (axis.ravel() for axis in np.meshgrid(tokens, tokens, indexing="ij"))
    loss = FORMS["mul"].predict(STACK, d1=d1, d2=d2)
    return Points(loss=loss * np.exp(noise * np.random.default_rng(seed).standard_normal(25)), d1=d1, d2=d2)


def chinchilla_points(count: int = 240) -> Points:
    """Return `count` runs over random sizes and tokens, with 1 % noise of ln L."""
    rng = np.random.default_rng(0)
    n, d2 = (np.exp(rng.uniform(*np.log(ends), count)) for ends in ((7e7, 1.6e10), (5e9, 5e11)))
    loss = FORMS["chinchilla"].predict(CHINCHILLA, d2=d2, n=n)
    return Points(loss=loss * np.exp(0.01 * rng.standard_normal(count)), d2=d2, n=n)


def timed(run: Callable[[], Any], repeats: int, clock: Callable[[], float] = time.process_time) -> float:
    """Return the median seconds after one warm-up; by default CPU time, which depends least on other load."""
    run()
    times = []
    for _ in range(repeats):
        start = clock()
        run()
        times.append(clock() - start)
    return float(np.median(times))


def scipy_seconds_per_start(points: Points, form: str, starts: int, seed: int) -> tuple[float, float]:
    """Return the mean CPU seconds of a SciPy BFGS start (finite differences, log-sum-exp) and the best objective found."""
    features, y, spec = log_features(points, FORMS[form]), points.log_loss, Objective()
    best, begin = np.inf, time.process_time()
    for start in random_starts(FORMS[form], starts, np.random.default_rng(seed)):
        with np.errstate(all="ignore"):
            best = min(
                best, float(minimize(objective_in_logs, start, (features, y, spec), method="BFGS").fun)
            )
    return (time.process_time() - begin) / starts, best


def leave_one_out_table_benchmark(sample: int) -> dict[str, Any]:
    """Time 25 folds x 4 forms, certified, and 1000 BFGS starts per fit (sampled and scaled)."""
    points = stack_grid()
    ours = timed(lambda: leave_one_out_table(points, FORMS_OF_TABLE), 9)
    table = leave_one_out_table(points, FORMS_OF_TABLE)
    scipy_total, reached = 0.0, {}
    for form in FORMS_OF_TABLE:
        seconds, _ = scipy_seconds_per_start(points.subset(np.arange(25) != 12), form, sample, seed=0)
        _, best = scipy_seconds_per_start(points, form, sample, seed=1)
        scipy_total += seconds * STARTS_PER_FIT * 25
        reached[form] = best / fit_law(points, form).objective
    return {
        "ours_ms": 1e3 * ours,
        "scipy_s_scaled": scipy_total,
        "scipy_starts_sampled_per_form": sample,
        "ratio": scipy_total / ours,
        "all_folds_certified": bool(all(t.certified.all() for t in table.values())),
        "loo_rms_nats": {form: t.rms_nats for form, t in table.items()},
        "scipy_best_objective_over_ours": reached,
    }


def bootstrap_benchmark(refits: int = 4000, sample: int = 10) -> dict[str, Any]:
    """Time bootstrap refits of a 240-point Chinchilla fit, and one warm SciPy BFGS start per refit (sampled)."""
    points = chinchilla_points()
    fit = fit_law(points, "chinchilla")
    begin = time.process_time()
    bootstrap(points, "chinchilla", refits, fit=fit)
    ours = time.process_time() - begin
    law = FORMS["chinchilla"]
    features, spec, rng = log_features(points, law), Objective(), np.random.default_rng(0)
    raw = np.array([fit.coefficients[name] for name in law.internal])
    start = np.concatenate([np.log(raw[:3]), raw[3:]])
    begin = time.process_time()
    for _ in range(sample):
        rows = rng.integers(0, len(points), len(points))
        columns = [block[:, rows] for block in features]
        minimize(objective_in_logs, start, (columns, points.log_loss[rows], spec), method="BFGS")
    scipy_total = (time.process_time() - begin) / sample * refits
    return {"refits": refits, "ours_s": ours, "scipy_s_scaled": scipy_total, "ratio": scipy_total / ours}


def cold_start_benchmark() -> dict[str, float]:
    """Return wall seconds of a new process that fits 25 points, and of one that only imports NumPy."""
    setup = "import numpy as np; d=np.tile(1e9*2.0**np.arange(5),5); e=np.repeat(1e9*2.0**np.arange(5),5);"
    fit = (
        "from twostage.laws.fit import fit_law; from twostage.laws.points import Points;"
        "fit_law(Points(loss=1+30*d**-.1*e**-.05*(1+1e-3*np.sin(np.arange(25))),d1=e,d2=d),'mul')"
    )

    def seconds(code: str) -> float:
        return timed(lambda: subprocess.run([sys.executable, "-c", code], check=True), 3, time.perf_counter)

    return {"fit_s": seconds(setup + fit), "python_and_numpy_s": seconds(setup)}


def fit_benchmark() -> dict[str, float]:
    """Time a certified fit of 25 points for each form, and the five profile-likelihood intervals of Eq. 2, in milliseconds."""
    points = stack_grid()
    times = {form: 1e3 * timed(lambda form=form: fit_law(points, form), 5) for form in FORMS_OF_TABLE}
    times["mul_lad"] = 1e3 * timed(lambda: fit_law(points, "mul", objective="lad"), 3)
    fit = fit_law(points, "mul")
    times["mul_five_profile_intervals"] = 1e3 * timed(lambda: profile_intervals(points, fit), 3)
    times["mul_1000_residual_refits"] = 1e3 * timed(
        lambda: bootstrap(points, "mul", 1000, unit="residuals", fit=fit), 3
    )
    return times


def coverage_benchmark(simulations: int) -> dict[str, dict[str, float]]:
    """Return the share of simulations whose 95 % interval contains the true value: profile likelihood and three bootstraps."""
    hits: dict[str, dict[str, int]] = {}
    for seed in range(simulations):
        points = stack_grid(seed)
        fit = fit_law(points, "mul")
        ends = {"profile": {k: (v.lower, v.upper) for k, v in profile_intervals(points, fit).items()}}
        for unit in ("points", "trunks", "residuals"):
            draws = bootstrap(points, "mul", 500, unit=unit, seed=seed, fit=fit)
            ends[unit] = {k: tuple(np.quantile(draws[:, i], [0.025, 0.975])) for i, k in enumerate(STACK)}
        for method, intervals in ends.items():
            count = hits.setdefault(method, dict.fromkeys(STACK, 0))
            for name, (low, high) in intervals.items():
                low, high = (-np.inf if low is None else low), (np.inf if high is None else high)
                count[name] += low <= STACK[name] <= high
    return {method: {k: v / simulations for k, v in count.items()} for method, count in hits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--sample", type=int, default=20, help="SciPy starts timed per form (default 20)")
    parser.add_argument(
        "--coverage", type=int, default=0, help="simulations for the coverage of intervals (default none)"
    )
    options = parser.parse_args()
    results: dict[str, Any] = {
        "leave_one_out_table": leave_one_out_table_benchmark(options.sample),
        "chinchilla_bootstrap": bootstrap_benchmark(),
        "cold_start": cold_start_benchmark(),
        "single_fits_ms": fit_benchmark(),
    }
    if options.coverage:
        results["coverage_of_95_percent_intervals"] = coverage_benchmark(options.coverage)
    results["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    text = json.dumps(results, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
