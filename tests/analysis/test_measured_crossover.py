"""Measured crossings: known crossings are found, none is extrapolated, noise comes from seeds, and controls have the right size."""

from __future__ import annotations

import numpy as np
import pytest
from crossover_cells import D1, D2, GROWN, N, mul, power, reuse_rows, scratch_rows, table, true_crossing
from scipy.stats import norm

from twostage.analysis.crossover_fits import describe, fit_pair
from twostage.analysis.measured_crossover import (
    BACK,
    CROSSES,
    REUSE,
    SCRATCH_BETTER,
    TOO_FEW,
    Differences,
    MeasuredCurve,
    compare,
    crossing_tokens,
    find_crossing,
)
from twostage.common.errors import UserError

A = np.array


# Crossings ------------------------------------------------------------------------------------------------------------


def test_a_crossing_is_exact_where_losses_are_linear_in_ln_d2():
    """reuse = 4 - 0.3 x, scratch = 6 - 0.45 x with x = ln D2: they are equal at x = 2 / 0.15."""
    d2 = tuple(int(d) for d in np.geomspace(2e5, 3.2e6, 5))
    cells = table(
        reuse_rows(lambda a, b: 4 - 0.3 * np.log(b), d2=d2),
        scratch_rows(lambda b: 6 - 0.45 * np.log(b), d2=d2),
    )
    one = compare(cells, "stack", "33k")
    assert (one.scratch_model, one.reason) == ("33k-2N", "")
    for d1 in D1:
        found = find_crossing(one.differences(d1))
        assert found.outcome == CROSSES
        assert found.tokens == pytest.approx(np.exp(2 / 0.15), rel=1e-9)


@pytest.mark.parametrize("d1", D1)
def test_a_known_crossing_of_curved_laws_is_found_within_interpolation_error(d1):
    errors = []
    for points in (
        5,
        9,
    ):  # steps of 2, then of sqrt(2): the error of linear interpolation is quadratic in the step
        d2 = np.geomspace(2e5, 3.2e6, points).round().astype(int).tolist()
        cells = table(reuse_rows(mul, d2=d2), scratch_rows(power, d2=d2))
        found = find_crossing(compare(cells, "stack", "33k").differences(d1))
        assert found.outcome == CROSSES
        errors.append(abs(np.log(found.tokens / true_crossing(d1))))
    assert errors[0] < 0.07
    assert errors[1] < max(errors[0] / 2, 0.005)


def test_larger_d1_crosses_later():
    one = compare(table(reuse_rows(mul), scratch_rows(power)), "stack", "33k")
    tokens = [find_crossing(one.differences(d1)).tokens for d1 in D1]
    assert tokens == sorted(tokens)


@pytest.mark.parametrize(
    ("shift", "outcome"),
    [(lambda b: 0.1, SCRATCH_BETTER), (lambda b: -0.1, REUSE), (lambda b: 0.3 - 0.2 * np.log(b / 2e5), BACK)],
)
def test_curves_that_do_not_cross_have_no_crossing(shift, outcome):
    cells = table(
        reuse_rows(lambda a, b: power(b) + shift(b), seeds=(0, 1), noise=1e-3),
        scratch_rows(power, seeds=(0, 1), noise=1e-3),
    )
    found = find_crossing(compare(cells, "stack", "33k").differences(D1[0]))
    assert (found.outcome, found.tokens) == (outcome, None)
    assert found.p_inside == 0
    end = 0.0 if outcome == SCRATCH_BETTER else np.inf
    assert (found.lower, found.upper) == (end, end)
    assert (found.p_before, found.p_beyond) == ((1, 0) if outcome == SCRATCH_BETTER else (0, 1))


