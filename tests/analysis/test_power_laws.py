"""Power laws in one token count, compared with SciPy, with lmfit's intervals and with the law behind the losses."""

from __future__ import annotations

import json

import lmfit
import numpy as np
import pytest
from results_tree import LAW, mul_loss
from scipy.optimize import minimize

from twostage.analysis.cells import method_cells, read_cells
from twostage.analysis.power_laws import PowerLaws, fit_power_laws, fit_trend
from twostage.common.errors import UserError
from twostage.laws.jsonio import dumps
from twostage.measured.bundled import data_set

TOKENS = 112_640 * 2.0 ** np.arange(5)


def grid(noise=0.0, seed=0, tokens=TOKENS):
    d1, d2 = (axis.ravel() for axis in np.meshgrid(tokens, tokens, indexing="ij"))
    random = np.random.default_rng(seed)
    return d1, d2, mul_loss(d1, d2) * np.exp(noise * random.normal(size=d1.size))


@pytest.fixture(scope="module")
def noisy():
    d1, d2, loss = grid(noise=0.002, seed=3)
    return d1, d2, loss, fit_power_laws(d2, d1, loss)


def test_exact_losses_give_the_law_back():
    """Eq. 2 restricted to one D1 is Eq. 1 with alpha = alpha2 - alpha3 ln D1 and factor A D1^-alpha1."""
    d1, d2, loss = grid()
    fit = fit_power_laws(d2, d1, loss)
    assert fit.groups == TOKENS.tolist()
    for curve in fit.curves:
        assert curve.alpha.value == pytest.approx(
            LAW["alpha2"] - LAW["alpha3"] * np.log(curve.group), abs=1e-6
        )
        log_factor = np.log(LAW["A"]) - LAW["alpha1"] * np.log(curve.group)
        assert curve.log_factor.value == pytest.approx(log_factor, abs=1e-5)
        assert curve.floor.value == pytest.approx(LAW["E"], abs=1e-5)
    assert fit.predict(TOKENS[1], TOKENS) == pytest.approx(mul_loss(TOKENS[1], TOKENS), rel=1e-8)


def test_trends_of_exact_losses_are_alpha3_and_alpha1():
    d1, d2, loss = grid(noise=1e-9)
    fit = fit_power_laws(d2, d1, loss)
    exponent, factor = fit.exponent_trend(), fit.factor_trend()
    assert exponent.slope.value == pytest.approx(LAW["alpha3"], rel=1e-4)
    assert exponent.intercept.value == pytest.approx(-LAW["alpha2"], rel=1e-4)
    assert -factor.slope.value == pytest.approx(LAW["alpha1"], rel=1e-4)


def test_other_direction_is_a_power_law_of_d1():
    """Eq. 2 is symmetric: at fixed D2 the exponent of D1 is alpha1 - alpha3 ln D2."""
    d1, d2, loss = grid()
    for curve in fit_power_laws(d1, d2, loss).curves:
        assert curve.alpha.value == pytest.approx(
            LAW["alpha1"] - LAW["alpha3"] * np.log(curve.group), abs=1e-6
        )


def test_optimum_is_scipys(noisy):
    d1, d2, loss, fit = noisy
    _, index = np.unique(d1, return_inverse=True)
    x = np.log(d2) - np.log(d2).mean()

    def cost(p):
        alpha, log_factor, floor = p[:5], p[5:10], p[10]
        return np.sum(np.log((np.exp(log_factor[index] - alpha[index] * x) + floor) / loss) ** 2)

    starts = [np.r_[np.full(5, 0.2), np.full(5, 1.0), floor] for floor in (0.5, 1.5, 2.5, 3.5)]
    bounds = [(None, None)] * 10 + [(0, loss.min() * 0.999)]
    best = min(
        (
            minimize(
                cost,
                s,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": 9000, "ftol": 1e-16, "gtol": 1e-12, "maxfun": 99999},
            )
            for s in starts
        ),
        key=lambda r: r.fun,
    )
    ours = np.array([[c.alpha.value, c.log_factor_centred.value] for c in fit.curves])
    assert cost(np.r_[ours[:, 0], ours[:, 1], fit.curves[0].floor.value]) <= best.fun * (1 + 1e-6)
    assert fit.sd_log == pytest.approx(np.sqrt(best.fun / (25 - 11)), rel=1e-4)


