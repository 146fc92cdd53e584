"""Crossovers against the paper's facts, closed forms and SciPy."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq

from twostage.laws.crossover import (
    Law,
    alpha_eff,
    catch_up,
    d_star,
    d_star_draws,
    d_star_sensitivity,
    log_quadratic,
    log_quadratic_d_star,
    saturation_tokens,
    saving,
    scratch_tokens,
    upper_root,
)
from twostage.paper.published import published_exponents, published_joint_laws

TABLE_8 = published_joint_laws()
BASE, STACK = TABLE_8["Base (Slimpajama)"].law, TABLE_8["Stack"].law
CODE, CPT = TABLE_8["From-scratch (code)"].law, TABLE_8["CPT (code)"].law


@pytest.mark.parametrize(
    ("n", "trillions"), [(1e9, 77.6), (1e10, 40.0), (1e11, 11.9), (1e12, 2.72), (5.6e8, 79.9)]
)  # fact 1
def test_d_star_from_table_8(n: float, trillions: float) -> None:
    assert d_star(BASE, STACK, n).tokens / 1e12 == pytest.approx(trillions, rel=2e-3)


def test_d_star_at_100b_is_11_92_trillion_with_slope_minus_0_6() -> None:
    crossover = d_star(BASE, STACK, 1e11)
    assert round(crossover.tokens / 1e12, 2) == 11.92
    assert round(crossover.slope, 3) == -0.600
    assert crossover.beyond == "scratch"


def test_d_star_agrees_with_scipy_and_takes_the_upper_root() -> None:
    def gap(log_d: float) -> float:
        d = math.exp(log_d)
        grown = 33.394 * d**-0.087 * d ** (-0.119 + 0.003 * log_d) + 22.471 * 1e11**-0.173 + 0.041
        return 10.383 * d**-0.092 + 10.085 * 2e11**-0.105 + 0.041 - grown

    lower = math.exp(brentq(gap, math.log(1e5), math.log(1e8), xtol=1e-14))
    upper = math.exp(brentq(gap, math.log(1e12), math.log(1e15), xtol=1e-14))
    assert 1e6 < lower < 1e7  # the second, unphysical root of fact 1
    assert d_star(BASE, STACK, 1e11).tokens == pytest.approx(upper, rel=1e-10)


def test_d_star_is_not_monotone_in_n() -> None:
    sizes = np.geomspace(1e8, 1e10, 41)
    tokens = np.array([d_star(BASE, STACK, n).tokens for n in sizes])
    peak = sizes[np.argmax(tokens)]
    assert 5e8 < peak < 6.3e8
    assert tokens.max() / 1e12 == pytest.approx(79.9, abs=0.05)


def test_slope_is_the_derivative_of_d_star() -> None:
    step = 1e-3
    up, down = (d_star(BASE, STACK, 1e10 * math.exp(sign * step)).tokens for sign in (1, -1))
    assert d_star(BASE, STACK, 1e10).slope == pytest.approx(math.log(up / down) / (2 * step), rel=1e-5)


def test_quadratic_fit_gives_the_papers_analytic_form() -> None:
    d0, slope, curvature = log_quadratic(BASE, STACK)
    assert round(d0 / 1e12, 2) == 12.26
    assert round(slope, 3) == -0.589
    assert round(curvature, 3) == -0.038
    exact = d_star(BASE, STACK, 1e10).tokens
    assert float(log_quadratic_d_star(d0, slope, curvature, 1e10)) == pytest.approx(exact, rel=0.05)
    assert float(log_quadratic_d_star(13e12, -0.6, -0.04, 1e11)) == 13e12


def test_other_conventions_have_no_or_another_crossover() -> None:
    log10 = STACK.with_coefficients(alpha3=0.003 / math.log(10))
    for growth_factor in (1.0, 2.0):
        crossover = d_star(BASE, log10, 1e11, growth_factor=growth_factor)
        assert math.isnan(crossover.tokens)
        assert math.isnan(crossover.slope)
        assert crossover.beyond == "reuse"
    assert d_star(BASE, STACK, 1e11, growth_factor=1.0).tokens / 1e12 == pytest.approx(49.5, abs=0.05)


def test_d_star_hangs_on_the_digits_of_alpha3() -> None:  # fact 2
    sensitivity = d_star_sensitivity(BASE, STACK, 1e11)
    assert sensitivity["reused.alpha3"] == pytest.approx(-2.7e4, rel=0.02)
    assert max(sensitivity, key=lambda name: abs(sensitivity[name])) == "reused.alpha3"
    assert d_star(BASE, STACK.with_coefficients(alpha3=0.0029968), 1e11).tokens / 1e12 == pytest.approx(
        13.0, abs=0.02
    )
    assert d_star(BASE, STACK.with_coefficients(alpha3=0.0025), 1e11).tokens == pytest.approx(
        1.9e20, rel=0.01
    )
    assert math.isnan(d_star(BASE, STACK.with_coefficients(alpha3=0.0035), 1e11).tokens)


def test_sensitivity_predicts_a_small_change() -> None:
    change = 1e-7
    moved = d_star(BASE, STACK.with_coefficients(alpha3=0.003 + change), 1e11).tokens
    expected = d_star_sensitivity(BASE, STACK, 1e11)["reused.alpha3"] * change
    assert math.log(moved / d_star(BASE, STACK, 1e11).tokens) == pytest.approx(expected, rel=2e-3)


def test_rounding_box_of_table_8() -> None:  # fact 2, by seeded Monte Carlo
    generator = np.random.default_rng(20251006)
    draws = np.concatenate(
        [
            d_star_draws(
                TABLE_8["Base (Slimpajama)"].rounding_box(2000, generator),
                TABLE_8["Stack"].rounding_box(2000, generator),
                1e11,
            )
            for _ in range(4)
        ]
    )
    assert np.isfinite(draws).mean() == pytest.approx(0.79, abs=0.015)
    low, high = np.nanquantile(draws, [0.025, 0.975]) / 1e12
    assert 0.002 < low < 0.008  # 0.004T
    assert 5e7 < high < 1.5e8  # 9e7T


def test_many_draws_equal_one_by_one() -> None:
    generator = np.random.default_rng(1)
    boxes = (
        TABLE_8["Base (Slimpajama)"].rounding_box(8, generator),
        TABLE_8["Stack"].rounding_box(8, generator),
    )
    together = d_star_draws(*boxes, 1e11)
    for i, expected in enumerate(together):
        one = [
            Law(box.form, {name: float(np.asarray(value)[i, 0]) for name, value in box.coefficients.items()})
            for box in boxes
        ]
        assert d_star(*one, 1e11).tokens == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_cpt_code_claim_of_300b_does_not_reproduce() -> None:  # fact 4
    assert round(float(CODE.loss(3e11, n=7e9)), 3) == 0.652
    assert round(float(CPT.loss(3e11, d1=1e13, n=7e9)), 3) == 0.511
    d2 = np.geomspace(1e9, 1e20, 500)
    assert np.all(CODE.loss(d2, n=7e9) > CPT.loss(d2, d1=1e13, n=7e9))
    assert math.isnan(catch_up(CODE, CPT, d1=1e13, n=7e9))
    # It would need half a unit more than the largest alpha3 that rounds to the printed one.
    needed = brentq(
        lambda a: float(CODE.loss(3e11, n=7e9) - CPT.with_coefficients(alpha3=a).loss(3e11, d1=1e13, n=7e9)),
        5e-4,
        3e-3,
    )
    assert round(needed, 5) == 0.00151
    assert catch_up(CODE, CPT.with_coefficients(alpha3=needed), d1=1e13, n=7e9) == pytest.approx(
        3e11, rel=1e-8
    )


def test_cpt_code_claim_in_the_rounding_box() -> None:
    generator = np.random.default_rng(4)
    code, cpt = (
        TABLE_8[name].rounding_box(100_000, generator) for name in ("From-scratch (code)", "CPT (code)")
    )
    wins = code.loss(3e11, n=7e9) < cpt.loss(3e11, d1=1e13, n=7e9)
    assert wins.mean() == pytest.approx(0.0035, abs=0.0008)


def test_alpha_eff_signs_of_table_7() -> None:  # fact 5
    rows = {name: row.values for name, row in published_exponents().items()}
    assert saturation_tokens(rows["Stack"]) / 1e9 == pytest.approx(0.87, abs=0.005)
    assert saturation_tokens(rows["CPT (math)"]) / 1e9 == pytest.approx(8.2, abs=0.05)
    assert float(alpha_eff(rows["Stack"], 0.88e9)) < 0 < float(alpha_eff(rows["Stack"], 0.86e9))
    inside_the_grid = {name for name, row in rows.items() if saturation_tokens(row) < 9.23e9}
    assert inside_the_grid == {"Stack", "CPT (math)"}


def test_a_change_of_unit_shifts_alpha1_and_alpha2_by_alpha3_ln_u() -> None:  # fact 5
    unit = 1e9
    a3 = 0.017
    raw = Law("mul", {"A": 20.0, "alpha1": 0.515, "alpha2": 0.35, "alpha3": a3, "E": 1.0})
    a1, a2 = 0.515 - a3 * math.log(unit), 0.35 - a3 * math.log(unit)
    scale = 20.0 * unit ** (-0.515 - 0.35 + a3 * math.log(unit))
    billions = Law("mul", {"A": scale, "alpha1": a1, "alpha2": a2, "alpha3": a3, "E": 1.0})
    d1, d2 = np.array([1e9, 7e9]), np.array([2e9, 5e9])
    assert raw.loss(d2, d1=d1) == pytest.approx(billions.loss(d2 / unit, d1=d1 / unit), rel=1e-12)


def test_identity_below_eq_4() -> None:
    """Fact 7: D1^-a1 D2^(-a2 + a3 log D1) = D1^(-a1 + a3 log D2) D2^-a2, not with -a2 twice as printed."""
    a1, a2, a3, d1, d2 = 0.1, 0.15, 0.004, 3e9, 8e9
    left = d1**-a1 * d2 ** (-a2 + a3 * math.log(d1))
    assert left == pytest.approx(d1 ** (-a1 + a3 * math.log(d2)) * d2**-a2, rel=1e-13)
    assert abs(left / (d1 ** (-a2 + a3 * math.log(d2)) * d2**-a2) - 1) > 0.1


def test_alpha_eff_of_the_other_forms() -> None:
    d1 = np.array([1e9, 1e12])
    assert alpha_eff({"alpha2": 0.2}, d1).tolist() == [0.2, 0.2]
    tree = {"alpha2": 0.4, "kappa": 0.05}
    assert alpha_eff(tree, d1) == pytest.approx(0.4 / (1 + 0.05 * np.log(d1)))
    assert saturation_tokens(tree) == math.inf
    assert saturation_tokens({"alpha2": 0.1, "alpha3": -0.01}) == math.inf


def test_scratch_tokens_invert_the_law() -> None:
    d, n = np.geomspace(1e8, 1e14, 13), 7e9
    assert scratch_tokens(BASE, BASE.loss(d, n=n), n) == pytest.approx(d, rel=1e-9)
    power = Law("power", {"A": 12.0, "alpha": 0.11, "E": 1.3})
    assert scratch_tokens(power, power.loss(d), None) == pytest.approx(d, rel=1e-9)
    assert scratch_tokens(power, [1.3, 1.2], None).tolist() == [math.inf, math.inf]
    with pytest.raises(ValueError, match="one-stage"):
        scratch_tokens(STACK, 2.0, n)
    with pytest.raises(ValueError, match="number of parameters"):
        scratch_tokens(BASE, 2.0, None)
    with pytest.raises(ValueError, match="positive to invert"):
        scratch_tokens(Law("power", {"A": 12.0, "alpha": -0.1, "E": 1.3}), 2.0, None)


def test_at_d_star_reuse_saves_nothing() -> None:
    tokens = d_star(BASE, STACK, 1e11).tokens
    at = saving(BASE, STACK, d1=tokens, d2=tokens, n=1e11, growth_factor=2)
    assert at.scratch_tokens == pytest.approx(tokens, rel=1e-9)
    assert at.share_of_sunk_cost == pytest.approx(0, abs=1e-9)
    below = saving(BASE, STACK, d1=tokens / 4, d2=tokens / 4, n=1e11, growth_factor=2)
    above = saving(BASE, STACK, d1=tokens * 4, d2=tokens * 4, n=1e11, growth_factor=2)
    assert below.share_of_sunk_cost > 0 > above.share_of_sunk_cost
    assert below.saved_tokens == pytest.approx(below.scratch_tokens - tokens / 4)


def test_the_papers_example_of_a_saving_is_the_sunk_cost_once() -> None:
    """Section 5.3: 2T sunk + 0.4T; 2.4T from scratch; "an effective saving of 2T tokens"."""
    reused = Law("mul0", {"A": 2.4e12**-0.1, "alpha1": 0.0, "alpha2": 0.0, "E": 0.0})
    scratch = Law("power", {"A": 1.0, "alpha": 0.1, "E": 0.0})
    result = saving(scratch, reused, d1=2e12, d2=0.4e12, n=None)
    assert result.scratch_tokens == pytest.approx(2.4e12, rel=1e-9)
    assert result.saved_tokens == pytest.approx(2e12, rel=1e-9)
    assert result.share_of_sunk_cost == pytest.approx(1.0, rel=1e-9)


def test_catch_up_of_two_power_laws_is_exact() -> None:
    scratch = Law("power", {"A": 100.0, "alpha": 0.2, "E": 1.0})
    reused = Law("mul", {"A": 10.0, "alpha1": 0.0, "alpha2": 0.1, "alpha3": 0.0, "E": 1.0})
    assert catch_up(scratch, reused, d1=1e9, n=None) == pytest.approx(
        10 ** (1 / 0.1), rel=1e-12
    )  # (A/A')^(1/(a-a'))
    crossover = d_star(scratch, reused, None, growth_factor=1)
    assert crossover.tokens == pytest.approx(1e10, rel=1e-12)
    assert math.isnan(crossover.slope)  # no size term


def test_upper_root_of_a_polynomial_in_ln_d() -> None:
    roots = np.log([1e6, 1e9, 1e13])
    found = upper_root(lambda d: -np.prod([np.log(d) - r for r in roots], axis=0))
    assert found == pytest.approx([1e13], rel=1e-10)
    assert np.isnan(upper_root(lambda d: np.ones_like(d)))
    assert np.isnan(
        upper_root(lambda d: np.log(d) - 20)
    )  # from reuse-is-worse to reuse-is-better: not a crossover


def test_growth_factor_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="growth_factor"):
        d_star(BASE, STACK, 1e9, growth_factor=0.5)


def test_no_crossover_is_said_where_a_curve_is_asked_for() -> None:
    never = STACK.with_coefficients(alpha3=0.0)
    with pytest.raises(ValueError, match="no crossover at N = 1e"):
        log_quadratic(BASE, never)
    with pytest.raises(ValueError, match="no crossover"):
        d_star_sensitivity(BASE, never, 1e11)
