"""Figures 3 and 8: losses against D1 for each D2, one panel per method, with power laws that share a floor (Condition 2).

Figure 3 shows the methods of Figure 1, Figure 8 the other methods. `draw` is pure.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from twostage.analysis.cells import method_cells
from twostage.analysis.method_fit import MethodFit
from twostage.figures.curve_panel import LEGEND_INCHES, draw_curves, draw_legend
from twostage.figures.style import TEXT_WIDTH_INCHES, apply_style, d2_palette

PANELS_PER_ROW = 2
PANEL_INCHES = 2.4
TITLE_CHARACTERS = 44  # per line of a panel's title
PANEL_CHARACTERS = 44  # of token labels, see style.token_axis
COLUMNS = ("method", "model", "kind", "d1_tokens", "d2_tokens", "seed", "value")


def draw(cells: pd.DataFrame, fits: Mapping[str, MethodFit]) -> tuple[Figure, pd.DataFrame]:
    """Draw one panel for each fit.

    Args:
        cells: as `cells.read_cells` returns them.
        fits: title of the panel -> fit of its method.

    Returns:
        The figure and the plotted numbers: kind (measured, fit) and value, in nats per token.
    """
    apply_style()
    columns = min(PANELS_PER_ROW, len(fits))
    lines = math.ceil(len(fits) / columns)
    figure = Figure(figsize=(TEXT_WIDTH_INCHES, PANEL_INCHES * lines + LEGEND_INCHES), layout="constrained")
    top, bottom = figure.subfigures(
        2, 1, squeeze=False, height_ratios=[PANEL_INCHES * lines, LEGEND_INCHES]
    ).flat
    grid = top.subplots(lines, columns, squeeze=False)
    frames = {title: method_cells(cells, fit.method, fit.model) for title, fit in fits.items()}
    palette = d2_palette(float(value) for frame in frames.values() for value in frame["d2_tokens"])
    rows: list[dict[str, Any]] = []
    for axes, (title, fit) in zip(grid.flat, fits.items(), strict=False):
        curves = fit.curves["d1"]
        drawn = draw_curves(
            axes, frames[title], curves, "d1_tokens", "d2_tokens", palette, max_characters=PANEL_CHARACTERS
        )
        axes.set_xlabel("first-stage tokens $D_1$")
        axes.set_title("\n".join(textwrap.wrap(title, TITLE_CHARACTERS)), fontsize=8.5)
        if curves.power_laws is None:
            axes.text(
                0.5,
                0.97,
                "no fit: too few cells",
                transform=axes.transAxes,
                ha="center",
                va="top",
                fontsize=7,
            )
        rows += [{"method": fit.method, "model": fit.model, **row} for row in drawn]
    for axes in grid.flat[len(fits) :]:
        axes.set_axis_off()
    seeds = sorted({seed for fit in fits.values() for seed in fit.seeds})
    draw_legend(bottom, "second-stage tokens $D_2$ (lines: fits)", palette, seeds)
    return figure, pd.DataFrame(rows).reindex(columns=list(COLUMNS))