def test_of_several_changes_of_sign_the_last_counts_and_ties_go_to_scratch():
    d2 = np.exp(A([1.0, 2.0, 3.0, 4.0]))
    rows = A(
        [
            [-1.0, 1.0, -1.0, 3.0],  # up, down, up again: 3.25
            [-1.0, 0.0, 1.0, 1.0],  # zero at a measured point: 2
            [-2.0, -1.0, -1.0, 0.0],  # zero at the last point: 4
            [0.0, 0.0, 0.0, 0.0],
            [1.0, 1.0, -1e-9, -1.0],
            [1.0, -3.0, 1.0, 1.0],  # down and up: 2.75
        ]
    )
    found = crossing_tokens(d2, rows)
    assert np.log(found[[0, 1, 2, 5]]) == pytest.approx([3.25, 2, 4, 2.75])
    assert found[3:5].tolist() == [0.0, np.inf]


def test_one_common_d2_has_no_crossing():
    cells = table(reuse_rows(mul, d2=[400_000]), scratch_rows(power))
    row = compare(cells, "stack", "33k").differences(D1[0])
    assert row.d2.tolist() == [400_000]
    assert find_crossing(row).outcome == TOO_FEW


def test_only_common_d2_are_compared():
    cells = table(
        reuse_rows(mul, d2=[200_000, 500_000, 1_600_000]), scratch_rows(power, d2=[*D2[1:], 500_000])
    )
    row = compare(cells, "stack", "33k").differences(D1[1])
    assert row.d2.tolist() == [500_000, 1_600_000]
    assert row.nats == pytest.approx([mul(D1[1], d) - power(d) for d in row.d2])


# Noise ----------------------------------------------------------------------------------------------------------------


def test_ragged_seeds_are_averaged_and_weigh_by_their_number():
    """Two cells have several seeds: 3.0, 3.2 and 2.0, 2.1, 2.3; all others have one."""
    cells = table(
        reuse_rows(lambda a, b: 3.0, d1=[D1[0]], d2=D2[:2]),
        reuse_rows(lambda a, b: 3.2, d1=[D1[0]], d2=D2[:1], seeds=[1]),
        scratch_rows(lambda b: 2.0, d2=D2[:2]),
        scratch_rows(lambda b: 2.1, d2=D2[1:2], seeds=[1]),
        scratch_rows(lambda b: 2.3, d2=D2[1:2], seeds=[2]),
    )
    one = compare(cells, "stack", "33k")
    squares = 2 * 0.1**2 + sum((x - 6.4 / 3) ** 2 for x in (2.0, 2.1, 2.3))
    sd = np.sqrt(squares / 3)  # 1 + 2 degrees of freedom
    assert one.noise is not None
    assert (one.noise.sd_nats, one.noise.degrees_of_freedom) == (pytest.approx(sd), 3)
    assert one.noise_from == "these cells"
    row = one.differences(D1[0])
    assert row.nats == pytest.approx([3.1 - 2.0, 3.0 - 6.4 / 3])
    assert row.se == pytest.approx([sd * np.sqrt(1 / 2 + 1), sd * np.sqrt(1 + 1 / 3)])


def test_noise_comes_from_all_cells_if_these_have_one_seed():
    cells = table(
        reuse_rows(mul), scratch_rows(power), reuse_rows(mul, method="cpt-code", seeds=(0, 1), noise=0.02)
    )
    one = compare(cells, "stack", "33k")
    assert one.noise_from == "all cells of the table"
    assert one.noise is not None
    assert one.noise.degrees_of_freedom == len(D1) * len(D2)
    assert one.noise.sd_nats == pytest.approx(0.02, rel=0.6)


def test_one_seed_everywhere_gives_no_interval():
    one = compare(table(reuse_rows(mul), scratch_rows(power)), "stack", "33k")
    assert (one.noise, one.noise_from) == (None, "")
    row = one.differences(D1[0])
    assert row.se is None
    found = find_crossing(row)
    assert found.outcome == CROSSES
    assert (found.lower, found.upper, found.p_inside) == (None, None, None)


