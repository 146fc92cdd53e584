"""Compute-optimal allocation: the closed form against numerical minimisation and the paper's exponents."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from twostage.laws.allocation import compute_exponents, optimal_allocation
from twostage.laws.crossover import Law, alpha_eff
from twostage.paper.published import published_joint_laws

TABLE_8 = published_joint_laws()
STACK, CPT, BASE = (TABLE_8[name].law for name in ("Stack", "CPT (code)", "Base (Slimpajama)"))


@pytest.mark.parametrize("law", [STACK, CPT, BASE], ids=["stack", "cpt", "chinchilla"])
@pytest.mark.parametrize("compute", [1e19, 1e22, 1e25])
@pytest.mark.parametrize("growth_factor", [1.0, 2.0])
def test_closed_form_is_the_numerical_minimum(law: Law, compute: float, growth_factor: float) -> None:
    d1 = None if law is BASE else 3e11
    best = optimal_allocation(law, compute_flops=compute, d1_tokens=d1, growth_factor=growth_factor)

    def loss(log_d2: float) -> float:
        d2 = math.exp(log_d2)
        return float(law.loss(d2, d1=d1, n=compute / (6 * growth_factor * d2)))

    centre = math.log(best.d2_tokens)
    found = minimize_scalar(loss, bounds=(centre - 6, centre + 6), method="bounded", options={"xatol": 1e-10})
    assert found.x == pytest.approx(
        centre, abs=1e-5
    )  # a minimum is known to the root of machine precision only
    assert best.loss_nats == pytest.approx(found.fun, rel=1e-12)
    assert 6 * best.n_final * best.d2_tokens == pytest.approx(compute, rel=1e-12)
    assert best.n_final == pytest.approx(growth_factor * best.n_base)
    assert best.d2_exponent + best.n_exponent == pytest.approx(1.0)


def test_exponents_of_eq_9() -> None:  # fact 6
    assert round(compute_exponents(STACK, d1_tokens=1e9)[0], 3) == 0.753
    assert round(compute_exponents(STACK, d1_tokens=1e13)[0], 3) == 0.856
    assert round(compute_exponents(CPT, d1_tokens=1e9)[0], 3) == 0.693
    assert round(compute_exponents(CPT, d1_tokens=1e13)[0], 3) == 0.712


def test_exponents_are_the_slopes_of_the_optimum() -> None:
    low, high = (
        optimal_allocation(STACK, compute_flops=c, d1_tokens=1e12, growth_factor=2) for c in (1e22, 1e24)
    )
    assert math.log(high.d2_tokens / low.d2_tokens) / math.log(100) == pytest.approx(
        low.d2_exponent, rel=1e-10
    )
    assert math.log(high.n_base / low.n_base) / math.log(100) == pytest.approx(low.n_exponent, rel=1e-10)


def test_last_line_of_e1_needs_brackets() -> None:
    """Fact 6: N grows as D2^((alpha2 - alpha3 log D1)/beta), read with brackets."""
    d1 = 1e12
    low, high = (
        optimal_allocation(STACK, compute_flops=c, d1_tokens=d1, growth_factor=2) for c in (1e22, 1e24)
    )
    measured = math.log(high.n_base / low.n_base) / math.log(high.d2_tokens / low.d2_tokens)
    c = STACK.coefficients
    assert measured == pytest.approx(float(alpha_eff(c, d1)) / c["beta"], rel=1e-10)
    assert abs(measured - (c["alpha2"] - c["alpha3"] * math.log(d1) / c["beta"])) > 0.1


def test_a_longer_trained_base_wants_more_tokens() -> None:
    shares = [compute_exponents(STACK, d1_tokens=d1)[0] for d1 in np.geomspace(1e9, 1e14, 6)]
    assert np.all(np.diff(shares) > 0)


def test_no_optimum_is_an_error_that_says_why() -> None:
    with pytest.raises(ValueError, match="do not lower the loss of this base"):
        compute_exponents(STACK, d1_tokens=2e17)  # alpha_eff < 0 above exp(0.119 / 0.003)
    with pytest.raises(ValueError, match="parameters do not lower"):
        compute_exponents(STACK.with_coefficients(beta=-0.1), d1_tokens=1e9)
    with pytest.raises(ValueError, match="size term"):
        compute_exponents(
            Law("mul", {"A": 1.0, "alpha1": 0.1, "alpha2": 0.1, "alpha3": 0.0, "E": 1.0}), d1_tokens=1e9
        )
    with pytest.raises(ValueError, match="d1_tokens"):
        compute_exponents(STACK)
    with pytest.raises(ValueError, match="compute_flops"):
        optimal_allocation(STACK, compute_flops=-1.0, d1_tokens=1e9)
    with pytest.raises(ValueError, match="scale of the size term"):
        optimal_allocation(STACK.with_coefficients(B=0.0), compute_flops=1e20, d1_tokens=1e9)
