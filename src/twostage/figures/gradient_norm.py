"""Gradient norms in the second stage: against D2 for each D1, and their mean against D1 at each D2.

A diagnostic after a summary of v2 of the paper. One row for each method of Figure 1. Norms are of the full gradient
before clipping. Trajectories show means over intervals of tokens (no shorter than the distance between two rows of
curves.csv), because norms of single steps are noisy. `draw` is pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twostage.analysis.cells import method_cells
from twostage.analysis.norm_slope import norm_slope
from twostage.analysis.sources import Sources
from twostage.catalogue.shown_methods import method_title, shown_pairs
from twostage.common.errors import UserError
from twostage.figures.curve_panel import LEGEND_INCHES, Colour, draw_legend
from twostage.figures.loss_curves import token_ticks
from twostage.figures.style import (
    TEXT_WIDTH_INCHES,
    Drawing,
    apply_style,
    d1_palette,
    d2_palette,
    plain_log_axis,
    seed_markers,
    token_axis,
)
from twostage.study import Study

ROW_INCHES = 2.2
INTERVALS = 60  # of a trajectory
PANEL_CHARACTERS = 40  # of token labels, see style.token_axis
COLUMNS = ("method", "model", "panel", "d1_tokens", "d2_tokens", "seed", "tokens", "value")


def draw(
    cells: pd.DataFrame, curves: pd.DataFrame | None, rows: Mapping[str, tuple[str, str]]
) -> tuple[Figure, pd.DataFrame]:
    """Draw one row for each method. Without curves there is only the panel of means.

    Args:
        cells: as `cells.read_cells` returns them.
        curves: rows of `curves.csv`, or None if the study records no curves.
        rows: title -> (method, base model).

    Returns:
        The figure and the plotted numbers: panel `trajectory` (mean norm over an interval, with its mean `tokens`) or
        `mean` (over the run without warmup and decay).

    Raises:
        UserError: the table of cells has no gradient norms.
    """
    if "grad_norm_mean" not in cells or cells["grad_norm_mean"].isna().all():
        raise UserError(
            "cells.csv: column 'grad_norm_mean' is missing or empty; add it, or remove gradient-norm from figures"
        )
    apply_style()
    columns = 1 if curves is None else 2
    heights = [ROW_INCHES] * len(rows) + [LEGEND_INCHES] * columns  # a legend for each kind of panel
    figure = Figure(figsize=(TEXT_WIDTH_INCHES, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    frames = {title: method_cells(cells, *pair) for title, pair in rows.items()}
    d1_colours = d1_palette(float(value) for frame in frames.values() for value in frame["d1_tokens"])
    d2_colours = d2_palette(float(value) for frame in frames.values() for value in frame["d2_tokens"])
    numbers: list[dict[str, Any]] = []
    for part, (title, frame) in zip(parts, frames.items(), strict=False):
        part.suptitle(title, fontsize=9, fontweight="bold", x=0.01, ha="left")
        panels = part.subplots(1, columns, squeeze=False)[0]
        drawn = _draw_means(panels[-1], frame, d2_colours)
        if curves is not None:
            drawn += _draw_trajectories(panels[0], curves, rows[title], d1_colours)
        method, model = rows[title]
        numbers += [{"method": method, "model": model, **row} for row in drawn]
    if curves is not None:
        draw_legend(parts[-2], "left: first-stage tokens $D_1$", d1_colours, [])
    seeds = sorted({int(seed) for frame in frames.values() for seed in frame["seed"]})
    side = "" if curves is None else "right: "
    draw_legend(parts[-1], f"{side}second-stage tokens $D_2$", d2_colours, seeds)
    return figure, pd.DataFrame(numbers).reindex(columns=list(COLUMNS))


def _draw_trajectories(
    axes: Axes, curves: pd.DataFrame, pair: tuple[str, str], palette: Mapping[float, Colour]
) -> list[dict[str, Any]]:
    method, model = pair
    own = curves[(curves["method"] == method) & (curves["model"] == model) & curves["grad_norm"].notna()]
    own = own[own["seed"] == own["seed"].min()]
    own = own[own["d2_tokens"] == own["d2_tokens"].max()]
    rows: list[dict[str, Any]] = []
    for d1, curve in own.groupby("d1_tokens"):
        means = interval_means(curve["tokens"].to_numpy(), curve["grad_norm"].to_numpy())
        axes.plot(*means, color=palette[float(str(d1))], linewidth=1.1)
        rows += [
            {
                "panel": "trajectory",
                "d1_tokens": d1,
                "d2_tokens": curve["d2_tokens"].iloc[0],
                "seed": curve["seed"].iloc[0],
                "tokens": tokens,
                "value": value,
            }
            for tokens, value in zip(*(part.tolist() for part in means), strict=True)
        ]
    axes.set_ylabel("gradient norm")
    axes.set_xlabel("second-stage tokens $D_2$")
    axes.set_xlim(left=0)
    token_ticks(axes)
    if rows:
        plain_log_axis(axes)
    return rows


def interval_means(tokens: np.ndarray, norms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average tokens and norms over `INTERVALS` equal intervals of tokens; fewer points are returned as they are."""
    order = np.argsort(tokens, kind="stable")
    tokens, norms = tokens[order], norms[order]
    if len(tokens) <= INTERVALS:
        return tokens, norms
    edges = np.linspace(0, tokens[-1], INTERVALS + 1)
    starts = np.unique(np.searchsorted(tokens, edges[:-1], side="right"))
    parts = [np.split(values, starts[1:]) for values in (tokens, norms)]
    return tuple(np.array([part.mean() for part in values]) for values in parts)  # type: ignore[return-value]


def _draw_means(axes: Axes, frame: pd.DataFrame, palette: Mapping[float, Colour]) -> list[dict[str, Any]]:
    markers = seed_markers(frame["seed"])
    for d2, group in frame.groupby("d2_tokens"):
        colour = palette[float(str(d2))]
        mean = group.groupby("d1_tokens")["grad_norm_mean"].mean()
        axes.plot(mean.index, mean.to_numpy(), color=colour, linewidth=1.0, zorder=2)
        for seed, own in group.groupby("seed"):
            axes.plot(
                own["d1_tokens"],
                own["grad_norm_mean"],
                markers[int(str(seed))],
                color=colour,
                markeredgecolor="white",
                zorder=3,
            )
    slope = norm_slope(frame)
    if slope is not None:
        title = f"per doubling of $D_1$: {slope.per_doubling}"
        axes.set_title(title, loc="right", fontsize=7.5)
    axes.set_ylabel("mean gradient norm")
    axes.set_xlabel("first-stage tokens $D_1$")
    token_axis(axes, frame["d1_tokens"].tolist(), max_characters=PANEL_CHARACTERS)
    plain_log_axis(axes)
    return [
        {
            "panel": "mean",
            "d1_tokens": row["d1_tokens"],
            "d2_tokens": row["d2_tokens"],
            "seed": row["seed"],
            "tokens": row["d2_tokens"],
            "value": row["grad_norm_mean"],
        }
        for _, row in frame.iterrows()
    ]


def draw_study(study: Study, sources: Sources) -> Drawing:
    """Draw the methods of Figure 1."""
    rows = {
        f"{method_title(study, method)}, {model}": (method, model) for method, model in shown_pairs(study)
    }
    return Drawing(*draw(sources.cells(), sources.curves() if sources.has("curves.csv") else None, rows))