def test_intervals_are_lmfits_where_no_bound_is_near(noisy):
    """A single curve with its floor away from 0: lmfit's conf_interval is an independent implementation."""
    tokens = 112_640 * 2.0 ** np.arange(10)
    loss = mul_loss(TOKENS[0], tokens) * np.exp(1e-3 * np.random.default_rng(1).normal(size=10))
    fit = fit_power_laws(tokens, np.full(10, TOKENS[0]), loss)
    curve = fit.curves[0]
    x = np.log(tokens / fit.reference)

    def residual(p):
        return np.log((np.exp(p["b"] - p["alpha"] * x) + p["floor"]) / loss)

    start = lmfit.create_params(
        alpha=curve.alpha.value, b=curve.log_factor_centred.value, floor=curve.floor.value
    )
    minimizer = lmfit.Minimizer(residual, start)
    optimum = minimizer.minimize()
    theirs = lmfit.conf_interval(minimizer, optimum, sigmas=[0.95])
    for ours, name in ((curve.alpha, "alpha"), (curve.log_factor_centred, "b"), (curve.floor, "floor")):
        (_, low), (_, middle), (_, high) = theirs[name]
        assert ours.value == pytest.approx(middle, rel=1e-4)
        assert ours.standard_error == pytest.approx(optimum.params[name].stderr, rel=1e-2)
        assert ours.interval.lower == pytest.approx(low, abs=5e-3 * (high - low))
        assert ours.interval.upper == pytest.approx(high, abs=5e-3 * (high - low))


def test_raw_and_centred_factor_are_the_same_curve(noisy):
    *_, fit = noisy
    for curve in fit.curves:
        moved = curve.log_factor_centred.value + curve.alpha.value * np.log(fit.reference)
        assert curve.log_factor.value == pytest.approx(moved, rel=1e-12)
        assert curve.log_factor.interval.lower < curve.log_factor.value < curve.log_factor.interval.upper


def test_seeds_narrow_the_errors():
    d1, d2, loss = grid(noise=0.003, seed=1)
    more = [grid(noise=0.003, seed=s)[2] for s in range(8)]
    one = fit_power_laws(d2, d1, loss)
    eight = fit_power_laws(np.tile(d2, 8), np.tile(d1, 8), np.concatenate(more))
    assert eight.degrees_of_freedom == 8 * 25 - 11
    assert eight.sd_log == pytest.approx(0.003, rel=0.15)
    assert eight.curves[2].alpha.standard_error < 0.6 * one.curves[2].alpha.standard_error


def test_a_floor_at_zero_is_noted_and_does_not_reduce_the_error():
    d1, d2, loss = grid(noise=0.003, seed=0)
    fit = fit_power_laws(d2, d1, loss - LAW["E"])
    floor = fit.curves[0].floor
    assert floor.value < 0.05
    assert floor.interval.lower == 0.0
    assert "bound" in floor.interval.note
    truth = LAW["alpha2"] - LAW["alpha3"] * np.log(TOKENS[0])
    interval = fit.curves[0].alpha.interval
    assert interval.lower < truth < interval.upper


def test_own_floors_are_less_determined_than_a_shared_one(noisy):
    """The reason for a shared floor (our choice): separate floors make the errors of the exponents larger."""
    d1, d2, loss, shared = noisy
    own = fit_power_laws(d2, d1, loss, shared_floor=False)
    assert own.degrees_of_freedom == 25 - 15
    assert len({curve.floor.value for curve in own.curves}) == 5
    assert all(
        a.alpha.standard_error > b.alpha.standard_error
        for a, b in zip(own.curves, shared.curves, strict=True)
    )
    assert np.count_nonzero(own.covariance_alpha - np.diag(np.diag(own.covariance_alpha))) == 0
    assert np.all(np.corrcoef(shared.covariance_alpha) > 0)


def test_as_many_coefficients_as_points_has_no_errors():
    tokens = TOKENS[:3]
    fit = fit_power_laws(tokens, np.full(3, 1e5), mul_loss(1e5, tokens))
    curve = fit.curves[0]
    assert curve.alpha.value == pytest.approx(LAW["alpha2"] - LAW["alpha3"] * np.log(1e5), abs=1e-4)
    assert (curve.alpha.interval.lower, curve.alpha.interval.upper) == (None, None)
    assert "as many coefficients as points" in curve.alpha.interval.note
    assert np.isnan(curve.alpha.standard_error)
    with pytest.raises(UserError, match="trend needs"):
        fit.exponent_trend()