def test_probabilities_of_two_points_are_those_of_two_normal_numbers():
    row = Differences(A([1e5, 2e5]), A([-0.01, 0.02]), A([0.02, 0.015]))
    found = find_crossing(row)
    positive = norm.cdf([-0.01 / 0.02, 0.02 / 0.015])
    assert found.p_before == pytest.approx(positive.prod(), abs=0.012)
    assert found.p_beyond == pytest.approx(1 - positive[1], abs=0.012)
    assert found.p_inside == pytest.approx((1 - positive[0]) * positive[1], abs=0.012)
    assert found.p_before + found.p_inside + found.p_beyond == pytest.approx(1)
    assert (found.lower, found.upper) == (0.0, np.inf)  # 18 % of draws before, 9 % beyond: both ends are open


def test_intervals_have_their_nominal_coverage():
    d2 = np.geomspace(2e5, 3.2e6, 5)
    truth = 0.08 * np.log(d2 / 9e5)
    se = np.full(5, 0.01)
    random = np.random.default_rng(7)
    hits = 0
    for _ in range(300):
        found = find_crossing(Differences(d2, truth + se * random.standard_normal(5), se), draws=1000)
        assert found.lower is not None
        assert found.upper is not None
        hits += found.lower <= 9e5 <= found.upper
    assert 0.915 * 300 <= hits <= 0.99 * 300  # 95 %, three standard errors


def test_equal_input_gives_the_same_interval():
    row = Differences(A([1e5, 2e5, 4e5]), A([-0.03, 0.0, 0.02]), A([0.01, 0.01, 0.01]))
    assert find_crossing(row) == find_crossing(row)


# Controls -------------------------------------------------------------------------------------------------------------


def test_another_size_is_not_used():
    cells = table(reuse_rows(mul), scratch_rows(power, sizes={"33k": N, "74k": 73_968}))
    one = compare(cells, "stack", "33k")
    assert one.scratch_model == ""
    for word in ("'generic'", "within 1 %", "65,824", "33k (N = 32,928)", "74k (N = 73,968)"):
        assert word in one.reason
    assert all(one.differences(d1).d2.size == 0 for d1 in D1)


def test_another_corpus_is_not_used():
    cells = table(reuse_rows(mul, method="cpt-code"), scratch_rows(power, sizes={"33k": N}))
    assert "'code'" in compare(cells, "cpt-code", "33k").reason
    own = table(reuse_rows(mul, method="cpt-code"), scratch_rows(power, sizes={"33k": N}, corpus="code"))
    assert compare(own, "cpt-code", "33k").scratch_model == "33k"


def test_the_nearest_size_within_a_percent_is_taken():
    sizes = {"small": int(GROWN * 0.992), "near": int(GROWN * 1.002), "large": int(GROWN * 1.02)}
    cells = table(reuse_rows(mul), scratch_rows(power, sizes=sizes))
    assert compare(cells, "stack", "33k").scratch_model == "near"
    edge = {"below": int(GROWN * 0.9895)}
    assert compare(table(reuse_rows(mul), scratch_rows(power, sizes=edge)), "stack", "33k").reason


def test_excluded_cells_are_left_out():
    cells = table(reuse_rows(mul), scratch_rows(power))
    cells.loc[(cells["method"] == "scratch") & (cells["d2_tokens"] == D2[2]), "excluded"] = "a reason"
    row = compare(cells, "stack", "33k").differences(D1[0])
    assert row.d2.tolist() == [d for d in D2 if d != D2[2]]


def test_cells_that_do_not_belong_together_are_refused():
    cells = table(reuse_rows(mul), scratch_rows(power))
    cells.loc[0, "n_final"] = 7
    with pytest.raises(UserError, match=r"n_final \[.*7.*65824"):
        compare(cells, "stack", "33k")
    with pytest.raises(UserError, match="no cells of method 'expand'"):
        compare(cells, "expand", "33k")


# Curves ---------------------------------------------------------------------------------------------------------------

