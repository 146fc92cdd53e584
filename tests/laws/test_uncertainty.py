"""Intervals that cover, two ways to the same profile, bootstraps."""

from __future__ import annotations

import numpy as np
import pytest
from grids import TRUTHS, simulated
from scipy.stats import norm
from scipy.stats import t as student

from twostage.laws.covariance import score_moments
from twostage.laws.fit import Interval, fit_law
from twostage.laws.objective import Objective
from twostage.laws.points import Points
from twostage.laws.uncertainty import (
    bootstrap,
    interval_of,
    profile_interval,
    profile_intervals,
    resampled_weights,
    soft_coefficients,
    standard_errors,
)


def covers(interval: Interval, value: float) -> bool:
    lower = -np.inf if interval.lower is None else interval.lower
    upper = np.inf if interval.upper is None else interval.upper
    return lower <= value <= upper


@pytest.mark.slow
@pytest.mark.parametrize("truth", ["stack", "cpt"])
def test_profile_intervals_cover(truth: str):
    """200 simulations of the 5 x 5 grid with log-noise 1e-3: each 95 % interval covers 91 to 98 %."""
    form, coefficients = TRUTHS[truth]
    hits = dict.fromkeys(coefficients, 0)
    for seed in range(200):
        points = simulated(truth, noise=1e-3, seed=seed)
        for name, interval in profile_intervals(points, fit_law(points, form)).items():
            hits[name] += covers(interval, coefficients[name])
    for name, count in hits.items():
        assert 0.91 <= count / 200 <= 0.98, (name, count / 200)


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "noise"), [("lad", 1e-3), ("huber", 5e-3)])
def test_profile_intervals_cover_where_delta_is_far_below_the_noise(objective: str, noise: float):
    """The alpha_3 and E of Table 8's CPT law, 100 simulations."""
    form, coefficients = TRUTHS["cpt"]
    hits = dict.fromkeys(("alpha3", "E"), 0)
    for seed in range(100):
        points = simulated("cpt", noise=noise, seed=seed)
        fit = fit_law(points, form, objective=objective)
        for name in hits:
            hits[name] += covers(profile_interval(points, fit, name), coefficients[name])
    for name, count in hits.items():
        assert 0.88 <= count / 100 <= 0.99, (name, count / 100)


def test_a_few_intervals_hold_the_truth():
    """Quick version of the coverage test: 99.9 % intervals in ten simulations."""
    form, coefficients = TRUTHS["cpt"]
    for seed in range(10):
        points = simulated("cpt", noise=1e-3, seed=100 + seed)
        for name, interval in profile_intervals(points, fit_law(points, form), level=0.999).items():
            assert covers(interval, coefficients[name]), (seed, name)


def test_where_residuals_are_small_the_profile_is_the_classical_t_interval():
    """A Huber threshold above all residuals is least squares; with a nearly linear fit the profile is symmetric."""
    points = simulated("cpt", noise=1e-6)
    fit = fit_law(points, "mul", delta=1.0)
    for name, interval in profile_intervals(points, fit).items():
        half = student.ppf(0.975, 20) * fit.standard_errors[name]
        assert interval.lower == pytest.approx(fit.coefficients[name] - half, abs=0.02 * half)
        assert interval.upper == pytest.approx(fit.coefficients[name] + half, abs=0.02 * half)


@pytest.mark.parametrize(
    ("truth", "form"),
    [("stack", "mul"), ("cpt", "mul"), ("hyb", "hyb"), ("falling", "tree"), ("joint", "joint")],
)
def test_two_definitions_of_the_profile_agree(truth: str, form: str):
    """Refits with a coefficient frozen (own descent) against the range over the likelihood region (SciPy's SLSQP)."""
    points = simulated(truth, noise=1e-3, seed=1)
    fit = fit_law(points, form)
    # the bent ridge of `tree` has side minima: either way may end up in one
    tolerance = 3e-2 if form == "tree" else 2e-3
    for name, interval in profile_intervals(points, fit).items():
        if name in ("A", "B"):
            continue  # compared in logarithms below
        other = interval_of(points, fit, lambda c, name=name: c[name])
        width = interval.upper - interval.lower
        assert other.lower == pytest.approx(interval.lower, abs=tolerance * width), name
        assert other.upper == pytest.approx(interval.upper, abs=tolerance * width), name
    scale = profile_interval(points, fit, "A")
    other = interval_of(points, fit, lambda c: np.log(max(c["A"], 1e-300)))
    width = np.log(scale.upper / scale.lower)
    assert other.lower == pytest.approx(np.log(scale.lower), abs=tolerance * width)
    assert other.upper == pytest.approx(np.log(scale.upper), abs=tolerance * width)


