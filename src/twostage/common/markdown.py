"""Tables as Markdown, for pages that are written and not drawn."""

from __future__ import annotations

import pandas as pd


def markdown_table(table: pd.DataFrame) -> str:
    """A pipe table; every value as its text, bars escaped."""
    lines = [list(map(str, table.columns)), ["---"] * table.shape[1]]
    lines += [[str(value).replace("|", "\\|") for value in row] for row in table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
