"""Figure 10: tokens that training from scratch takes to catch up with model growth, by sunk cost."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from twostage.figures.catch_up_panels import draw_catch_up
from twostage.figures.style import format_tokens


def draw(
    table: pd.DataFrame, *, n_final: float, method: str = "stacking", note: str = ""
) -> tuple[Figure, pd.DataFrame]:
    """Draw loss curves and catch-up tokens of a model with `n_final` parameters after growth.

    `table`: rows of `laws.curves.catch_up_curves`. Returns the figure and the plotted numbers.
    """
    title = f"Model growth ({method}) or from scratch: {format_tokens(n_final)} parameters"
    return draw_catch_up(table, title=title, reused=method, note=note)
