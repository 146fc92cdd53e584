"""Figure 2: the two stages of a study with its corpora, models, methods and token counts.

A schematic figure, drawn from the study file alone. `draw` is pure.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twostage.design.design import Design
from twostage.design.paths import Stage1Run, Stage2Run
from twostage.figures.boxes import Rect, canvas, draw_arrow, draw_bar, draw_box, draw_cylinder, draw_panel
from twostage.figures.style import INK, d1_palette, format_tokens
from twostage.methods import Method
from twostage.study import Study

ROW_INCHES, HEADER_INCHES, FOOTER_INCHES, MARGIN = 0.88, 0.36, 0.4, 0.06
STAGE_1, STAGE_2, QUESTION = (0.06, 2.42), (2.62, 2.84), (5.6, 1.34)  # left edge and width of the panels
LAYERS, LAYER_WIDTH, LAYER_HEIGHT = 4, 0.46, 0.085  # of the drawn base model, not of the study's
OLD, NEW, SECOND_CORPUS = "#3b6ea8", "#e08e36", "#7aa05a"
NAME_CHARACTERS, NAME_LINES = 34, 3
COLUMNS = ("element", "name", "kind", "corpus", "models", "tokens_min", "tokens_max", "token_counts")


def draw(study: Study, design: Design) -> tuple[Figure, pd.DataFrame]:
    """Draw the framework of one study.

    Returns:
        The figure and its content as a table: one row per corpus, base model and method, with the smallest and the
        largest D in tokens and the number of values of D.
    """
    table = framework(study, design)
    kinds: dict[str, Method] = {method.kind: method for method in study.methods.values()}
    height = HEADER_INCHES + FOOTER_INCHES + ROW_INCHES * max(len(kinds), 2) + 2 * MARGIN
    figure, axes = canvas(height)
    panels = {
        title: Rect(left, MARGIN, width, height - 2 * MARGIN)
        for title, (left, width) in (
            ("Stage 1: pretraining", STAGE_1),
            ("Stage 2: training again", STAGE_2),
            ("The question", QUESTION),
        )
    }
    for title, panel in panels.items():
        draw_panel(axes, panel, title)
    first, second, question = panels.values()
    start = _draw_stage_1(axes, first, study, table)
    ends = _draw_stage_2(axes, second, table, kinds)
    for row, _ in ends:
        draw_arrow(axes, _elbow(start, (row[0], row[1]), (first.right + second.left) / 2))
    chart = _draw_question(axes, question)
    for _, row_end in ends:
        draw_arrow(
            axes, _elbow(row_end, (chart.left - 0.05, chart.centre[1]), (second.right + question.left) / 2)
        )
    return figure, table


def framework(study: Study, design: Design) -> pd.DataFrame:
    """Return the content of the figure as a table with columns `COLUMNS`; see `draw`."""
    _, branches = design.jobs()
    base = study.stage1.corpus
    stage_1 = [(b.run, b.tokens) for b in branches if isinstance(b.run, Stage1Run)]
    stage_2 = [(b.run, b.tokens) for b in branches if isinstance(b.run, Stage2Run)]
    rows: list[dict[str, Any]] = []
    for corpus in study.corpora:
        own = [tokens for run, tokens in stage_1 if run.corpus == corpus]
        role = "base" if corpus == base else "from scratch" if own else "second stage"
        rows.append({"element": "corpus", "name": corpus, "kind": role, "corpus": corpus, **_span(own)})
    for model in study.models:
        starts = {run.d1_tokens for run, _ in stage_2 if run.model == model}
        own = [tokens for run, tokens in stage_1 if run.model == model and run.corpus == base]
        # The D1 of a base model are those that stage 2 starts from: decayed checkpoints if any method uses them.
        lengths = (starts.intersection(own) or starts) if starts else own
        role = "base" if starts else "from scratch"
        rows.append({"element": "model", "name": model, "kind": role, "models": model, **_span(lengths)})
    for name, method in study.methods.items():
        used = {run.model for run, _ in stage_2 if run.method == name}
        rows.append(
            {
                "element": "method",
                "name": name,
                "kind": method.kind,
                "corpus": getattr(method, "corpus", None) or base,
                "models": " ".join(model for model in study.models if model in used),
                **_span(tokens for run, tokens in stage_2 if run.method == name),
            }
        )
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def _span(tokens: Iterable[int]) -> dict[str, Any]:
    values = sorted(set(tokens))
    ends = {"tokens_min": values[0], "tokens_max": values[-1]} if values else {}
    return {**ends, "token_counts": len(values)}


def _range(rows: pd.DataFrame) -> str:
    low, high = rows["tokens_min"].min(), rows["tokens_max"].max()
    return format_tokens(low) if low == high else f"{format_tokens(low)} … {format_tokens(high)}"


def _shorten(names: Iterable[str], characters: int, lines: int) -> str:
    """Join names with commas and wrap them; names that do not fit are replaced by their number."""
    given = list(names)
    for shown in range(len(given), 0, -1):
        more = f", +{len(given) - shown} more" if shown < len(given) else ""
        wrapped = textwrap.wrap(", ".join(given[:shown]) + more, characters, break_on_hyphens=False)
        if len(wrapped) <= lines or shown == 1:
            break
    return "\n".join(wrapped)


def _elbow(start: tuple[float, float], end: tuple[float, float], at: float) -> list[tuple[float, float]]:
    if np.isclose(start[1], end[1]):
        return [start, end]
    return [start, (at, start[1]), (at, end[1]), end]


def _draw_stage_1(axes: Axes, panel: Rect, study: Study, table: pd.DataFrame) -> tuple[float, float]:
    y = panel.bottom + FOOTER_INCHES + (panel.height - HEADER_INCHES - FOOTER_INCHES) / 2
    models = table[(table["element"] == "model") & (table["kind"] == "base")]
    cylinder = Rect(panel.left + 0.25, y - 0.24, 0.46, 0.48)
    draw_cylinder(axes, cylinder, OLD)
    axes.text(
        cylinder.centre[0],
        cylinder.bottom - 0.08,
        f"base corpus\n{study.stage1.corpus}",
        ha="center",
        va="top",
        fontsize=7,
    )
    model = Rect(panel.left + 1.42, y - 0.24, LAYER_WIDTH, LAYERS * LAYER_HEIGHT)
    model = Rect(model.left, y - model.height / 2, model.width, model.height)
    _draw_layers(axes, model, OLD)
    axes.text(
        model.centre[0],
        cylinder.bottom - 0.08,
        "base model\n" + _shorten(models["name"], 20, 2),
        ha="center",
        va="top",
        fontsize=7,
    )
    draw_arrow(axes, [(cylinder.right + 0.07, y), (model.left - 0.07, y)])
    axes.text(
        (cylinder.right + model.left) / 2, y + 0.06, "$D_1$ tokens", ha="center", va="bottom", fontsize=7
    )
    corpora = table[table["element"] == "corpus"]
    if scratch := corpora.loc[corpora["kind"] == "from scratch", "name"].tolist():
        note = f"for comparison, from scratch on {_shorten(scratch, 24, 1)}"
        axes.text(
            panel.centre[0],
            panel.bottom + 0.28,
            note,
            ha="center",
            va="bottom",
            fontsize=6,
            color="#666666",
        )
    axes.text(
        panel.centre[0],
        panel.bottom + 0.1,
        f"$D_1$ = {_range(models)} tokens",
        ha="center",
        va="bottom",
        fontsize=7.5,
    )
    return model.right + 0.07, y


def _draw_stage_2(
    axes: Axes, panel: Rect, table: pd.DataFrame, kinds: Mapping[str, Method]
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Draw a row for each kind; return the points where arrows enter and leave it."""
    methods = table[table["element"] == "method"]
    top = panel.top - HEADER_INCHES
    height = (top - panel.bottom - FOOTER_INCHES) / len(kinds)
    ends = []
    for rank, (kind, method) in enumerate(kinds.items()):
        own = methods[methods["kind"] == kind]
        y = top - (rank + 0.5) * height
        row = Rect(panel.left + 0.17, y - ROW_INCHES / 2 + 0.05, panel.width - 0.27, ROW_INCHES - 0.1)
        draw_box(axes, row)
        _draw_start(axes, row, method)
        title = method.heading
        if not method.grows:
            title += f"\non {_shorten(dict.fromkeys(own['corpus']), 30, 1)}"
        left = row.left + 0.88
        axes.text(left, row.top - 0.09, title, va="top", fontsize=7, fontweight="bold", linespacing=1.15)
        names = _shorten(own["name"], NAME_CHARACTERS, NAME_LINES)
        axes.text(left, row.bottom + 0.08, names, va="bottom", fontsize=6, color="#666666")
        ends.append(((row.left - 0.02, y), (row.right + 0.02, y)))
    axes.text(
        panel.centre[0],
        panel.bottom + 0.1,
        f"$D_2$ = {_range(methods)} tokens",
        ha="center",
        va="bottom",
        fontsize=7.5,
    )
    return ends


