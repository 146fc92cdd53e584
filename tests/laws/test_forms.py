"""Forms: the equations written out by hand, exact derivatives, and the two coordinate systems."""

from __future__ import annotations

import numpy as np
import pytest
from grids import EQUATIONS, SIZES, TOKENS, TRUTHS, simulated
from hypothesis import given, settings
from hypothesis import strategies as st

from twostage.laws.forms import FORMS, form_of
from twostage.laws.problem import Problem


def inputs(form: str) -> dict[str, np.ndarray]:
    points = simulated("joint")
    return {name: points.variable(name) for name in FORMS[form].variables}


def log_loss_by_hand(form: str, internal: np.ndarray, centre: dict[str, float]) -> np.ndarray:
    raw = FORMS[form].to_raw(internal, centre)
    given_inputs = dict.fromkeys(("d1", "d2", "n")) | inputs(form)
    return np.log(EQUATIONS[form](raw, **given_inputs))


def problem_of(form: str) -> tuple[Problem, np.ndarray]:
    """A problem on the joint grid and a point of its parameter space that is no optimum."""
    problem = Problem.of(simulated("joint", noise=0.05), FORMS[form])
    rng = np.random.default_rng(3)
    exponents = rng.uniform(-0.2, 0.3, problem.response.n_exponents)
    if form == "tree":
        exponents[2] = 0.02
    return problem, np.concatenate([rng.uniform(0.5, 2.0, problem.response.n_terms), exponents])


@pytest.mark.parametrize("form", FORMS)
def test_predictions_are_the_printed_equation(form: str):
    truth = next(c for f, c in TRUTHS.values() if f == form)
    given_inputs = dict.fromkeys(("d1", "d2", "n")) | inputs(form)
    expected = EQUATIONS[form](truth, **given_inputs)
    np.testing.assert_allclose(FORMS[form].predict(truth, **inputs(form)), expected, rtol=1e-13)
    assert set(truth) == set(FORMS[form].coefficients)


@pytest.mark.parametrize("form", FORMS)
def test_the_jacobian_is_exact(form: str):
    problem, theta = problem_of(form)
    jacobian = problem.response.evaluate(theta[None]).jacobian[0]
    for i in range(theta.size):
        moved = theta.astype(complex)
        moved[i] += 1e-30j
        expected = np.imag(log_loss_by_hand(form, moved, problem.centre)) / 1e-30
        np.testing.assert_allclose(jacobian[i], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_the_hessian_is_exact(form: str):
    """Against central differences of the exact Jacobian."""
    problem, theta = problem_of(form)
    slope = np.random.default_rng(0).standard_normal((1, problem.response.size))

    def gradient(at: np.ndarray) -> np.ndarray:
        return problem.response.evaluate(at[None]).jacobian[0] @ slope[0]

    at = problem.response.evaluate(theta[None])
    hessian = problem.response.curvature(at, slope)[0] - (at.jacobian[0] * slope) @ at.jacobian[0].T
    steps = 1e-5 * np.eye(theta.size)
    expected = np.array([(gradient(theta + s) - gradient(theta - s)) / 2e-5 for s in steps])
    np.testing.assert_allclose(hessian, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("form", FORMS)
def test_raw_and_centred_coordinates_are_inverse_to_each_other(form: str):
    problem, theta = problem_of(form)
    raw = {name: float(v) for name, v in FORMS[form].to_raw(theta, problem.centre).items()}
    np.testing.assert_allclose(FORMS[form].from_raw(raw, problem.centre), theta, rtol=1e-12)
    log_loss = problem.response.log_predict(theta[None])[0]
    np.testing.assert_allclose(np.log(FORMS[form].predict(raw, **inputs(form))), log_loss, rtol=1e-11)


@pytest.mark.parametrize("form", FORMS)
def test_the_raw_jacobian_is_that_of_to_raw(form: str):
    problem, theta = problem_of(form)
    law = FORMS[form]

    def raw(at: np.ndarray) -> np.ndarray:
        return np.array([law.to_raw(at, problem.centre)[name] for name in law.coefficients])

    steps = 1e-6 * np.eye(theta.size)
    expected = np.array([(raw(theta + s) - raw(theta - s)) / 2e-6 for s in steps]).T
    np.testing.assert_allclose(
        law.raw_jacobian(theta, problem.centre), expected, rtol=1e-5, atol=1e-8 * np.abs(expected).max()
    )


def test_the_interaction_can_be_read_both_ways():
    """D1^-a1 D2^(-a2 + a3 ln D1) = D1^(-a1 + a3 ln D2) D2^-a2: the identity after Eq. 4, corrected."""
    c = TRUTHS["stack"][1]
    d1, d2 = np.meshgrid(TOKENS, TOKENS)
    other = c["A"] * d1 ** (-c["alpha1"] + c["alpha3"] * np.log(d2)) * d2 ** -c["alpha2"] + c["E"]
    np.testing.assert_allclose(FORMS["mul"].predict(c, d1=d1, d2=d2), other, rtol=1e-13)


def test_inputs_broadcast():
    loss = FORMS["joint"].predict(TRUTHS["joint"][1], d1=TOKENS[:, None], d2=TOKENS, n=SIZES[0])
    assert loss.shape == (5, 5)


@settings(max_examples=30, deadline=None)
@given(
    shift=st.floats(-3, 3),
    exponents=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    scale=st.floats(0.1, 10),
    e=st.floats(0, 3),
)
def test_a_law_does_not_depend_on_the_centre(shift: float, exponents: tuple, scale: float, e: float):
    law, d1, d2 = FORMS["mul"], TOKENS, TOKENS[::-1]
    one, other = {"d1": 21.0, "d2": 22.0}, {"d1": 21.0 + shift, "d2": 22.0 - shift}
    internal = np.array([scale, e, *exponents])
    raw = {name: float(v) for name, v in law.to_raw(internal, one).items()}
    moved = law.from_raw(raw, other)
    losses = [
        np.exp(law.response(law.logs(d1=d1, d2=d2), centre).log_predict(theta[None])[0])
        for theta, centre in ((internal, one), (moved, other))
    ]
    np.testing.assert_allclose(*losses, rtol=1e-9)


def test_missing_or_bad_input_is_named():
    with pytest.raises(ValueError, match=r"unknown form 'cubic'.*mul0"):
        form_of("cubic")
    with pytest.raises(ValueError, match="'joint' needs n"):
        FORMS["joint"].predict(TRUTHS["joint"][1], d1=1e9, d2=1e9)
    with pytest.raises(ValueError, match="d2 must be positive"):
        FORMS["power"].predict(TRUTHS["power"][1], d2=0.0)
    with pytest.raises(ValueError, match="has the coefficients"):
        FORMS["power"].predict({"A": 1.0}, d2=1e9)
