"""Figure 4 (right): D*(N), the number of tokens beyond which training from scratch beats model growth (Eq. 8)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from twostage.figures.notes import add_note
from twostage.figures.style import format_tokens, new_figure

NUMERICAL_COLOUR, ANALYTIC_COLOUR = "#2c6fbb", "#c0392b"  # blue and red, as in the paper


def draw(
    table: pd.DataFrame,
    *,
    method: str = "stacking",
    analytic_label: str = "analytic approximation",
    note: str = "",
) -> tuple[Figure, pd.DataFrame]:
    """Draw the numerical solution with its band and the analytic approximation.

    Args:
        table: rows of `laws.curves.d_star_curve`.
        method: growth method, for the title.
        analytic_label: legend entry of the approximation.
        note: source of the laws, printed below the panel.

    Returns:
        The figure and the plotted numbers.

    Raises:
        ValueError: there is no D* at any size.
    """
    known = table[np.isfinite(table["d_star_tokens"])].sort_values("n_base")
    if known.empty:
        raise ValueError("table: d_star_tokens has no finite value, so there is no curve to draw")
    figure, axes = new_figure(1, 1, height=3.2, width=4.2)
    panel = axes[0, 0]
    n, tokens = known["n_base"], known["d_star_tokens"]
    panel.plot(n, tokens, color=NUMERICAL_COLOUR, label="numerical solution of Eq. 8", zorder=3)
    band = known[np.isfinite(known["lower"]) & np.isfinite(known["upper"])]
    if not band.empty:
        panel.fill_between(
            band["n_base"],
            band["lower"],
            band["upper"],
            color=NUMERICAL_COLOUR,
            alpha=0.2,
            linewidth=0,
            label="95 % interval",
        )
    analytic = known[np.isfinite(known["analytic_tokens"])]
    if not analytic.empty:
        panel.plot(
            analytic["n_base"],
            analytic["analytic_tokens"],
            "--",
            color=ANALYTIC_COLOUR,
            label=analytic_label,
            zorder=2,
        )
    panel.set(
        xscale="log",
        yscale="log",
        xlabel="parameters before growth, N",
        ylabel="tokens, D*  (D1 = D2 = D*)",
        title=f"Growth ({method}) or from scratch?",
    )
    low = float(min(tokens.min(), analytic["analytic_tokens"].min() if not analytic.empty else np.inf))
    high = float(max(tokens.max(), analytic["analytic_tokens"].max() if not analytic.empty else 0))
    panel.set_ylim(low / 3, high * 8)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: format_tokens(value)))
    panel.text(
        0.96, 0.93, "from scratch better", transform=panel.transAxes, ha="right", va="top", style="italic"
    )
    panel.text(0.04, 0.36, "growth better", transform=panel.transAxes, style="italic")
    panel.legend(loc="lower left")
    add_note(figure, note)
    return figure, known