@pytest.mark.parametrize(
    ("tokens", "shared", "message"),
    [
        (TOKENS[:2], True, r"at least 3 token counts on one curve.*\[2, 2\]"),
        (TOKENS[:2], False, r"at least 3 token counts"),
    ],
)
def test_errors_state_how_many_cells_are_needed(tokens, shared, message):
    d1, d2, loss = grid(tokens=tokens)
    with pytest.raises(UserError, match=message):
        fit_power_laws(d2, d1, loss, shared_floor=shared)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_losses_must_be_positive_numbers(bad):
    d1, d2, loss = grid()
    loss[7] = bad
    with pytest.raises(UserError, match="loss: must be one positive finite number"):
        fit_power_laws(d2, d1, loss)


def test_json_round_trips_every_bit(noisy):
    *_, fit = noisy
    text = dumps(fit.to_dict())
    again = PowerLaws.from_dict(json.loads(text))
    assert dumps(again.to_dict()) == text
    assert again.curves == fit.curves


def test_order_of_points_does_not_matter(noisy):
    d1, d2, loss, fit = noisy
    order = np.random.default_rng(0).permutation(d1.size)
    again = fit_power_laws(d2[order], d1[order], loss[order])
    assert [c.alpha.value for c in again.curves] == pytest.approx(
        [c.alpha.value for c in fit.curves], rel=1e-6
    )


# Trends --------------------------------------------------------------------------------------------------------------


def test_trend_with_equal_errors_is_least_squares():
    tokens, y = TOKENS, np.array([-0.22, -0.21, -0.205, -0.19, -0.18])
    trend = fit_trend(tokens, y, np.eye(5) * 1e-4, dof=10)
    slope, intercept = np.polyfit(np.log(tokens), y, 1)
    assert trend.slope.value == pytest.approx(slope, rel=1e-10)
    assert trend.intercept.value == pytest.approx(intercept, rel=1e-10)
    x = np.log(tokens)
    assert trend.slope.standard_error == pytest.approx(1e-2 / np.sqrt(np.sum((x - x.mean()) ** 2)), rel=1e-10)


def test_common_error_moves_the_intercept_alone():
    """An error that all exponents share (that of the floor) does not change the error of the slope."""
    y = -0.4 + 0.015 * np.log(TOKENS)
    alone = fit_trend(TOKENS, y, np.eye(5) * 1e-6, dof=10)
    together = fit_trend(TOKENS, y, np.eye(5) * 1e-6 + np.ones((5, 5)) * 1e-2, dof=10)
    assert together.slope.standard_error == pytest.approx(alone.slope.standard_error, rel=1e-6)
    assert together.intercept.standard_error > 10 * alone.intercept.standard_error


def test_scatter_beyond_the_errors_widens_them():
    y = -0.4 + 0.015 * np.log(TOKENS) + 0.02 * np.array([1, -1, 1, -1, 1])
    trend = fit_trend(TOKENS, y, np.eye(5) * 1e-6, dof=10)
    assert trend.scatter > 10
    assert trend.slope.standard_error == pytest.approx(
        trend.scatter
        * fit_trend(TOKENS, -0.4 + 0.015 * np.log(TOKENS), np.eye(5) * 1e-6, dof=10).slope.standard_error
    )


@pytest.mark.slow
def test_intervals_of_gamma_cover():
    """Simulated grids of known alpha3: the 95 % interval of Eq. 5's slope covers it in about 95 % of them."""
    hits = 0
    runs = 60
    for seed in range(runs):
        d1, d2, loss = grid(noise=0.002, seed=100 + seed, tokens=TOKENS[:4])
        interval = fit_power_laws(d2, d1, loss).exponent_trend().slope.interval
        hits += interval.lower < LAW["alpha3"] < interval.upper
    # 95 % of 60 is 57; the two-sided 0.1 % range of that binomial is 50 to 60.
    assert hits >= 50


def test_a_flat_curve_with_its_own_floor_is_fitted():
    """A measured curve that falls by 1 % over 8x in D1: trial steps of the optimizer leave the range of a float."""
    cells = read_cells(data_set("upcycling").path)
    frame = method_cells(cells, "upcycle-4x-top1", "44M")
    columns = (frame[name] for name in ("d1_tokens", "d2_tokens", "loss_nats"))
    laws = fit_power_laws(*columns, shared_floor=False)
    assert len(laws.curves) == 5
    assert all(np.isfinite([curve.alpha.value, curve.floor.value]).all() for curve in laws.curves)
