"""Choosing a form: leave-one-out, criteria, extrapolation, noise floor."""

from __future__ import annotations

import numpy as np
import pytest
from grids import simulated

from twostage.laws.fit import fit_law
from twostage.laws.points import Points
from twostage.laws.selection import (
    ORIGINS,
    compare,
    extrapolation_errors,
    extrapolation_test,
    leave_one_out,
    leave_one_out_table,
    noise_floor,
)


@pytest.mark.parametrize("form", ["mul", "mul0", "add", "hyb"])
def test_each_fold_is_the_fit_without_that_cell(form: str):
    points = simulated("stack", noise=1e-3, seed=2)
    result = leave_one_out(points, form)
    assert result.certified.all()
    for cell in (0, 11, 24):
        rest = fit_law(points.subset(points.cell != cell), form)
        out = points.subset(points.cell == cell)
        error = rest.predict(d1=out.d1, d2=out.d2) - out.loss
        assert result.errors_nats[cell] == pytest.approx(error[0], rel=1e-4, abs=1e-8)
        assert result.fold_objectives[cell] == pytest.approx(rest.objective, rel=1e-8)
    assert result.rms_nats == pytest.approx(np.sqrt(np.mean(result.errors_nats**2)))


def test_a_cell_leaves_with_all_its_seeds():
    points = simulated("stack", noise=1e-3, repeats=3)
    result = leave_one_out(points, "mul")
    assert result.fold_cells.size == 25
    out = points.cell == 7
    assert out.sum() == 3
    rest = fit_law(points.subset(~out), "mul")
    expected = rest.predict(d1=points.d1[out], d2=points.d2[out]) - points.loss[out]
    np.testing.assert_allclose(result.errors_nats[out], expected, rtol=1e-4, atol=1e-8)


def test_the_true_form_wins():
    """Multiplicative truth, noise 1e-3: its error is the noise (facts: 2.9e-3 and 1.2e-3), the others' is the misfit."""
    for truth, wanted, wins in (("stack", 2.9, 10), ("cpt", 1.2, 5)):
        tables = [leave_one_out_table(simulated(truth, noise=1e-3, seed=s)) for s in range(10)]
        mean = {form: 1e3 * np.mean([t[form].rms_nats for t in tables]) for form in tables[0]}
        assert mean["mul"] == pytest.approx(wanted, rel=0.15)
        assert mean["mul"] < min(mean["mul0"], mean["hyb"]) < mean["add"]
        assert sum(min(t, key=lambda form: t[form].rms_nats) == "mul" for t in tables) >= wins


def test_nested_forms_keep_their_order_in_every_fold():
    table = leave_one_out_table(simulated("stack", noise=3e-3), ("hyb", "mul0"))
    assert list(table) == ["hyb", "mul0"]
    assert (table["hyb"].fold_objectives <= table["mul0"].fold_objectives * (1 + 1e-12)).all()


def test_the_comparison_is_sorted_and_complete():
    points = simulated("stack", noise=1e-3)
    frame = compare(points, ("add", "mul", "tree"))
    assert frame["form"].iloc[0] == "mul"
    assert frame["loo_rms_nats"].is_monotonic_increasing
    assert frame["certified"].all()
    fit = fit_law(points, "mul")
    row = frame.set_index("form").loc["mul"]
    errors = fit.predict(d1=points.d1, d2=points.d2) - points.loss
    assert row["rms_nats"] == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert row["objective"] == pytest.approx(fit.objective)
    variance = np.mean(fit.residuals(points) ** 2)
    assert row["aic"] == pytest.approx(25 * np.log(variance) + 12)
    assert row["bic"] == pytest.approx(25 * np.log(variance) + 6 * np.log(25))


def test_extrapolation_holds_out_the_lowest_losses():
    points = simulated("joint", noise=1e-3)
    result = extrapolation_test(points, "joint", share=0.1)
    assert result.held_out.sum() == 15
    assert points.loss[result.held_out].max() <= points.loss[~result.held_out].min()
    assert result.fit.n_points == 135
    unseen = points.subset(result.held_out)
    expected = result.fit.predict(d1=unseen.d1, d2=unseen.d2, n=unseen.n) - unseen.loss
    np.testing.assert_allclose(result.errors_nats, expected)
    assert result.rms_nats < 0.02
    with pytest.raises(ValueError, match="fraction between 0 and 1"):
        extrapolation_test(points, "joint", share=10)


def test_the_noise_floor_is_the_spread_between_seeds():
    floor = noise_floor(simulated("stack", noise=2e-3, repeats=20))
    assert floor.sd_log == pytest.approx(2e-3, rel=0.1)
    assert floor.n_cells == 25
    assert floor.degrees_of_freedom == 25 * 19
    two = Points(loss=np.array([2.0, 2.2, 3.0]), d2=np.array([1e9, 1e9, 2e9]), seed=np.array([0, 1, 0]))
    assert noise_floor(two).sd_nats == pytest.approx(np.std([2.0, 2.2], ddof=1))
    with pytest.raises(ValueError, match="no cell has more than one seed"):
        noise_floor(simulated("stack"))


def test_a_fold_with_too_few_points_is_refused():
    points = simulated("stack", noise=1e-3).subset(np.array([0, 6, 12, 18, 3]))
    with pytest.raises(ValueError, match="a fold has fewer points than coefficients"):
        leave_one_out(points, "mul")


def rms_without(points: Points, form: str, out: np.ndarray) -> np.ndarray:
    """Errors on the rows `out` (m,) bool of a fit to the others."""
    fit = fit_law(points.subset(~out), form)
    unseen = points.subset(out)
    return fit.predict(**unseen.variables_for(fit.law.variables)) - unseen.loss


@pytest.mark.parametrize("form", ["mul", "add"])
def test_extrapolation_leaves_out_the_longest_row_and_column(form: str):
    points = simulated("stack", noise=1e-3)
    out = (points.d1 == points.d1.max()) | (points.d2 == points.d2.max())
    found = extrapolation_errors(points, form)
    expected = np.sqrt(np.mean(rms_without(points, form, out) ** 2))
    assert found["extrapolation"] == pytest.approx(expected, rel=1e-3)
    assert "largest_size" not in found


def test_a_rolling_origin_predicts_dearer_cells_from_cheaper_ones():
    points = simulated("stack", noise=1e-3)
    cost = points.d1 + points.d2
    errors = []
    for share in ORIGINS:
        limit = np.sort(cost)[int(np.ceil(share * 25)) - 1]
        errors.append(rms_without(points, "mul0", cost > limit * (1 + 1e-9)))
    expected = np.sqrt(np.mean(np.concatenate(errors) ** 2))
    assert extrapolation_errors(points, "mul0")["rolling_origin"] == pytest.approx(expected, rel=1e-3)


def test_laws_over_sizes_are_asked_for_the_largest_size():
    points = simulated("joint", noise=1e-3)
    found = extrapolation_errors(points, "joint")
    expected = np.sqrt(np.mean(rms_without(points, "joint", points.n == points.n.max()) ** 2))
    assert found["largest_size"] == pytest.approx(expected, rel=1e-3)


def test_a_grid_that_is_too_small_has_no_extrapolation_error():
    points = simulated("stack", noise=1e-3)
    small = points.subset((points.d1 < 3e9) & (points.d2 < 3e9))
    assert np.isnan(extrapolation_errors(small, "mul")["extrapolation"])
    assert not np.isnan(compare(small, ("mul",))["loo_rms_nats"][0])
