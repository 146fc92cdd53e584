"""Tables as Markdown text."""

from __future__ import annotations

import pandas as pd


def markdown_table(table: pd.DataFrame) -> str:
    """Return a pipe table. Every value is converted with `str`; vertical bars are escaped."""
    lines = [list(map(str, table.columns)), ["---"] * table.shape[1]]
    lines += [[str(value).replace("|", "\\|") for value in row] for row in table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
