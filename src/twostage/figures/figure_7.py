"""Figure 7: the second stage under other learning rates than the recipe's; `draw` is pure."""

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
    """Draw the second stage, a row for each method, continual pretraining first; returns figure and plotted numbers.

    Args:
        curves, cells: the study's tables.
        panels: title -> arms, the recipe's own learning rates first.
        corpus: title -> corpus of the second stage.
    """
    return draw_rows(panels, curves, cells, corpus=corpus, token_label="second-stage tokens $D_2$")
