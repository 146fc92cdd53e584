"""Intervals of derived numbers: the draws follow the fit, and D* is as uncertain as simulation says."""

import math

import numpy as np
import pytest

from twostage.laws.consequences import (
    Draws,
    alpha_eff_estimate,
    bootstrap_laws,
    catch_up_estimate,
    d_star_estimate,
    delta_interval,
    draw_laws,
    estimate,
    laws_of,
    loss_band,
    saving_estimate,
)
from twostage.laws.crossover import Law, d_star, d_star_draws, law_of, saving
from twostage.laws.fit import Fit, fit_law
from twostage.laws.points import Points
from twostage.laws.uncertainty import bootstrap, interval_of
from twostage.paper.published import maximum_tokens, published_joint_laws, published_table

TABLE_8 = published_joint_laws()
BASE, STACK = TABLE_8["Base (Slimpajama)"].law, TABLE_8["Stack"].law


def paper_grids(log_noise: float, seed: int) -> tuple[Points, Points]:
    """Models from scratch (6 x 5) and stacked models (6 x 5 x 5) of the paper's sizes, with noise."""
    generator = np.random.default_rng(seed)
    sizes, maxima = (
        published_table(3)["n_parameters"].astype(float).to_numpy(),
        maximum_tokens().to_numpy(float),
    )
    axes = [np.geomspace(largest / 16, largest, 5) for largest in maxima]
    n, d = np.repeat(sizes, 5), np.concatenate(axes)
    scratch = Points(
        loss=BASE.loss(d, n=n) * np.exp(log_noise * generator.standard_normal(d.size)), d2=d, n=n
    )
    d1 = np.concatenate([np.repeat(axis, 5) for axis in axes])
    d2, n = np.concatenate([np.tile(axis, 5) for axis in axes]), np.repeat(sizes, 25)
    loss = STACK.loss(d2, d1=d1, n=n) * np.exp(log_noise * generator.standard_normal(d1.size))
    return scratch, Points(loss=loss, d1=d1, d2=d2, n=n)


@pytest.fixture(scope="module")
def fits() -> tuple[Points, Points, Fit, Fit]:
    scratch, grown = paper_grids(3e-4, seed=11)
    return scratch, grown, fit_law(scratch, "chinchilla"), fit_law(grown, "joint")


@pytest.fixture(scope="module")
def drawn(fits: tuple[Points, Points, Fit, Fit]) -> tuple[Draws, Draws]:
    return draw_laws(fits[2], 1000, seed=1), draw_laws(fits[3], 1000, seed=2)


def test_draws_have_the_covariance_of_the_fit(
    fits: tuple[Points, Points, Fit, Fit], drawn: tuple[Draws, Draws]
) -> None:
    """In centred coordinates, where the covariance means what it says (E is far from its bound in neither fit)."""
    fit, draws = fits[3], drawn[1]
    rows = [fit.law.from_raw(draws.at(i).coefficients, fit.centre) for i in range(draws.size)]  # type: ignore[arg-type]
    jacobian = fit.law.raw_jacobian(fit.theta, fit.centre)
    order = [fit.law.internal.index(name) for name in fit.law.coefficients]
    inverse = np.linalg.inv(jacobian[:, order])
    expected = np.sqrt(np.diag(inverse @ fit.covariance @ inverse.T))
    spread = np.std(np.array(rows)[:, order], axis=0)
    scales = [
        i for i, name in enumerate(fit.law.coefficients) if name in ("alpha1", "alpha2", "alpha3", "beta")
    ]
    assert spread[scales] == pytest.approx(expected[scales], rel=0.12)
    assert np.all(np.asarray(draws.law.coefficients["E"]) >= 0)
    assert draws.point == law_of(fit)


