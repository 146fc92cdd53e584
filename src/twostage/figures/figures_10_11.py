"""Figures 10 and 11: tokens that training from scratch takes to catch up with model growth or continual pretraining."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from twostage.analysis.sources import Sources
from twostage.figures.catch_up_panels import draw_catch_up
from twostage.figures.from_fits import catch_up_of
from twostage.figures.style import Drawing, format_tokens
from twostage.study import Study


def draw(
    table: pd.DataFrame, *, n_final: float, kind: str, method: str, note: str = ""
) -> tuple[Figure, pd.DataFrame]:
    """Draw loss curves and catch-up tokens, by sunk cost D1.

    Args:
        table: rows of `laws.curves.catch_up_curves`.
        n_final: parameters of the model after stage 2.
        kind: the kind of stage 2, for the title, e.g. `Model growth`.
        method: the method's name.

    Returns:
        The figure and the plotted numbers.
    """
    title = f"{kind} ({method}) or from scratch: {format_tokens(n_final)} parameters"
    return draw_catch_up(table, title=title, reused=method, note=note)


def draw_figure_10(study: Study, sources: Sources) -> Drawing:
    """Draw the study's own laws of stacking."""
    return _draw(study, sources, "Model growth")


def draw_figure_11(study: Study, sources: Sources) -> Drawing:
    """Draw the study's own laws of continual pretraining."""
    return _draw(study, sources, "Continual pretraining")


def _draw(study: Study, sources: Sources, kind: str) -> Drawing:
    shown = catch_up_of(study, sources)
    return Drawing(*draw(shown.table, n_final=shown.n_final, kind=kind, method=shown.method, note=shown.note))