def test_an_end_at_the_bound_is_said():
    points = simulated("stack", noise=1e-3)
    interval = profile_interval(points, fit_law(points, "mul"), "E")
    assert interval.lower == 0.0
    assert "lower end is the bound of E" in interval.note
    assert 0.97 < interval.upper < 2.0


def test_an_interval_of_a_prediction_holds_the_truth_and_widens_outside_the_grid():
    form, coefficients = TRUTHS["cpt"]
    points = simulated("cpt", noise=1e-3, seed=3)
    fit = fit_law(points, form)

    def at(d2: float) -> Interval:
        return profile_interval(points, fit, lambda c: float(fit.law.predict(c, d1=3e9, d2=d2)))

    inside, outside = at(3e9), at(3e12)
    truth = float(fit.law.predict(coefficients, d1=3e9, d2=3e9))
    assert covers(inside, truth)
    assert (inside.upper - inside.lower) < 0.005
    assert (outside.upper - outside.lower) > 5 * (inside.upper - inside.lower)


def test_a_function_of_two_fits():
    """Difference of two independent E: variances add."""
    a, b = simulated("cpt", noise=1e-5, seed=1), simulated("cpt", noise=1e-5, seed=2)
    fits = [fit_law(a, "mul"), fit_law(b, "mul")]
    interval = interval_of([a, b], fits, lambda c, d: c["E"] - d["E"])
    half = student.ppf(0.975, 40) * np.hypot(*(f.standard_errors["E"] for f in fits))
    assert interval.upper - interval.lower == pytest.approx(2 * half, rel=0.05)
    assert covers(interval, 0.0)


def test_a_function_that_does_not_always_exist_says_how_often_it_does():
    points = simulated("stack", noise=1e-3)
    fit = fit_law(points, "mul")
    middle = fit.coefficients["alpha3"]
    interval = interval_of(points, fit, lambda c: c["E"] if c["alpha3"] < middle + 2e-4 else np.nan)
    assert interval.method == "residual bootstrap"
    assert "% of the refits" in interval.note
    assert interval.lower <= interval.upper
    with pytest.raises(ValueError, match="not finite at the fitted"):
        interval_of(points, fit, lambda c: np.nan)


def test_exact_data_have_a_point_interval():
    points = simulated("power")
    interval = profile_interval(points, fit_law(points, "power"), "alpha")
    assert interval.lower == interval.upper
    assert interval.note == "the fit is exact"


def test_unknown_names_and_levels_are_refused():
    points = simulated("cpt", noise=1e-3)
    fit = fit_law(points, "mul")
    with pytest.raises(ValueError, match="'gamma' is not a coefficient of 'mul'"):
        profile_interval(points, fit, "gamma")
    with pytest.raises(ValueError, match="level 95"):
        profile_interval(points, fit, "E", level=95)


@pytest.mark.parametrize("unit", ["points", "trunks", "seeds", "residuals"])
def test_bootstrap_draws_are_the_refits_they_claim_to_be(unit: str):
    points = simulated("cpt", noise=1e-3, repeats=5 if unit == "seeds" else 1)
    draws = bootstrap(points, "mul", 200, unit=unit, seed=1)
    assert draws.shape == (200, 5)
    np.testing.assert_array_equal(draws, bootstrap(points, "mul", 200, unit=unit, seed=1))
    fit = fit_law(points, "mul")
    errors = standard_errors(draws, tuple(fit.coefficients))
    for name in ("alpha1", "alpha2", "alpha3", "E"):
        assert 0.4 < errors[name] / fit.standard_errors[name] < 2.5, name


