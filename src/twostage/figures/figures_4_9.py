"""Figures 4 (left) and 9: measured against predicted loss, with the held-out lowest losses marked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from twostage.analysis.joint_fit import SizesFit
from twostage.analysis.sources import Sources
from twostage.figures.style import INK, Drawing, d1_palette, format_tokens, new_figure
from twostage.laws.curves import extrapolation_table
from twostage.study import Study

HELD_OUT_COLOUR = "#e6550d"
MANY = 8  # entries of a legend that would reach the points, and is made smaller
_COLUMNS = {"loss_nats", "predicted_nats", "held_out"}


def draw(table: pd.DataFrame, title: str) -> tuple[Figure, pd.DataFrame]:
    """Draw measured against predicted loss, and the relative errors below.

    Args:
        table: rows of `laws.curves.extrapolation_table`; if there is a column `n`, fitted points are coloured by size.
        title: title of the figure.

    Returns:
        The figure and the plotted numbers, which are the table itself.

    Raises:
        ValueError: a column is missing, or no point was held out.
    """
    missing = _COLUMNS - set(table.columns)
    if missing:
        raise ValueError(
            f"table: column {sorted(missing)[0]!r} is missing; build it with laws.curves.extrapolation_table"
        )
    held_out = table["held_out"].astype(bool)
    if not held_out.any():
        raise ValueError("table: no row has held_out = True; hold out at least one point")
    figure, axes = new_figure(2, 1, height=4.2, width=3.6, sharex=True, height_ratios=[3, 1])
    top, bottom = axes[:, 0]
    fitted = table[~held_out]
    sizes = sorted(fitted["n"].unique()) if "n" in table else []
    colours = d1_palette(sizes)
    groups: list[tuple[Any, str, pd.DataFrame]] = [
        (colours[n], f"N = {format_tokens(n)}", fitted[fitted["n"] == n]) for n in sizes
    ] or [(INK, "fitted", fitted)]
    handles = []
    relative = 100 * (table["predicted_nats"] / table["loss_nats"] - 1)
    for colour, label, rows in groups:
        top.scatter(rows["predicted_nats"], rows["loss_nats"], s=13, color=colour, alpha=0.85, linewidths=0)
        bottom.scatter(
            rows["predicted_nats"], relative[rows.index], s=9, color=colour, alpha=0.85, linewidths=0
        )
        handles.append(Line2D([], [], marker="o", linestyle="", color=colour, label=label))
    unseen = table[held_out]
    style = {"marker": "D", "color": HELD_OUT_COLOUR, "edgecolors": "white", "linewidths": 0.4, "zorder": 4}
    top.scatter(unseen["predicted_nats"], unseen["loss_nats"], s=24, **style)
    bottom.scatter(unseen["predicted_nats"], relative[unseen.index], s=18, **style)
    share = 100 * held_out.mean()
    handles.append(
        Line2D(
            [],
            [],
            marker="D",
            linestyle="",
            color=HELD_OUT_COLOUR,
            label=f"held out: lowest {share:.0f} %",
        )
    )
    both = table[["loss_nats", "predicted_nats"]].to_numpy()
    margin = 0.03 * np.ptp(both)
    ends = np.array([both.min() - margin, both.max() + margin])
    top.plot(ends, ends, color=INK, linewidth=0.8, linestyle="--", zorder=1)
    bottom.axhline(0, color=INK, linewidth=0.8, linestyle="--", zorder=1)
    top.set(xlim=ends, ylim=ends, ylabel="measured loss (nats/token)", title=title)
    limit = 1.25 * max(abs(relative).max(), 1e-6)
    bottom.set(xlabel="predicted loss (nats/token)", ylabel="error (%)", ylim=(-limit, limit))
    errors = (unseen["predicted_nats"] - unseen["loss_nats"]).to_numpy()
    rms = float(np.sqrt(np.mean(errors**2)))
    top.text(
        0.97, 0.04, f"held-out RMS error {rms:.2g} nats", transform=top.transAxes, ha="right", fontsize=7.5
    )
    many = {"fontsize": 6, "labelspacing": 0.2} if len(handles) > MANY else {}
    top.legend(handles=handles, loc="upper left", **many)
    return figure, table


def draw_study(study: Study, sources: Sources) -> Drawing:
    """Draw a joint law of the study, with the lowest losses that it has not seen."""
    (joint,) = (SizesFit.from_json(text) for text in sources.texts())
    table = extrapolation_table(joint.points, joint.extrapolation)
    return Drawing(*draw(table, f"Joint scaling law: {joint.name}"))
