"""Fits: known coefficients come back, the optimum is an optimum for independent judges, and bad data are refused."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from grids import SIZES, TOKENS, TRUTHS, simulated
from hypothesis import given, settings
from hypothesis import strategies as st
from paper_procedure import fit_bfgs_multistart
from scipy.optimize import linprog, minimize
from scipy.special import huber as scipy_huber

from twostage.laws.fit import Fit, fit_law
from twostage.laws.forms import FORMS
from twostage.laws.points import Points

FAST = settings(max_examples=8, deadline=None)


def huber_objective(fit: Fit, points: Points) -> float:
    """The objective from SciPy's Huber and the raw coefficients: nothing of the solver in it."""
    predicted = fit.law.predict(fit.coefficients, **points.variables_for(fit.law.variables))
    return float(scipy_huber(fit.delta, np.log(predicted / points.loss)).sum())


@pytest.mark.parametrize("objective", ["huber", "lad"])
@pytest.mark.parametrize("truth", TRUTHS)
def test_exact_data_give_back_their_coefficients(truth: str, objective: str):
    form, coefficients = TRUTHS[truth]
    points = simulated(truth)
    fit = fit_law(points, form, objective=objective)
    assert np.abs(fit.residuals(points)).max() < 1e-10
    for name, value in coefficients.items():
        assert fit.coefficients[name] == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize("truth", TRUTHS)
def test_noisy_data_give_coefficients_within_their_errors(truth: str):
    form, coefficients = TRUTHS[truth]
    fit = fit_law(simulated(truth, noise=3e-5, seed=4), form)
    assert fit.certificate.certified
    for name, value in coefficients.items():
        assert abs(fit.coefficients[name] - value) < 5 * fit.standard_errors[name], name


def test_a_negative_interaction_is_found_negative():
    fit = fit_law(simulated("falling", noise=1e-3), "mul")
    assert fit.coefficients["alpha3"] < -0.002


@pytest.mark.parametrize("form", [name for name, law in FORMS.items() if "n" not in law.variables])
@pytest.mark.parametrize("truth", ["stack", "add"])
def test_the_objective_is_the_sum_of_huber_losses_and_nothing_nearby_is_lower(truth: str, form: str):
    """SciPy's Huber gives the same sum; Nelder-Mead in raw coordinates, started at the optimum, finds nothing lower."""
    points = simulated(truth, noise=1e-3)
    fit = fit_law(points, form)
    assert huber_objective(fit, points) == pytest.approx(fit.objective, rel=1e-9)
    scale = np.array([abs(v) if v else 0.01 for v in fit.coefficients.values()])

    def objective(x: np.ndarray) -> float:
        c = dict(zip(fit.coefficients, x * scale, strict=True))
        if any(c[name] < 0 for name in FORMS[form].scales) or c.get("kappa", 0.0) > 1e3:
            return np.inf
        predicted = FORMS[form].predict(c, **points.variables_for(FORMS[form].variables))
        return float(scipy_huber(1e-3, np.log(predicted / points.loss)).sum())

    start = np.array(list(fit.coefficients.values())) / scale
    simplex = start + np.vstack([np.zeros(start.size), 1e-4 * np.eye(start.size)])
    found = minimize(
        objective, start, method="Nelder-Mead", options={"initial_simplex": simplex, "maxfev": 2000}
    )
    assert found.fun >= fit.objective * (1 - 1e-9)


@pytest.mark.parametrize("form", ["mul", "mul0", "add", "hyb", "power", "merged"])
def test_least_absolute_deviation_satisfies_the_linear_programme(form: str):
    """Linearised at the optimum, the best step of the L1 problem with bounds (HiGHS) lowers nothing."""
    points = simulated("stack", noise=3e-3)
    fit = fit_law(points, form, objective="lad")
    assert fit.objective == pytest.approx(np.abs(fit.residuals(points)).sum(), rel=1e-12)
    law = fit.law
    response = law.response(law.logs(**points.variables_for(law.variables)), fit.centre)
    jacobian = response.evaluate(fit.theta[None]).jacobian[0]
    residual = response.log_predict(fit.theta[None])[0] - points.log_loss
    k, m = jacobian.shape
    unit = 1.0 / np.linalg.norm(jacobian, axis=1)  # the linearised problem is convex: any step may be tried
    matrix = np.block([[jacobian.T * unit, -np.eye(m)], [-jacobian.T * unit, -np.eye(m)]])
    low = [
        max(-1.0, -t / u) if i < response.n_terms else -1.0
        for i, (t, u) in enumerate(zip(fit.theta, unit, strict=True))
    ]
    bounds = [(lo, 1.0) for lo in low] + [(0, None)] * m
    scale = 1e4  # HiGHS has absolute tolerances
    best = linprog(
        np.r_[np.zeros(k), np.ones(m)],
        matrix,
        scale * np.r_[-residual, residual],
        bounds=[(lo * scale, hi * scale if hi is not None else None) for lo, hi in bounds],
        method="highs",
        options={"primal_feasibility_tolerance": 1e-9, "dual_feasibility_tolerance": 1e-9},
    )
    assert best.success
    assert best.fun / scale >= fit.objective * (1 - 1e-9)


