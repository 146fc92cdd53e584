"""Figure 5: models trained from scratch under two learning-rate schedules. `draw` is pure."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from twostage.figures.loss_curves import Arm, draw_rows


def draw(
    curves: pd.DataFrame, cells: pd.DataFrame, arms: Sequence[Arm], *, corpus: str
) -> tuple[Figure, pd.DataFrame]:
    """Draw the losses of models from scratch under two schedules; returns the figure and the plotted numbers.

    Args:
        curves, cells: the study's tables.
        arms: one for each schedule; their D2 is the length of the run, their D1 is 0.
        corpus: the base corpus.
    """
    title = f"From scratch on {corpus} ({arms[0].model}): two schedules"
    return draw_rows({title: arms}, curves, cells, corpus=corpus, token_label="tokens $D$")
