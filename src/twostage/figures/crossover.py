"""Figure `crossover` (ours, not the paper's): measured loss of reuse minus loss from scratch, against D2 for each D1.

One panel for each method that has a model from scratch at its size after stage 2. `draw` is pure.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from twostage.analysis.measured_crossover import Comparison, compare, find_crossing
from twostage.analysis.sources import Sources
from twostage.catalogue.scratch_controls import shown_controls
from twostage.catalogue.shown_methods import method_title
from twostage.common.errors import UserError
from twostage.figures.curve_panel import LEGEND_COLUMNS, Colour
from twostage.figures.style import (
    INK,
    TEXT_WIDTH_INCHES,
    Drawing,
    apply_style,
    d1_palette,
    format_tokens,
    token_axis,
)
from twostage.study import Study

PANELS_PER_ROW = 2
PANEL_INCHES = 2.4
LEGEND_INCHES = 0.7
MORE_INCHES = 0.18  # for each further line of the legend
TITLE_CHARACTERS = 44  # per line of a panel's title
PANEL_CHARACTERS = 44  # of token labels, see style.token_axis
BAND_WIDTH = 2  # standard errors
BAND_COLOUR = "#bbbbbb"
COLUMNS = (
    "method",
    "model",
    "scratch_model",
    "kind",
    "d1_tokens",
    "d2_tokens",
    "value",
    "lower",
    "upper",
)


def draw(cells: pd.DataFrame, panels: Mapping[str, tuple[str, str]]) -> tuple[Figure, pd.DataFrame]:
    """Draw one panel for each method.

    Args:
        cells: as `cells.read_cells` returns them.
        panels: title -> (method, base model).

    Returns:
        The figure and the plotted numbers in nats per token, by kind: `difference` (reuse minus scratch, mean over seeds),
        `noise` (lower, upper: zero plus or minus two standard errors of a difference) and `crossing` (value 0; d2_tokens:
        the crossing; lower, upper: ends of its 95 % interval in tokens).

    Raises:
        UserError: a method has no cells, or no model from scratch was measured at its size.
    """
    compared = {title: compare(cells, *pair) for title, pair in panels.items()}
    for one in compared.values():
        if one.reason:
            raise UserError(f"crossover: {one.method} at {one.model}: {one.reason}")
    apply_style()
    columns = min(PANELS_PER_ROW, len(compared))
    lines = math.ceil(len(compared) / columns)
    palette = d1_palette(float(d1) for one in compared.values() for d1 in one.rows)
    heights = [PANEL_INCHES * lines, LEGEND_INCHES + MORE_INCHES * (_legend_lines(palette) - 1)]
    figure = Figure(figsize=(TEXT_WIDTH_INCHES, sum(heights)), layout="constrained")
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=heights).flat
    grid = top.subplots(lines, columns, squeeze=False)
    rows: list[dict[str, Any]] = []
    for axes, (title, one) in zip(grid.flat, compared.items(), strict=False):
        drawn = _draw_panel(axes, one, palette)
        axes.set_title("\n".join(textwrap.wrap(title, TITLE_CHARACTERS)), fontsize=8.5)
        identity = {"method": one.method, "model": one.model, "scratch_model": one.scratch_model}
        rows += [identity | row for row in drawn]
    for axes in grid.flat[len(compared) :]:
        axes.set_axis_off()
    kinds = {row["kind"] for row in rows}
    _draw_legend(bottom, palette, noise="noise" in kinds, crossings="crossing" in kinds)
    return figure, pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def _draw_panel(axes: Axes, one: Comparison, palette: Mapping[float, Colour]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    noise: dict[float, float] = {}
    for d1 in one.rows:
        row = one.differences(d1)
        if not row.d2.size:
            continue
        colour = palette[float(d1)]
        axes.plot(row.d2, row.nats, "o-", color=colour, markeredgecolor="white", zorder=3)
        rows += [
            {"kind": "difference", "d1_tokens": d1, "d2_tokens": d2, "value": value}
            for d2, value in zip(row.d2.tolist(), row.nats.tolist(), strict=True)
        ]
        if row.se is not None:
            for d2, se in zip(row.d2.tolist(), row.se.tolist(), strict=True):
                noise[d2] = max(noise.get(d2, 0.0), BAND_WIDTH * se)
        crossing = find_crossing(row)
        if crossing.tokens is not None:
            axes.plot(
                crossing.tokens, 0, "D", color=colour, markeredgecolor=INK, markeredgewidth=0.8, zorder=5
            )
            ends = {"lower": crossing.lower, "upper": crossing.upper}
            rows.append(
                {"kind": "crossing", "d1_tokens": d1, "d2_tokens": crossing.tokens, "value": 0.0} | ends
            )
    axes.axhline(0, color=INK, linewidth=0.9, zorder=2)
    if noise:
        d2 = np.array(sorted(noise))
        half = np.array([noise[tokens] for tokens in d2])
        axes.fill_between(d2, -half, half, color=BAND_COLOUR, alpha=0.5, linewidth=0, zorder=1)
        rows += [
            {"kind": "noise", "d2_tokens": tokens, "value": 0.0, "lower": -width, "upper": width}
            for tokens, width in zip(d2.tolist(), half.tolist(), strict=True)
        ]
    axes.set_xlabel("second-stage tokens $D_2$")
    axes.set_ylabel("reuse $-$ from scratch\n(nats/token)")
    tokens = {row["d2_tokens"] for row in rows if row["kind"] == "difference"}
    token_axis(axes, sorted(tokens), max_characters=PANEL_CHARACTERS)
    # Leave space for the two texts above and below the zero line.
    lower, upper = axes.get_ylim()
    axes.set_ylim(min(lower, -0.18 * upper), max(upper, -0.18 * lower))
    hint: dict[str, Any] = {"transform": axes.transAxes, "style": "italic", "fontsize": 7, "color": "#777777"}
    axes.text(0.02, 0.97, "from scratch better", ha="left", va="top", **hint)
    axes.text(0.98, 0.03, "reuse better", ha="right", va="bottom", **hint)
    return rows


def _legend_lines(palette: Mapping[float, Colour]) -> int:
    return math.ceil(len(palette) / LEGEND_COLUMNS)


def _draw_legend(figure: SubFigure, palette: Mapping[float, Colour], *, noise: bool, crossings: bool) -> None:
    """Draw the legends below the panels: a line for each D1; then the zero line, and the band and markers if drawn."""
    lines = [
        Line2D([], [], color=colour, marker="o", label=format_tokens(d1)) for d1, colour in palette.items()
    ]
    marks: list[Any] = [Line2D([], [], color=INK, linewidth=0.9, label="from scratch, same tokens")]
    if noise:
        marks.append(
            Patch(color=BAND_COLOUR, alpha=0.5, linewidth=0, label=f"±{BAND_WIDTH} s.e. of seed noise")
        )
    if crossings:
        label = "scratch better from this $D_2$ on"
        marks.append(
            Line2D([], [], marker="D", color="#999999", markeredgecolor=INK, linestyle="none", label=label)
        )
    figure.legend(
        handles=lines,
        title="first-stage tokens $D_1$",
        loc="upper center",
        ncols=math.ceil(len(lines) / _legend_lines(palette)),
    )
    figure.legend(handles=marks, loc="lower center", ncols=len(marks))


def draw_study(study: Study, sources: Sources) -> Drawing:
    """Draw the methods of a study that have models from scratch to compare with."""
    panels = {
        f"{method_title(study, one.method)}, {one.model}": (one.method, one.model)
        for one in shown_controls(study)
    }
    return Drawing(*draw(sources.cells(), panels))
