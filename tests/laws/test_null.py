"""A positive alpha3 alone is not evidence of saturation: losses without any give one too."""

from __future__ import annotations

import numpy as np
import pytest

from twostage.laws import Points, fit_law
from twostage.laws.selection import leave_one_out

#: Tokens of both stages of the 0.1B models in config/upcycling.yaml.
TOKENS = np.array([1.15e9, 1.73e9, 2.31e9, 4.61e9, 9.23e9])


def merged_losses(alpha: float) -> Points:
    """Eq. 6, (D1 + D2)^-alpha + E, from 3.2 nats down; there is nothing in it that saturates."""
    d1, d2 = (axis.ravel() for axis in np.meshgrid(TOKENS, TOKENS))
    return Points(loss=((d1 + d2) / TOKENS[0]) ** -alpha + 2.2, d1=d1, d2=d2)


@pytest.mark.parametrize("alpha", [0.3, 0.4, 0.5])
def test_losses_in_which_a_base_token_counts_like_any_other_give_a_positive_alpha3(alpha):
    """d2 ln(L - E) / dlnD1 dlnD2 = alpha D1 D2 / (D1 + D2)^2 > 0, and E moves to its bound."""
    coefficients = fit_law(merged_losses(alpha), "mul").coefficients
    assert 0.01 < coefficients["alpha3"] < 0.03
    assert coefficients["E"] == 0.0


def test_such_losses_rank_the_papers_forms_as_its_table_1_does():
    errors = {
        form: leave_one_out(merged_losses(0.4), form).rms_nats for form in ("mul", "mul0", "add", "hyb")
    }
    assert errors["mul"] < errors["mul0"] <= errors["hyb"] * 1.01
    assert errors["mul0"] < errors["add"]
