"""The table of the figures and tables that a study does not draw, with the reason and the key to change."""

from __future__ import annotations

import pandas as pd

from twostage.analysis.sources import Sources
from twostage.catalogue.figure_entries import FIGURES
from twostage.catalogue.lookup import not_drawn
from twostage.catalogue.table_entries import TABLES
from twostage.study import Study
from twostage.tables.table import Table


def make_not_drawn(study: Study, sources: Sources) -> Table:
    """Return the figures and tables that the study does not draw: name, title, shows, reason. Empty if it draws all."""
    rows = [
        {"name": name, "title": entry.title, "shows": entry.shows, "reason": reason}
        for name, reason in not_drawn(study)
        for entry in [(FIGURES | TABLES)[name]]
    ]
    columns = ["name", "title", "shows", "reason"]
    numbers = pd.DataFrame(rows, columns=columns)
    note = "Reasons name the key of the study file to change." if rows else "Every figure and table is drawn."
    return Table(
        title=f"Figures and tables that study {study.name} does not draw",
        numbers=numbers,
        shown=numbers[["title", "shows", "reason"]],
        notes=(note,),
    )