def test_the_hybrid_form_is_never_worse_than_the_multiplicative_one_it_contains():
    for truth in ("stack", "cpt", "falling", "mul0", "add"):
        for seed in range(3):
            points = simulated(truth, noise=3e-3, seed=seed)
            inner, outer = fit_law(points, "mul0"), fit_law(points, "hyb")
            assert outer.objective <= inner.objective * (1 + 1e-12)


def test_the_papers_procedure_is_never_better_and_its_certificate_says_so():
    points = simulated("stack", noise=1e-3)
    exact, paper = fit_law(points, "mul"), fit_bfgs_multistart(points, "mul", starts=15, seed=0)
    assert paper.objective >= exact.objective * (1 - 1e-9)
    assert paper.certificate.starts == 15
    assert huber_objective(paper, points) == pytest.approx(paper.objective, rel=1e-6)
    with pytest.raises(ValueError, match="'tree' is not one"):
        fit_bfgs_multistart(points, "tree", starts=1)


def test_an_optimum_at_a_bound_is_reported():
    """Losses that fall to zero as a pure power law: E = 0."""
    points = simulated("stack")
    pure = points.with_loss(40.0 * points.d1**-0.05 * points.d2**-0.1 * np.exp(0.002 * np.sin(np.arange(25))))
    fit = fit_law(pure.with_loss(pure.loss - 0.02), "mul0")
    assert fit.coefficients["E"] == 0.0
    assert fit.certificate.bounds_hit == ("E",)
    assert any("E sits at its bound" in w for w in fit.warnings)
    assert fit.certificate.certified


@FAST
@given(factor=st.floats(1e-12, 1e3), seed=st.integers(0, 50))
def test_units_of_d_shift_the_coefficients_as_they_must(factor: float, seed: int):
    """D -> u D: alpha1 and alpha2 move by -alpha3 ln u, A by its exponential, alpha3, E and the objective stay."""
    points = simulated("cpt", noise=1e-3, seed=seed)
    scaled = Points(loss=points.loss, d1=points.d1 * factor, d2=points.d2 * factor)
    one, other = fit_law(points, "mul"), fit_law(scaled, "mul")
    shift = np.log(factor)
    a, b = one.coefficients, other.coefficients
    assert other.objective == pytest.approx(one.objective, rel=1e-8)
    assert b["alpha3"] == pytest.approx(a["alpha3"], rel=1e-4)
    assert b["E"] == pytest.approx(a["E"], rel=1e-4)
    assert b["alpha1"] == pytest.approx(a["alpha1"] + a["alpha3"] * shift, rel=1e-4, abs=1e-6)
    assert b["alpha2"] == pytest.approx(a["alpha2"] + a["alpha3"] * shift, rel=1e-4, abs=1e-6)
    np.testing.assert_allclose(
        other.predict(d1=scaled.d1, d2=scaled.d2), one.predict(d1=points.d1, d2=points.d2), rtol=1e-7
    )


@FAST
@given(factor=st.floats(1e-6, 1e3), form=st.sampled_from(["mul0", "add", "hyb", "merged", "power"]))
def test_other_forms_do_not_depend_on_the_unit_of_d(factor: float, form: str):
    points = simulated("hyb", noise=1e-3)
    scaled = Points(loss=points.loss, d1=points.d1 * factor, d2=points.d2 * factor)
    one, other = fit_law(points, form), fit_law(scaled, form)
    assert other.objective == pytest.approx(one.objective, rel=1e-8)
    for name in FORMS[form].exponents:
        assert other.coefficients[name] == pytest.approx(one.coefficients[name], rel=1e-4, abs=1e-6)


def test_the_saturating_form_does_depend_on_the_unit_of_d2():
    points = simulated("tree", noise=1e-3)
    scaled = Points(loss=points.loss, d1=points.d1, d2=points.d2 * 1e-3)
    assert fit_law(points, "tree").objective != pytest.approx(fit_law(scaled, "tree").objective, rel=1e-3)


@FAST
@given(order=st.permutations(range(25)), form=st.sampled_from(["mul", "add", "hyb", "tree"]))
def test_the_order_of_rows_does_not_matter(order: list[int], form: str):
    points = simulated("stack", noise=1e-3)
    one, other = fit_law(points, form), fit_law(points.subset(np.array(order)), form)
    assert other.objective == pytest.approx(one.objective, rel=1e-9)
    np.testing.assert_allclose(
        list(other.coefficients.values()), list(one.coefficients.values()), rtol=1e-3, atol=1e-6
    )