def test_the_trunk_bootstrap_sees_noise_that_a_trunk_shares():
    """Against the spread over repeated experiments; the point bootstrap, which breaks trunks up, is far off."""
    base = simulated("cpt", repeats=6)

    def experiment(seed: int) -> Points:
        rng = np.random.default_rng(seed)
        shared = 3e-3 * rng.standard_normal(30)[base.trunk] + 1e-4 * rng.standard_normal(150)
        return base.with_loss(base.loss * np.exp(shared))

    truth = np.std([list(fit_law(experiment(s), "mul0").coefficients.values()) for s in range(40)], axis=0)
    ratio = {
        unit: np.mean(
            [bootstrap(experiment(s), "mul0", 150, unit=unit).std(axis=0) for s in range(4)], axis=0
        )
        / truth
        for unit in ("trunks", "points")
    }
    np.testing.assert_allclose(ratio["trunks"], 1.0, atol=0.4)
    assert ratio["points"][3] > 2.0  # E


def test_the_seed_bootstrap_sees_what_a_seed_shares_but_for_the_factor_it_owns_up_to():
    """Four seeds, each with an alpha3 of its own: spread over repeated experiments, against sqrt(4 / 3) the bootstrap's."""
    base = simulated("cpt", repeats=4)
    form, coefficients = TRUTHS["cpt"]

    def experiment(number: int) -> Points:
        rng = np.random.default_rng(number)
        own = 1e-4 * rng.standard_normal(4)[base.seed] * np.log(base.d1 / 2.3e9) * np.log(base.d2 / 2.3e9)
        reducible = (base.loss - coefficients["E"]) * np.exp(own)
        return base.with_loss((reducible + coefficients["E"]) * np.exp(1e-5 * rng.standard_normal(100)))

    truth = np.std([fit_law(experiment(s), form).coefficients["alpha3"] for s in range(60)])
    ratio = {
        unit: np.sqrt(
            np.mean([bootstrap(experiment(s), form, 200, unit=unit)[:, 3].var() for s in range(20)])
        )
        / truth
        for unit in ("seeds", "points")
    }
    assert ratio["seeds"] * np.sqrt(4 / 3) == pytest.approx(1.0, abs=0.25)
    assert ratio["points"] < 0.7


def test_draws_over_seeds_are_few_and_one_of_them_is_each_seed_alone():
    points = simulated("cpt", noise=1e-3, repeats=3)
    weights = resampled_weights(points, 500, "seeds", seed=1)
    different, first = np.unique(weights, axis=0, return_index=True)
    assert len(different) == 10  # C(5, 3)
    assert (weights.sum(axis=1) == len(points)).all()
    draws = bootstrap(points, "mul", 500, unit="seeds", seed=1)
    for row in first[(different.max(axis=1) == 3)]:
        alone = fit_law(points.subset(weights[row] > 0), "mul")
        assert draws[row, 3] == pytest.approx(alone.coefficients["alpha3"], rel=1e-4)


def test_bootstraps_that_cannot_be_are_refused():
    points = simulated("cpt", noise=1e-3)
    one = points.subset(points.trunk == 0)
    with pytest.raises(ValueError, match="one trunk"):
        bootstrap(Points(loss=one.loss, d2=one.d2, trunk=one.trunk), "power", 10, unit="trunks")
    with pytest.raises(ValueError, match="one seed or none"):
        bootstrap(points, "mul", 10, unit="seeds")
    three = simulated("cpt", noise=1e-3, repeats=3)
    ragged = three.subset((three.seed != 1) | (three.d1 < 5e9))
    with pytest.raises(ValueError, match="seed 1 has 20 of 25 cells"):
        bootstrap(ragged, "mul", 10, unit="seeds")
    with pytest.raises(ValueError, match="'points', 'trunks', 'seeds' or 'residuals'"):
        bootstrap(points, "mul", 10, unit="rows")
    with pytest.raises(ValueError, match="at least 1"):
        bootstrap(points, "mul", 0)


