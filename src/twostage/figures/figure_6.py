"""Figure 6: growth on the data that the base model has seen, or on data that it has not; `draw` is pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from twostage.figures.loss_curves import Arm, draw_rows


def draw(
    curves: pd.DataFrame,
    cells: pd.DataFrame,
    panels: Mapping[str, Sequence[Arm]],
    *,
    corpus: Mapping[str, str],
) -> tuple[Figure, pd.DataFrame]:
    """Draw the second stage of growth methods, a row for each; returns the figure and the plotted numbers.

    Args:
        curves, cells: the study's tables.
        panels: title -> arms, repeated data first.
        corpus: title -> corpus of the second stage.
    """
    return draw_rows(panels, curves, cells, corpus=corpus, token_label="second-stage tokens $D_2$")
