"""Fits of the toy model: exact recovery of synthetic laws; on simulated losses, the effect and a control without it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from drawn_text import assert_inside

from twostage.figures import figure_toy
from twostage.toy.fit import Theory, fit_toy
from twostage.toy.model import ToyModel, simulate

MODEL = ToyModel(
    base_branching=4, domain_branching=4, split_probability=0.25, base_ratio=0.9, domain_ratio=0.7, topics=50
)
D1, D2, SEEDS = [64, 1024, 16384], [4000, 16_000, 64_000, 256_000], [0, 1]


@pytest.fixture(scope="module")
def simulated():
    models = (MODEL, replace(MODEL, split_probability=0.0))
    tables = [simulate(model, D1, D2, SEEDS) for model in models]
    return tables, [fit_toy(table) for table in tables]


def made_up(exponent):
    """Losses with known exponents and branching 4 D1^0.07."""
    rng = np.random.default_rng(0)
    cells = [(s, d1, d2) for s in range(3) for d1 in (1e3, 1e4, 1e5, 1e6) for d2 in (1e4, 1e5, 1e6, 1e7)]
    table = pd.DataFrame(cells, columns=["seed", "d1_samples", "d2_samples"])
    noise = np.exp(1e-4 * rng.standard_normal((2, len(table))))
    table["loss"] = (
        table["d1_samples"] ** -0.05 * table["d2_samples"] ** -exponent(table["d1_samples"]) * noise[0]
    )
    table["branching"] = 4 * table["d1_samples"] ** 0.07 * noise[1]
    return table


def test_the_theory_by_hand():
    theory = Theory.of(MODEL)
    assert theory.alpha == pytest.approx(np.log(1 / 0.7) / np.log(4))
    assert theory.delta == pytest.approx(np.log(1.25) / np.log(4))
    # after 4^10 samples ten levels are known, so a feature has 4 x 1.25^10 children
    assert theory.exponent(4**10) == pytest.approx(np.log(1 / 0.7) / np.log(4 * 1.25**10))
    # first order: value and slope of the curve at the point of expansion
    at, step = 5e4, 1e-5
    slope = (theory.exponent(at * np.exp(step)) - theory.exponent(at * np.exp(-step))) / (2 * step)
    assert theory.expansion(at, at) == pytest.approx(theory.exponent(at))
    assert (theory.expansion(2 * at, at) - theory.exponent(at)) / np.log(2) == pytest.approx(slope)


def test_synthetic_laws_are_recovered_and_distinguished():
    linear = fit_toy(made_up(lambda d1: 0.3 - 0.008 * np.log(d1)))
    assert linear.exponents.slope.value == pytest.approx(0.008, rel=0.01)
    assert linear.branching.slope.value == pytest.approx(0.07, rel=0.01)
    assert linear.forms["form"].iloc[0] == "mul"
    saturating = fit_toy(made_up(lambda d1: 0.3 / (1 + 0.08 * np.log(d1))))
    assert saturating.forms["form"].iloc[0] == "tree"


def test_the_simulated_exponent_decreases_with_d1_as_in_theory(simulated):
    _, (fit, _) = simulated
    theory = Theory.of(MODEL)
    lower = fit.exponents.slope.interval.lower
    assert lower is not None
    assert lower > 0
    assert fit.branching.slope.value == pytest.approx(theory.delta, rel=0.05)
    found = [curve.alpha.value for curve in fit.curves.curves]
    np.testing.assert_allclose(found, theory.exponent(D1), rtol=0.08)
    errors = fit.forms.set_index("form")["loo_rms_nats"]
    assert min(errors["tree"], errors["mul"]) < 0.7 * errors["mul0"]


def test_without_splitting_the_exponent_is_constant(simulated):
    (_, plain), (fit, control) = simulated
    interval = control.exponents.slope.interval
    assert interval.lower is not None
    assert interval.upper is not None
    assert interval.lower < 0 < interval.upper
    assert abs(control.exponents.slope.value) < 0.05 * fit.exponents.slope.value
    assert (plain["branching"] == 4).all()
    assert abs(control.branching.slope.value) < 1e-9


def test_one_seed_is_refused():
    with pytest.raises(ValueError, match="run further seeds"):
        fit_toy(simulate(MODEL, D1, D2[:3], [0]))


def test_the_figure_shows_what_was_simulated_and_fitted(simulated):
    (losses, _), (fit, control) = simulated
    figure, numbers = figure_toy.draw(losses, fit, control, Theory.of(MODEL))
    drawn = numbers[(numbers["panel"] == "loss") & (numbers["kind"] == "simulated")]
    means = losses.groupby(["d1_samples", "d2_samples"])["loss"].mean()
    found = drawn.set_index(["d1_samples", "d2_samples"])["value"].sort_index()
    np.testing.assert_array_equal(found, means)
    points = numbers[(numbers["panel"] == "exponent") & (numbers["kind"] == "splitting")]
    assert points["value"].tolist() == [-curve.alpha.value for curve in fit.curves.curves]
    forms = numbers[(numbers["panel"] == "form") & numbers["form"].notna()].set_index("form")["value"]
    assert forms.to_dict() == fit.forms.set_index("form")["loo_rms_nats"].to_dict()
    assert_inside(figure)
