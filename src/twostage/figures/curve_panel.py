"""A panel of losses against one token count, with a curve for each value of the other: used by Figures 1, 3 and 8."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D

from twostage.analysis.method_fit import CurveFit, MethodFit
from twostage.analysis.sources import Sources
from twostage.catalogue.shown_methods import method_title
from twostage.figures.style import format_tokens, seed_markers, token_axis
from twostage.study import Study

Colour = tuple[float, float, float]
CURVE_POINTS = 60  # per drawn curve
LEGEND_COLUMNS = 8
LEGEND_INCHES = 0.45


def draw_curves(
    axes: Axes,
    frame: pd.DataFrame,
    fit: CurveFit,
    along: str,
    across: str,
    palette: Mapping[float, Colour],
    *,
    max_characters: int,
) -> list[dict[str, Any]]:
    """Draw the measured losses of one method (a marker for each seed) and the fitted power laws.

    Args:
        frame: cells of the method.
        fit: of these cells.
        along: column of the token count on the horizontal axis.
        across: column of the token count that is fixed on a curve.
        palette: colour of each fixed token count.
        max_characters: of all labels of the token axis together, see `style.token_axis`.

    Returns:
        The plotted numbers: kind (`measured`, `fit`), `along`, `across`, seed (if measured) and value in nats per token.
    """
    rows: list[dict[str, Any]] = []
    markers = seed_markers(frame["seed"])
    for group, curve in frame.groupby(across):
        colour = palette[float(group)]  # type: ignore[arg-type]
        for seed, marker in markers.items():
            own = curve[curve["seed"] == seed]
            axes.plot(own[along], own["loss_nats"], marker, color=colour, markeredgecolor="white", zorder=3)
        rows += [
            {
                "kind": "measured",
                across: group,
                along: row[along],
                "seed": row["seed"],
                "value": row["loss_nats"],
            }
            for _, row in curve.iterrows()
        ]
        if fit.power_laws is not None:
            x = np.geomspace(curve[along].min(), curve[along].max(), CURVE_POINTS)
            y = fit.power_laws.predict(float(group), x)  # type: ignore[arg-type]
            axes.plot(x, y, "-", color=colour, zorder=2)
            rows += [
                {"kind": "fit", across: group, along: a, "value": b}
                for a, b in zip(x.tolist(), y.tolist(), strict=True)
            ]
    token_axis(axes, frame[along].tolist(), max_characters=max_characters)
    axes.set_ylabel("validation loss\n(nats/token)")
    return rows


def write_reason(axes: Axes, reason: str) -> None:
    """Write the reason for a missing fit into an empty panel."""
    text = "\n".join(textwrap.wrap(f"not fitted: {reason}", 34))
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=7)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)


def draw_legend(figure: SubFigure, title: str, palette: Mapping[float, Colour], seeds: list[int]) -> None:
    """Draw a legend: a coloured line for each token count and, if there are several seeds, a grey marker for each."""
    handles = [
        Line2D([], [], color=colour, marker="o", label=format_tokens(value))
        for value, colour in palette.items()
    ]
    if len(seeds) > 1:
        markers = seed_markers(seeds)
        handles += [
            Line2D([], [], color="#777777", marker=markers[seed], linestyle="none", label=f"seed {seed}")
            for seed in sorted(seeds)
        ]
    figure.legend(handles=handles, title=title, loc="center", ncols=min(len(handles), LEGEND_COLUMNS))


def titled_fits(study: Study, sources: Sources) -> dict[str, MethodFit]:
    """The fits behind a figure, by the titles of their methods, with the base model if a method has several."""
    fits = [MethodFit.from_json(text) for text in sources.texts()]
    counts = Counter(fit.method for fit in fits)

    def title(fit: MethodFit) -> str:
        sized = f", base model of {fit.model}" if counts[fit.method] > 1 else ""
        return f"{method_title(study, fit.method)}{sized}"

    return {title(fit): fit for fit in fits}