CURVE = MeasuredCurve(np.exp(A([1.0, 2.0, 4.0])), A([5.0, 4.0, 3.0]), A([1.0, 2.0, 4.0]))


def test_a_curve_is_linear_in_ln_d_between_points_and_ends_with_them():
    assert CURVE.at(np.exp(1.5)) == pytest.approx((4.5, 0.25 * 1 + 0.25 / 2))
    assert CURVE.at(np.exp(3.0)) == pytest.approx((3.5, 0.25 / 2 + 0.25 / 4))
    assert CURVE.at(float(CURVE.tokens[1])) == pytest.approx((4.0, 1 / 2))
    assert CURVE.at(float(CURVE.tokens[0])) == pytest.approx((5.0, 1.0))
    assert CURVE.at(1.01 * np.exp(4.0)) is None
    assert CURVE.at(0.99 * np.exp(1.0)) is None
    single = MeasuredCurve(A([10.0]), A([2.0]), A([3.0]))
    assert single.at(10.0) == pytest.approx((2.0, 1 / 3))
    assert single.at(11.0) is None


def test_tokens_to_a_loss():
    assert np.log(CURVE.tokens_to(4.25)) == pytest.approx(1.75)
    assert np.log(CURVE.tokens_to(3.0)) == pytest.approx(4.0)
    assert CURVE.tokens_to(2.99) == np.inf
    assert CURVE.tokens_to(5.01) == 0.0
    assert CURVE.tokens_to(5.0) == pytest.approx(np.exp(1.0))
    bumpy = MeasuredCurve(np.exp(A([1.0, 2.0, 3.0, 4.0])), A([5.0, 4.0, 4.5, 3.0]), np.ones(4))
    assert np.log(bumpy.tokens_to(4.2)) == pytest.approx(1.8)  # where the curve first reaches it


# Fitted laws ----------------------------------------------------------------------------------------------------------


def test_laws_of_the_same_cells_give_the_true_crossing():
    one = compare(table(reuse_rows(mul), scratch_rows(power)), "stack", "33k")
    fits = fit_pair(one, delta=1e-3, draws=20)
    assert not isinstance(fits, str)
    for d1 in D1:
        found = fits.from_d2(d1)
        assert found.value == pytest.approx(true_crossing(d1), rel=2e-3)
        assert describe(found.value, D2[0], D2[-1], fits.difference(d1, D2[-1])).endswith(
            "within the measured D2"
        )
    assert fits.difference(D1[0], 5e5) == pytest.approx(mul(D1[0], 5e5) - power(5e5), abs=1e-5)


def test_too_few_cells_for_laws_give_a_reason():
    cells = table(reuse_rows(mul, d1=D1[:2], d2=D2[:2]), scratch_rows(power))
    reason = fit_pair(compare(cells, "stack", "33k"), delta=1e-3)
    assert isinstance(reason, str)
    assert reason.startswith("not fitted: form 'mul' has 5 coefficients")


def test_laws_with_as_many_points_as_coefficients_have_no_interval():
    cells = table(reuse_rows(mul), scratch_rows(power, d2=D2[:3]))
    fits = fit_pair(compare(cells, "stack", "33k"), delta=1e-3)
    assert not isinstance(fits, str)
    found = fits.from_d2(D1[0])
    assert found.value == pytest.approx(true_crossing(D1[0]), rel=2e-2)
    assert np.isnan([found.lower, found.upper]).all()


@pytest.mark.parametrize(
    ("estimate", "last", "text"),
    [
        (np.nan, -0.1, "reuse better throughout"),
        (np.nan, 0.1, "scratch better throughout"),
        (50.0, 0.1, "before the measured D2"),
        (150.0, 0.1, "within the measured D2"),
        (250.0, -0.1, "beyond the measured D2"),
    ],
)
def test_crossings_of_laws_are_described_relative_to_the_measurements(estimate, last, text):
    assert describe(estimate, 100.0, 200.0, last) == f"laws: {text}"
