"""Figure 4 (right): D*(N), the number of tokens beyond which training from scratch beats model growth (Eq. 8)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from twostage.analysis.sources import Sources
from twostage.figures.from_fits import LawPair
from twostage.figures.notes import add_note
from twostage.figures.style import Drawing, format_tokens, new_figure
from twostage.laws.crossover import d_star, log_quadratic, log_quadratic_d_star
from twostage.laws.curves import d_star_curve
from twostage.study import Study

SIZES = 41  # points of D*(N)
BEYOND = 1000.0  # D*(N) is drawn up to this multiple of the largest fitted N, as the paper does (1B -> 1T)
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


def draw_study(study: Study, sources: Sources) -> Drawing:
    """Draw D*(N) of the study's own laws."""
    pair = LawPair.read(sources)
    joint, factor = pair.joint, pair.joint.growth_factor
    low, high = joint.n_base_range
    sizes = np.geomspace(low, BEYOND * high, SIZES)
    table = d_star_curve(
        pair.scratch_draws,
        pair.reused_draws,
        sizes=sizes,
        growth_factor=factor,
        analytic=(float("nan"),) * 3,  # centred at 1e11, which only the paper's range holds; ours is below
    )
    note = pair.source()
    label = ""
    try:
        centre = float(np.sqrt(low * BEYOND * high))
        d0, slope, curvature = log_quadratic(
            pair.scratch_draws.point,
            pair.reused_draws.point,
            n_range=(low, BEYOND * high),
            n_centre=centre,
            growth_factor=factor,
        )
    except ValueError:  # no crossover at some size: there is no such approximation
        note += " The laws do not cross at every size, so there is no analytic approximation."
    else:
        table["analytic_tokens"] = log_quadratic_d_star(d0, slope, curvature, table["n_base"], centre)
        label = (
            f"{format_tokens(d0)} x$^{{{slope:.2g}{curvature:+.2g}\\,\\ln x}}$, x = N/{format_tokens(centre)}"
        )
    if not np.isfinite(table["d_star_tokens"]).any():
        return _no_crossing(pair, table, note)
    share = float(table["exists_share"].min())
    if share < 1:
        note += f" At some sizes only {share:.0%} of the refits have a D* at all; the band is over those."
    figure, numbers = draw(table, method=joint.name, analytic_label=label, note=note)
    _make_room(figure, numbers)
    return Drawing(figure, numbers)


def _make_room(figure: Figure, numbers: pd.DataFrame) -> None:
    """Set the y limits so that curve and band are above the legend. The band counts up to a factor of 1e4 from the curve."""
    tokens = numbers["d_star_tokens"].to_numpy()
    ends = [tokens, numbers["lower"].to_numpy(), numbers["upper"].to_numpy()]
    near = [np.clip(end, tokens / 1e4, tokens * 1e4)[np.isfinite(end)] for end in ends]
    low, high = np.log(np.concatenate(near).min()), np.log(np.concatenate(near).max())
    below, above = 0.45, 0.12  # shares of the axis
    span = max(high - low, 1.0) / (1 - below - above)
    figure.axes[0].set_ylim(np.exp(low - below * span), np.exp(high + above * span))


def _no_crossing(pair: LawPair, table: pd.DataFrame, note: str) -> Drawing:
    """Draw the text that there is no crossover: one side is better for every number of tokens."""
    n = float(table["n_base"].iloc[0])
    beyond = d_star(
        pair.scratch_draws.point, pair.reused_draws.point, n, growth_factor=pair.joint.growth_factor
    ).beyond
    better = "training from scratch" if beyond == "scratch" else f"growth ({pair.joint.name})"
    figure, axes = new_figure(1, 1, height=3.2, width=4.2)
    panel = axes[0, 0]
    ends = table["n_base"].iloc[[0, -1]]
    panel.set(xscale="log", xlim=tuple(ends), xlabel="parameters before growth, N", yticks=[])
    panel.set_title(f"Growth ({pair.joint.name}) or from scratch?")
    panel.text(
        0.5,
        0.5,
        f"no D* at any of these sizes:\nwith very many tokens {better} is better",
        transform=panel.transAxes,
        ha="center",
        va="center",
    )
    add_note(figure, note)
    return Drawing(figure, table)
