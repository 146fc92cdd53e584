"""Tables of the numbers in Figures 4, 9, 10 and 11, computed from laws or fits; one row per plotted value.

The figures only draw these tables. Bands come from `consequences.Draws`; without draws (published
coefficients have no covariance) they are NaN, and no band is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from twostage.laws.consequences import Draws, d_star_estimate, loss_band
from twostage.laws.crossover import Law, catch_up, d_star, log_quadratic, log_quadratic_d_star, scratch_tokens
from twostage.laws.points import Points
from twostage.laws.selection import ExtrapolationResult

DEFAULT_SIZES = np.geomspace(1e8, 1e12, 81)  # parameters before growth, Figure 4 (right)
DEFAULT_D1 = (1e11, 3e11, 1e12, 3e12, 1e13)  # sunk costs, Figures 10 and 11
DEFAULT_TOKENS = np.geomspace(1e10, 1e15, 101)


def _law(law: Law | Draws) -> Law:
    return law.point if isinstance(law, Draws) else law


def d_star_curve(
    scratch: Law | Draws,
    reused: Law | Draws,
    *,
    sizes: Sequence[float] | np.ndarray = DEFAULT_SIZES,
    growth_factor: float = 2.0,
    analytic: tuple[float, float, float] | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """D*(N) of Eq. 8, numerically and in the paper's analytic form (Figure 4, right).

    Args:
        scratch, reused: laws, or draws of them for a band.
        sizes: parameters before growth.
        growth_factor: parameters after / before growth.
        analytic: (D0, slope, curvature) around 1e11; None fits them to the numerical curve over 1e9 to 1e12.

    Returns:
        Columns n_base, d_star_tokens, lower, upper, exists_share, analytic_tokens; NaN where nothing crosses.
    """
    if analytic is None:
        try:
            analytic = log_quadratic(_law(scratch), _law(reused), growth_factor=growth_factor)
        except ValueError:
            analytic = (
                float("nan"),
            ) * 3  # no crossover somewhere in 1e9 .. 1e12: there is no such approximation
    rows = []
    for n in np.asarray(sizes, dtype=np.float64):
        row = {"n_base": n, "lower": np.nan, "upper": np.nan, "exists_share": np.nan}
        if isinstance(scratch, Draws) and isinstance(reused, Draws):
            one = d_star_estimate(scratch, reused, n, growth_factor=growth_factor, level=level)
            row |= {
                "d_star_tokens": one.value,
                "lower": one.lower,
                "upper": one.upper,
                "exists_share": one.exists_share,
            }
        else:
            row["d_star_tokens"] = d_star(_law(scratch), _law(reused), n, growth_factor=growth_factor).tokens
        rows.append(row)
    frame = pd.DataFrame(rows)
    frame["analytic_tokens"] = log_quadratic_d_star(*analytic, frame["n_base"])
    return frame[["n_base", "d_star_tokens", "lower", "upper", "exists_share", "analytic_tokens"]]


def catch_up_curves(
    scratch: Law | Draws,
    reused: Law | Draws,
    *,
    n_base: float | None,
    growth_factor: float = 1.0,
    d1_tokens: Sequence[float] = DEFAULT_D1,
    tokens: Sequence[float] | np.ndarray = DEFAULT_TOKENS,
    level: float = 0.95,
) -> pd.DataFrame:
    """Loss against tokens from scratch and for several sunk costs, and what from-scratch training needs to catch up.

    Args:
        n_base: parameters before growth; the model from scratch has growth_factor * n_base.
        d1_tokens: sunk costs.
        tokens: second-stage tokens, and tokens of the model from scratch.

    Returns:
        One row per curve and number of tokens: d1_tokens (0: from scratch), d2_tokens, loss_nats, lower, upper,
        scratch_tokens (from scratch to the same loss; infinite where none suffice), catch_up_tokens (where the two loss
        curves cross; NaN where they do not).
    """
    d2 = np.asarray(tokens, dtype=np.float64)
    n_final = None if n_base is None else growth_factor * n_base

    def rows(law: Law | Draws, d1: float, n: float | None) -> pd.DataFrame:
        start = d1 if d1 else None
        if isinstance(law, Draws):
            frame = loss_band(law, d2=d2, d1=start, n=n, level=level)
        else:
            frame = pd.DataFrame({"loss_nats": law.loss(d2, d1=start, n=n), "lower": np.nan, "upper": np.nan})
        frame.insert(0, "d1_tokens", d1)
        frame.insert(1, "d2_tokens", d2)
        return frame

    parts = [rows(scratch, 0.0, n_final).assign(scratch_tokens=d2, catch_up_tokens=np.nan)]
    for d1 in d1_tokens:
        part = rows(reused, float(d1), n_base)
        part["scratch_tokens"] = scratch_tokens(_law(scratch), part["loss_nats"].to_numpy(), n_final)
        part["catch_up_tokens"] = catch_up(
            _law(scratch), _law(reused), d1=float(d1), n=n_base, growth_factor=growth_factor
        )
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def extrapolation_table(points: Points, result: ExtrapolationResult) -> pd.DataFrame:
    """Measured and predicted losses of `selection.extrapolation_test` (Figures 4 left and 9).

    Returns:
        One row per point: n, d1_tokens, d2_tokens (those the points have), loss_nats, predicted_nats, held_out (bool).
    """
    names = {"n": "n", "d1": "d1_tokens", "d2": "d2_tokens"}
    columns = {names[name]: values for name, values in points.variables().items()}
    predicted = result.fit.predict(**points.variables_for(result.fit.law.variables))
    return pd.DataFrame(
        {name: columns[name] for name in names.values() if name in columns}
        | {
            "loss_nats": points.loss,
            "predicted_nats": predicted,
            "held_out": np.asarray(result.held_out, bool),
        }
    )