def test_residual_bootstrap_agrees_with_the_profile():
    points = simulated("stack", noise=1e-3)
    fit = fit_law(points, "mul")
    draws = bootstrap(points, "mul", 1000, unit="residuals", fit=fit)
    for column, (name, interval) in enumerate(profile_intervals(points, fit).items()):
        lower, upper = np.quantile(draws[:, column], [0.025, 0.975])
        width = interval.upper - interval.lower
        assert lower == pytest.approx(interval.lower, abs=0.25 * width), name
        assert upper == pytest.approx(interval.upper, abs=0.25 * width), name


def test_the_soft_coefficients_are_named():
    """facts: A, alpha1, alpha2 and E of Stack are soft."""
    fit = fit_law(simulated("stack", noise=1e-3), "mul")
    assert {"A", "alpha1", "alpha2", "E"} <= set(soft_coefficients(fit))
    assert soft_coefficients(fit_law(simulated("stack", noise=1e-6), "mul")) == ()


@pytest.mark.parametrize("delta", [1e-4, 1e-3, 1e-1])
def test_score_moments_against_the_normal_distribution(delta: float):
    residuals = 1e-3 * np.random.default_rng(0).standard_normal(20000)
    second, first = score_moments(residuals, Objective("huber", delta), 0)
    z = delta / 1e-3
    inside = 2 * norm.cdf(z) - 1
    expected = 1e-6 * (inside - 2 * z * norm.pdf(z) + z**2 * (1 - inside))
    assert first == pytest.approx(inside, rel=0.06)
    assert second == pytest.approx(expected, rel=0.06)
    _, density = score_moments(residuals, Objective("lad"), 0)
    assert density == pytest.approx(2 * norm.pdf(0) / 1e-3, rel=0.06)


def test_as_many_coefficients_as_points_leave_no_freedom():
    """Five points, five coefficients: the fit is exact and says nothing about the noise."""
    points = simulated("stack", noise=1e-3).subset(np.array([0, 4, 12, 20, 24]))
    fit = fit_law(points, "mul")
    assert fit.certificate.bounds_hit == ()
    assert all(np.isnan(error) for error in fit.standard_errors.values())
    assert any("no degrees of freedom" in w for w in fit.warnings)
    for what in ("alpha3", lambda c: c["E"]):
        interval = profile_interval(points, fit, what)
        assert interval.lower is None
        assert "as many coefficients as points" in interval.note
    with pytest.raises(ValueError, match="as many coefficients as points"):
        bootstrap(points, "mul", 10, unit="residuals")


def test_least_absolute_deviation_on_few_points_still_shows_the_noise():
    """LAD meets five of eight points exactly; the other three are the noise."""
    points = simulated("stack", noise=1e-3).subset(np.array([0, 4, 12, 20, 24, 7, 10, 14]))
    fit = fit_law(points, "mul", objective="lad")
    interval = profile_interval(points, fit, "alpha3")
    assert interval.note != "the fit is exact"
    assert interval.upper - interval.lower > 1e-4


def test_scales_that_underflow_have_open_intervals():
    """Losses of barely trained models (three sizes, two D1, two D2) whose best exponents are in the hundreds."""
    losses = [5.352315, 5.056510, 5.230996, 4.983593, 5.228623, 4.965983, 5.144339, 4.830140]
    losses += [5.011018, 4.579907, 4.812600, 4.374392]
    n, d1, d2 = (
        axis.ravel()
        for axis in np.meshgrid([2088, 4668, 12900], [11264, 22528], [11264, 22528], indexing="ij")
    )
    points = Points(loss=np.array(losses), n=n, d1=d1, d2=d2)
    fit = fit_law(points, "joint")
    assert fit.coefficients["A"] == 0.0
    assert any("not identified" in warning for warning in fit.warnings)
    intervals = profile_intervals(points, fit)
    assert (intervals["A"].lower, intervals["A"].upper) == (None, None)
    assert "do not bound A" in intervals["A"].note
    assert intervals["beta"].lower < fit.coefficients["beta"] < intervals["beta"].upper
