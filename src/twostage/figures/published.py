"""Figures 4 (right), 10 and 11 from the coefficients that the paper prints in Table 8, without any training.

The figures use the rounded coefficients. A note below each states where the result differs from the paper's text.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from twostage.figures import figure_4_right, figure_10, figure_11
from twostage.laws.crossover import catch_up
from twostage.laws.curves import catch_up_curves, d_star_curve
from twostage.paper.published import PUBLISHED_FOLDER, published_joint_laws, published_number

_SOURCE = "From the coefficients printed in Table 8 of arXiv 2510.06548v1, three decimals"
Drawing = tuple[Figure, pd.DataFrame]


def _figure_4_right(folder: Path) -> Drawing:
    laws = published_joint_laws(folder)
    keys = ("d_star_100b", "d_star_slope", "d_star_curvature")
    analytic = tuple(published_number(key, folder) for key in keys)
    table = d_star_curve(
        laws["Base (Slimpajama)"].law, laws["Stack"].law, analytic=(analytic[0], analytic[1], analytic[2])
    )
    label = r"paper: $13\,\mathrm{T}\,(N/10^{11})^{-0.6-0.04\,\ln(N/10^{11})}$"
    note = (
        f"{_SOURCE}.\nWithin the rounding of α3 alone, D* at 100B ranges from 2e20 tokens to “no crossover”,"
        " so the level of the curve is not determined."
    )
    return figure_4_right.draw(table, analytic_label=label, note=note)


def _figure_10(folder: Path) -> Drawing:
    laws = published_joint_laws(folder)
    n_final, factor = (
        published_number("figure_10_11_model", folder),
        published_number("growth_factor", folder),
    )
    table = catch_up_curves(
        laws["Base (Slimpajama)"].law, laws["Stack"].law, n_base=n_final / factor, growth_factor=factor
    )
    return figure_10.draw(table, n_final=n_final, note=f"{_SOURCE}. 7B after growth, 3.5B before.")


def _figure_11(folder: Path) -> Drawing:
    laws = published_joint_laws(folder)
    scratch, reused = laws["From-scratch (code)"].law, laws["CPT (code)"].law
    n, d1 = published_number("cpt_code_model", folder), published_number("cpt_code_d1", folder)
    crossing = catch_up(scratch, reused, d1=d1, n=n)
    found = (
        "from scratch never catches up"
        if crossing != crossing
        else f"from scratch catches up at {crossing:.3g} tokens"
    )
    note = (
        f"{_SOURCE}.\nAccording to the paper's text, training from scratch overtakes a 10T-token base after 300B tokens."
        f" With the printed coefficients {found}, so the claim is not reproduced."
    )
    return figure_11.draw(catch_up_curves(scratch, reused, n_base=n), n_final=n, note=note)


FIGURES: dict[str, Callable[[Path], Drawing]] = {
    "figure-4-right": _figure_4_right,
    "figure-10": _figure_10,
    "figure-11": _figure_11,
}


def draw_published(name: str, folder: Path = PUBLISHED_FOLDER) -> Drawing:
    """Draw one figure from the published tables in `folder`; returns the figure and the plotted numbers.

    Raises:
        ValueError: the figure has no such variant.
        FileNotFoundError: a published table is missing.
    """
    if name not in FIGURES:
        raise ValueError(
            f"figure {name!r} has no variant from published coefficients; there are {', '.join(FIGURES)}"
        )
    return FIGURES[name](folder)