def test_draws_are_seeded(fits: tuple[Points, Points, Fit, Fit]) -> None:
    a, b, c = (draw_laws(fits[3], 20, seed=seed).law.coefficients["alpha3"] for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_a_scale_at_its_bound_stays_there(fits: tuple[Points, Points, Fit, Fit]) -> None:
    truth = Law("mul", {"A": 30.0, "alpha1": 0.1, "alpha2": 0.12, "alpha3": 0.001, "E": 0.0})
    axis = np.geomspace(1e9, 1e11, 5)
    d1, d2 = (x.ravel() for x in np.meshgrid(axis, axis))
    noise = np.exp(1e-3 * np.random.default_rng(2).standard_normal(25))
    points = Points(loss=(truth.loss(d2, d1=d1) - 0.05) * noise, d1=d1, d2=d2)  # pulls E below zero
    fit = fit_law(points, "mul")
    assert fit.coefficients["E"] == 0
    draws = draw_laws(fit, 100)
    assert np.all(np.asarray(draws.law.coefficients["E"]) == 0)
    assert np.ptp(np.asarray(draws.law.coefficients["alpha3"])) > 0


@pytest.mark.parametrize(("log_noise", "low", "high"), [(1e-4, 11.2, 12.6), (3e-4, 9.8, 14.5)])
def test_d_star_interval_has_the_width_that_refitting_gives(
    log_noise: float, low: float, high: float
) -> None:
    """Fact 3: refits of simulated grids of the paper's size; here the widths of single-fit intervals against them."""
    widths, covered = [], 0
    for seed in range(6):
        scratch, grown = paper_grids(log_noise, seed)
        a, b = (
            draw_laws(fit_law(scratch, "chinchilla"), 400, seed=3),
            draw_laws(fit_law(grown, "joint"), 400, seed=4),
        )
        one = d_star_estimate(a, b, 1e11)
        assert one.exists_share == 1
        widths.append(math.log(one.upper / one.lower))
        covered += one.lower <= d_star(BASE, STACK, 1e11).tokens <= one.upper
    assert np.median(widths) == pytest.approx(math.log(high / low), rel=0.35)
    assert covered >= 4


def test_three_ways_to_an_interval_agree(
    fits: tuple[Points, Points, Fit, Fit], drawn: tuple[Draws, Draws]
) -> None:
    """Draws from the covariance, refits of resampled residuals, and the joint profile likelihood of two fits."""
    scratch, grown, base_fit, stack_fit = fits
    first = d_star_estimate(*drawn, 1e11)
    second = d_star_estimate(
        laws_of(base_fit, scratch, 300, seed=1), laws_of(stack_fit, grown, 300, seed=2), 1e11
    )
    assert (first.method, second.method) == ("covariance", "bootstrap")

    def log_d_star(base: dict[str, np.ndarray], stack: dict[str, np.ndarray]) -> np.ndarray:
        return np.log(d_star_draws(Law("chinchilla", base), Law("joint", stack), 1e11))

    profile = interval_of([scratch, grown], [base_fit, stack_fit], log_d_star, arrays=True)
    assert profile.lower is not None
    assert profile.upper is not None
    width = profile.upper - profile.lower
    for one in (first, second):
        assert math.log(one.upper / one.lower) == pytest.approx(width, rel=0.35)
        assert math.log(one.lower) == pytest.approx(profile.lower, abs=0.3 * width)


def test_other_derived_numbers_cover_the_truth(drawn: tuple[Draws, Draws]) -> None:
    base, stack = drawn
    exponent = alpha_eff_estimate(stack, 1e10)
    assert exponent.lower < 0.119 - 0.003 * math.log(1e10) < exponent.upper
    truth = saving(BASE, STACK, d1=1e12, d2=1e11, n=3.5e9, growth_factor=2)
    found = saving_estimate(base, stack, d1=1e12, d2=1e11, n=3.5e9, growth_factor=2)
    for name, number in found.items():
        assert number.lower < getattr(truth, name) < number.upper, name
    assert found["saved_tokens"].value == pytest.approx(found["scratch_tokens"].value - 1e11)
    late = catch_up_estimate(base, stack, d1=1e13, n=3.5e9, growth_factor=2)
    assert late.lower < 1.1418e14 < late.upper


def test_band_and_delta_method_agree_with_the_profile(fits: tuple[Points, Points, Fit, Fit]) -> None:
    _, grown, _, fit = fits
    at = {"d1": 1e10, "d2": 2e10, "n": 3e8}
    profile = interval_of(grown, fit, lambda c: float(np.log(fit.law.predict(c, **at))))
    assert profile.lower is not None
    assert profile.upper is not None
    low, high = delta_interval(fit, **at)
    width = profile.upper - profile.lower
    assert math.log(high / low) == pytest.approx(width, rel=0.15)
    band = loss_band(laws_of(fit, grown, 400), d2=[2e10, 1e12], d1=1e10, n=3e8)
    assert math.log(band["upper"][0] / band["lower"][0]) == pytest.approx(width, rel=0.3)
    assert math.log(band["upper"][1] / band["lower"][1]) > math.log(band["upper"][0] / band["lower"][0])
    assert band["loss_nats"].tolist() == pytest.approx(
        fit.predict(d1=1e10, d2=[2e10, 1e12], n=3e8).tolist(), rel=1e-9
    )


def test_estimate_of_plain_draws() -> None:
    one = estimate(5.0, np.arange(1, 101), level=0.9)
    assert (one.lower, one.upper) == (5.0, 95.0)
    some = estimate(1.0, [1.0, 2.0, np.nan, 3.0])
    assert some.exists_share == 0.75
    few = estimate(1.0, [1.0, np.nan, np.nan])
    assert math.isnan(few.lower)
    endless = estimate(math.inf, [1.0, 2.0, *[math.inf] * 98])
    assert endless.upper == math.inf
    with pytest.raises(ValueError, match="level"):
        estimate(1.0, [1.0], level=95)


def test_mistakes_are_named(fits: tuple[Points, Points, Fit, Fit], drawn: tuple[Draws, Draws]) -> None:
    with pytest.raises(ValueError, match="draws: 1"):
        draw_laws(fits[3], 1)
    with pytest.raises(ValueError, match="draw the same number"):
        d_star_estimate(draw_laws(fits[2], 10), drawn[1], 1e11)
    refits = bootstrap(fits[0], "chinchilla", 10, fit=fits[2])
    draws = bootstrap_laws(fits[2], refits)
    assert draws.size == 10
    assert draws.at(3).coefficients["beta"] == refits[3][list(fits[2].law.coefficients).index("beta")]
