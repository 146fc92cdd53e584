"""The common type of all tables, their HTML page, and the columns and notes that several tables share."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from twostage.analysis.cells import write_table
from twostage.common.storage import write_atomic
from twostage.study import ExcludedCell

if TYPE_CHECKING:
    from twostage.analysis.method_fit import MethodFit


@dataclass(frozen=True)
class Table:
    """A table. `numbers`: content of the CSV file. `shown`: the same as text, for a page. `notes`: printed below it. `page`: Markdown."""

    title: str
    numbers: pd.DataFrame
    shown: pd.DataFrame
    notes: tuple[str, ...]
    page: str = ""

    def write(self, files: Sequence[Path]) -> None:
        """Write the numbers (.csv), the table as a page (.html) and `page` (.md) that are requested."""
        for path in files:
            if path.suffix == ".csv":
                write_table(self.numbers, path)
            else:
                write_atomic(path, self.page if path.suffix == ".md" else render_html(self))


def excluded_notes(excluded: Sequence[ExcludedCell]) -> tuple[str, ...]:
    """Return the notes about excluded cells, which are printed below every table."""
    if not excluded:
        return ("No cells are excluded.",)
    return tuple(f"Excluded cell: {entry.cell}: {entry.reason}" for entry in excluded)


def render_html(table: Table) -> str:
    """Return a self-contained HTML page with the table and its notes; equal tables give equal text."""
    heads = "".join(f"<th>{html.escape(str(name))}</th>" for name in table.shown.columns)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(str(value))}</td>" for value in row) + "</tr>"
        for row in table.shown.itertuples(index=False)
    )
    notes = "\n".join(f"<p>{html.escape(note)}</p>" for note in table.notes)
    return _PAGE.format(title=html.escape(table.title), heads=heads, body=body, notes=notes)


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 14px/1.45 sans-serif; color: #333; margin: 1.5em; }}
table {{ border-collapse: collapse; border-top: 2px solid #333; border-bottom: 2px solid #333; }}
th {{ border-bottom: 1px solid #333; vertical-align: bottom; max-width: 9em; }}
th, td {{ padding: 0.3em 0.8em; text-align: right; }}
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) {{ text-align: left; }}
td {{ max-width: 46em; }}
p {{ font-size: 12px; max-width: 70em; margin: 0.5em 0; }}
</style>
</head>
<body>
<h1 style="font-size: 17px">{title}</h1>
<table>
<thead><tr>{heads}</tr></thead>
<tbody>
{body}
</tbody>
</table>
{notes}
</body>
</html>
"""


def identity(fit: MethodFit) -> dict[str, object]:
    """Return the columns that identify a fit in a row of numbers."""
    return {
        "method": fit.method,
        "model": fit.model,
        "n_base": fit.n_base,
        "n_final": fit.n_final,
        "n_cells": fit.n_cells,
        "n_seeds": len(fit.seeds),
    }


def shown_identity(fit: MethodFit) -> dict[str, str]:
    """Return the columns that identify a fit on a page."""
    return {
        "method": fit.method,
        "base model": fit.model,
        "cells": str(fit.n_cells),
        "seeds": str(len(fit.seeds)),
    }
