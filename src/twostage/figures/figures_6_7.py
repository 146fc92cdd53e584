"""Figures 6 and 7: the second stage of a method, compared with methods that differ from it in one setting.

Figure 6: growth on the base model's own data or on new data. Figure 7: other learning rates than the recipe's. `draw` is
pure.
"""

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
    """Draw the second stage, a row for each method; returns the figure and the plotted numbers.

    Args:
        curves, cells: the study's tables.
        panels: title -> arms; the arm with the default settings comes first.
        corpus: title -> corpus of the second stage.
    """
    return draw_rows(panels, curves, cells, corpus=corpus, token_label="second-stage tokens $D_2$")