def _draw_start(axes: Axes, row: Rect, method: Method) -> None:
    """Draw the model that stage 2 starts from; parts that stage 1 has not trained are orange. Without growth: new data."""
    x, y = row.left + 0.43, row.centre[1]
    unit = LAYER_WIDTH
    if not method.grows:
        draw_cylinder(axes, Rect(row.left + 0.1, y - 0.17, 0.26, 0.34), SECOND_CORPUS)
        unit *= 0.8
        x = row.left + 0.44 + unit / 2
    number = len(method.sketch)
    height = LAYERS * LAYER_HEIGHT * min(number / LAYERS, 1.6)  # as much as fits into the row
    for rank, (old, new) in enumerate(method.sketch):
        left, bottom = x - (old + new) * unit / 2, y - height / 2 + rank * height / number
        for start, width, colour in ((left, old * unit, OLD), (left + old * unit, new * unit, NEW)):
            if width:
                draw_bar(axes, Rect(start, bottom, width, height / number), colour)


def _draw_layers(axes: Axes, box: Rect, colour: str) -> None:
    height = box.height / LAYERS
    for rank in range(LAYERS):
        draw_bar(axes, Rect(box.left, box.bottom + rank * height, box.width, height), colour)


def _draw_question(axes: Axes, panel: Rect) -> Rect:
    """Draw a sketch of losses against D2 for rising D1. It has no numbers, because it is not a result."""
    y = panel.bottom + FOOTER_INCHES + (panel.height - HEADER_INCHES - FOOTER_INCHES) / 2
    chart = Rect(panel.left + 0.27, y - 0.375, 0.85, 0.75)
    draw_box(axes, chart, rounding=0.02)
    x = np.linspace(0.06, 0.94, 40)
    for rank, colour in d1_palette(range(4)).items():
        curve = 0.9 * (1 - 0.14 * rank) * (x + 0.25) ** -(0.75 - 0.15 * rank) / 0.43**-0.75
        axes.plot(
            chart.left + chart.width * x,
            chart.bottom + chart.height * (0.08 + 0.6 * curve * 0.87),
            color=colour,
            linewidth=1.1,
        )
    axes.text(chart.centre[0], chart.bottom - 0.05, "$D_2$", ha="center", va="top", fontsize=7)
    axes.text(
        chart.left + 0.8, chart.top - 0.05, "$D_1$ rising ↓", ha="right", va="top", fontsize=6, color=INK
    )
    axes.text(panel.centre[0], panel.bottom + 0.24, "validation loss", ha="center", va="bottom", fontsize=7.5)
    axes.text(
        panel.centre[0], panel.bottom + 0.1, "$L(D_1, D_2)$ = ?", ha="center", va="bottom", fontsize=7.5
    )
    return chart
