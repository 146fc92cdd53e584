"""Figures 4 (right), 10 and 11 from the coefficients that the paper prints in Table 8, without any training.

The figures use the rounded coefficients. A note below each states where the result differs from the paper's text.
"""

from __future__ import annotations

from twostage.analysis.sources import Sources
from twostage.figures import figure_4_right, figures_10_11
from twostage.figures.style import Drawing
from twostage.laws.crossover import catch_up
from twostage.laws.curves import catch_up_curves, d_star_curve
from twostage.paper.published import published_joint_laws, published_number

_SOURCE = "From the coefficients printed in Table 8 of arXiv 2510.06548v1, three decimals"


def draw_figure_4_right(study: None, sources: Sources) -> Drawing:
    """Figure 4 (right); no study, no sources."""
    laws = published_joint_laws()
    keys = ("d_star_100b", "d_star_slope", "d_star_curvature")
    analytic = tuple(published_number(key) for key in keys)
    table = d_star_curve(
        laws["Base (Slimpajama)"].law, laws["Stack"].law, analytic=(analytic[0], analytic[1], analytic[2])
    )
    label = r"paper: $13\,\mathrm{T}\,(N/10^{11})^{-0.6-0.04\,\ln(N/10^{11})}$"
    note = (
        f"{_SOURCE}.\nWithin the rounding of α3 alone, D* at 100B ranges from 2e20 tokens to “no crossover”,"
        " so the level of the curve is not determined."
    )
    return Drawing(*figure_4_right.draw(table, analytic_label=label, note=note))


def draw_figure_10(study: None, sources: Sources) -> Drawing:
    """Figure 10; no study, no sources."""
    laws = published_joint_laws()
    n_final, factor = (
        published_number("figure_10_11_model"),
        published_number("growth_factor"),
    )
    table = catch_up_curves(
        laws["Base (Slimpajama)"].law, laws["Stack"].law, n_base=n_final / factor, growth_factor=factor
    )
    note = f"{_SOURCE}. 7B after growth, 3.5B before."
    return Drawing(
        *figures_10_11.draw(table, n_final=n_final, kind="Model growth", method="stacking", note=note)
    )


def draw_figure_11(study: None, sources: Sources) -> Drawing:
    """Figure 11; no study, no sources."""
    laws = published_joint_laws()
    scratch, reused = laws["From-scratch (code)"].law, laws["CPT (code)"].law
    n, d1 = published_number("cpt_code_model"), published_number("cpt_code_d1")
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
    table = catch_up_curves(scratch, reused, n_base=n)
    return Drawing(
        *figures_10_11.draw(table, n_final=n, kind="Continual pretraining", method="CPT on code", note=note)
    )
