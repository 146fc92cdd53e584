"""The unified law of Appendix D.3: recovered where it is true, visibly bad where two laws made the data."""

import numpy as np
import pytest

from twostage.laws.crossover import Law
from twostage.laws.unified import fit_unified, unified_loss

D1, D2 = (x.ravel() for x in np.meshgrid(np.geomspace(5e8, 8e9, 5), np.geomspace(5e8, 8e9, 5), indexing="ij"))
AXIS = np.geomspace(5e8, 8e9, 5)
ZEROS = np.zeros(5)
ALL_D1, ALL_D2 = np.concatenate([D1, AXIS, ZEROS]), np.concatenate([D2, ZEROS, AXIS])


def test_recovers_a_law_that_is_unified() -> None:
    truth = Law("mul", {"A": 8.0, "alpha1": 0.02, "alpha2": 0.06, "alpha3": 0.0009, "E": 1.1})
    loss = truth.loss(ALL_D2 + 1, d1=ALL_D1 + 1)
    result = fit_unified(loss, ALL_D1, ALL_D2)
    assert result.fit.coefficients["alpha3"] == pytest.approx(0.0009, rel=1e-4)
    assert result.residuals["error_nats"].abs().max() < 1e-8
    assert result.summary["unified_rms_nats"].max() < 1e-8
    assert unified_loss(result.fit, np.array([0.0]), np.array([1e9])) == pytest.approx(
        8 * (1e9 + 1) ** -0.06 + 1.1, rel=1e-6
    )


def test_two_stages_of_table_8_do_not_fit_one_law() -> None:
    """The joint laws of Table 8 for code, at 0.1B: separate fits are exact, the unified one is not (as D.3 says)."""
    cpt = Law(
        "mul",
        {
            "A": 15.062,
            "alpha1": 0.048,
            "alpha2": 0.126,
            "alpha3": 0.001,
            "E": 0.105 + 27.234 * 98.3e6**-0.238,
        },
    )
    base = Law("power", {"A": 12.0, "alpha": 0.092, "E": 1.2})
    code = Law("power", {"A": 8.143, "alpha": 0.113, "E": 0.105 + 27.286 * 98.3e6**-0.234})
    loss = np.concatenate([cpt.loss(D2, d1=D1), base.loss(AXIS), code.loss(AXIS)])
    result = fit_unified(loss, ALL_D1, ALL_D2)
    assert result.summary["group"].tolist() == ["base", "from scratch", "reused"]
    assert result.summary["n_points"].tolist() == [5, 5, 25]
    assert result.summary["separate_form"].tolist() == ["power", "power", "mul"]
    assert (result.summary["separate_rms_nats"] < 1e-6).all()
    overall = np.sqrt(np.mean(result.residuals["error_nats"] ** 2))
    assert overall > 0.01  # ten times the leave-one-out errors of Tables 1 and 2
    assert set(result.separate_fits) == {"base", "from scratch", "reused"}


def test_with_sizes_it_is_the_joint_law() -> None:
    sizes = np.repeat([1e7, 1e8, 1e9], ALL_D1.size)
    d1, d2 = np.tile(ALL_D1, 3), np.tile(ALL_D2, 3)
    truth = Law(
        "joint",
        {"A": 8.0, "alpha1": 0.02, "alpha2": 0.06, "alpha3": 0.0009, "B": 20.0, "beta": 0.2, "E": 0.5},
    )
    result = fit_unified(truth.loss(d2 + 1, d1=d1 + 1, n=sizes), d1, d2, sizes)
    assert result.fit.form == "joint"
    assert result.residuals["error_nats"].abs().max() < 1e-7
    assert result.summary["separate_form"].tolist() == ["chinchilla", "chinchilla", "joint"]
    assert "n" in result.residuals


def test_bad_rows_are_named() -> None:
    loss = np.full(ALL_D1.size, 2.0)
    d1 = ALL_D1.copy()
    d1[3] = -1
    with pytest.raises(ValueError, match=r"row 4, column 'd1'"):
        fit_unified(loss, d1, ALL_D2)
    d1[3], d2 = 0, ALL_D2.copy()
    d2[3] = 0
    with pytest.raises(ValueError, match=r"row 4: D1 = D2 = 0"):
        fit_unified(loss, d1, d2)
    with pytest.raises(ValueError, match="no row has both"):
        fit_unified(loss[25:], ALL_D1[25:], ALL_D2[25:])
    with pytest.raises(ValueError, match="no row has D1 = 0 or D2 = 0"):
        fit_unified(loss[:25], D1, D2)


def test_a_group_too_small_for_its_own_law_is_nan() -> None:
    keep = np.r_[0:25, 25:27]
    truth = Law("mul", {"A": 8.0, "alpha1": 0.02, "alpha2": 0.06, "alpha3": 0.0009, "E": 1.1})
    loss = truth.loss(ALL_D2 + 1, d1=ALL_D1 + 1)
    result = fit_unified(loss[keep], ALL_D1[keep], ALL_D2[keep])
    assert np.isnan(result.summary.set_index("group")["separate_rms_nats"]["base"])
    assert "base" not in result.separate_fits