@FAST
@given(seed=st.integers(0, 1000), size=st.sampled_from(SIZES.tolist()))
def test_joint_with_one_size_is_mul(seed: int, size: float):
    points = simulated("stack", noise=1e-3, seed=seed)
    sized = Points(loss=points.loss, d1=points.d1, d2=points.d2, n=np.full(25, size))
    mul = fit_law(points, "mul")
    joint = fit_law(sized, "joint", allow_degenerate=True)
    assert joint.objective == pytest.approx(mul.objective, rel=1e-8)
    np.testing.assert_allclose(
        joint.predict(d1=points.d1, d2=points.d2, n=size), mul.predict(d1=points.d1, d2=points.d2), rtol=1e-6
    )
    assert any("B, beta and E are not identified" in w for w in joint.warnings)
    assert all(np.isnan(joint.standard_errors[name]) for name in ("B", "beta", "E"))


def test_joint_refuses_too_few_sizes():
    points = simulated("joint", noise=1e-3)
    two = points.subset(points.n <= SIZES[1])
    with pytest.raises(ValueError, match=r"at least 3 sizes over 4x in N.*1.5e\+07, 4.4e\+07"):
        fit_law(two, "joint")
    assert fit_law(two, "joint", allow_degenerate=True).certificate.starts > 1


def test_points_that_cannot_identify_a_form_are_refused():
    points = simulated("stack", noise=1e-3)
    with pytest.raises(ValueError, match=r"5 coefficients but there are only 4 points"):
        fit_law(points.subset(np.arange(4)), "mul")
    with pytest.raises(ValueError, match=r"all points have D1 = 5.77e\+08"):
        fit_law(simulated("stack", repeats=2).subset(np.isin(np.arange(50) % 25, np.arange(5))), "mul")
    with pytest.raises(ValueError, match=r"only 4 distinct cells"):
        fit_law(
            simulated("stack", noise=1e-3, repeats=3).subset(np.isin(np.arange(75) % 25, [0, 1, 5, 6])), "mul"
        )
    with pytest.raises(ValueError, match="have no 'n'"):
        fit_law(points, "joint")
    with pytest.raises(ValueError, match="'huber' or 'lad'"):
        fit_law(points, "mul", objective="l2")
    with pytest.raises(ValueError, match="must be positive"):
        fit_law(points, "mul", delta=0.0)


def test_a_fit_file_is_the_fit_to_the_last_bit():
    points = simulated("stack", noise=1e-3)
    fit = fit_law(points, "mul")
    data = json.loads(fit.to_json())
    assert data["log_base"] == "e"
    assert data["units"]["d1"] == "tokens"
    assert data["standard_errors_source"] == "covariance"
    assert f'"objective": {fit.objective:.17g}' in fit.to_json()
    back = Fit.from_json(fit.to_json())
    assert back.to_json() == fit.to_json()
    assert back.coefficients == fit.coefficients
    np.testing.assert_array_equal(back.covariance, fit.covariance)
    np.testing.assert_array_equal(back.predict(d1=TOKENS, d2=TOKENS), fit.predict(d1=TOKENS, d2=TOKENS))


def test_a_broken_fit_file_says_what_is_wrong():
    text = fit_law(simulated("power", noise=1e-3), "power").to_json()
    data = json.loads(text)
    del data["covariance"]
    with pytest.raises(ValueError, match="'covariance' is missing"):
        Fit.from_json(json.dumps(data))
    with pytest.raises(ValueError, match="not JSON: line"):
        Fit.from_json(text[:50])


@pytest.mark.parametrize("truth", ["stack", "joint"])
def test_the_covariance_is_that_of_repeated_experiments(truth: str):
    """Standard errors against the spread of 150 refits to fresh noise, where everything is well determined."""
    form = TRUTHS[truth][0]
    fits = [
        fit_law(simulated(truth, noise=1e-5, seed=s), form) for s in range(150 if truth == "stack" else 60)
    ]
    for name in FORMS[form].coefficients:
        spread = np.std([f.coefficients[name] for f in fits])
        typical = np.median([f.standard_errors[name] for f in fits])
        assert typical == pytest.approx(spread, rel=0.25), name


def test_fitting_imports_neither_torch_nor_pandas():
    code = (
        "import sys, numpy as np; from twostage.laws.fit import fit_law; from twostage.laws.points import Points;"
        "d = np.tile(1e9 * 2.0 ** np.arange(5), 5); e = np.repeat(1e9 * 2.0 ** np.arange(5), 5);"
        "fit_law(Points(loss=1 + 30 * d**-.1 * e**-.05, d1=d, d2=e), 'mul0');"
        "print(sorted({'torch', 'pandas', 'snakemake', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
