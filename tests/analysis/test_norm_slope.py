"""Slopes of gradient norms against D1: exact for power laws with any factors of D2 and seeds; gaps in the grid."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from twostage.analysis.norm_slope import norm_slope

GRID = (1000, 2000, 4000, 8000)


def cells(exponents, *, d1=GRID, d2=GRID):
    """Norms that follow a power of D1, with a different factor for each seed and D2."""
    return pd.DataFrame(
        {"seed": seed, "d1_tokens": a, "d2_tokens": b, "grad_norm_mean": (1 + seed) * b**0.3 * a**exponent}
        for seed, exponent in enumerate(exponents)
        for a in d1
        for b in d2
    )


def test_a_power_of_d1_is_found_for_any_factors_of_d2_and_seed():
    slope = norm_slope(cells([0.1, 0.13, 0.16]))
    assert slope.seeds == pytest.approx({0: 0.1, 1: 0.13, 2: 0.16})
    oracle = stats.t.interval(0.95, 2, loc=0.13, scale=stats.sem([0.1, 0.13, 0.16]))
    assert (slope.mean, slope.lower, slope.upper) == pytest.approx((0.13, *oracle))
    ends = (f"{2**end:.3f}" for end in oracle)
    assert slope.per_doubling == f"×{2**0.13:.3f} [{', '.join(ends)}]"


def test_gaps_of_the_grid_do_not_bias_it():
    whole = cells([0.2])
    gaps = whole[(whole["d1_tokens"] >= 4000) == (whole["d2_tokens"] >= 2000)]
    assert norm_slope(gaps).seeds == pytest.approx({0: 0.2})


def test_against_least_squares_with_an_intercept_for_each_d2():
    frame = cells([0.2])
    frame["grad_norm_mean"] *= np.random.default_rng(0).lognormal(0, 0.1, len(frame))
    frame = frame.drop(index=[1, 6, 7])
    intercepts = pd.get_dummies(frame["d2_tokens"]).to_numpy(float)
    columns = np.column_stack([np.log(frame["d1_tokens"]), intercepts])
    oracle = np.linalg.lstsq(columns, np.log(frame["grad_norm_mean"]), rcond=None)[0][0]
    assert norm_slope(frame).mean == pytest.approx(oracle)


def test_one_seed_has_no_interval_and_one_d1_no_slope():
    slope = norm_slope(cells([0.1]))
    assert slope.lower is None
    assert slope.upper is None
    assert slope.per_doubling == f"×{2**0.1:.3f}"
    assert norm_slope(cells([0.1], d1=(1000,))) is None
    assert norm_slope(cells([0.1]).assign(grad_norm_mean=float("nan"))) is None
