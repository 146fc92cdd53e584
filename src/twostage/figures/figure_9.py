"""Figure 9: the joint law of stacking, tested on the lowest losses."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from twostage.figures.extrapolation_panel import draw_extrapolation


def draw(table: pd.DataFrame, *, method: str = "stacking") -> tuple[Figure, pd.DataFrame]:
    """Draw measured against predicted loss (rows of `laws.curves.extrapolation_table`); returns figure and numbers."""
    return draw_extrapolation(table, f"Joint scaling law: {method}")
