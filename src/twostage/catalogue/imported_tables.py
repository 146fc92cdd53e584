"""The imported tables of a study (`cells_table`) and a check of their columns.

Reads only the names of the columns, so that parsing the DAG stays fast; `analysis.imported` reads a whole table, in the job that
imports it.
"""

from __future__ import annotations

from pathlib import Path

from twostage.catalogue.entry import COLUMNS, Kind
from twostage.catalogue.figure_entries import FIGURES
from twostage.catalogue.lookup import drawable_figures
from twostage.common.errors import UserError
from twostage.common.table_file import column_names
from twostage.methods.cpt import Cpt
from twostage.study import Study


def table_paths(study: Study) -> dict[Kind, str]:
    """Return the paths of a study's imported tables by kind; empty for a study that trains."""
    given = study.cells_table
    if given is None:
        return {}
    paths: dict[Kind, str | None] = {
        "cells": given.cells,
        "base_cells": given.base_cells,
        "curves": given.curves,
    }
    return {kind: path for kind, path in paths.items() if path is not None}


def check_headers(study: Study, results: str | Path) -> None:
    """Reject, before any job runs, tables that do not exist, lack a column, or are outputs of the study itself.

    Args:
        results: the study's results folder.

    Raises:
        UserError: the message has the key, file and column.
    """
    for kind, path in table_paths(study).items():
        key = f"cells_table.{kind}"
        if Path(path).resolve().is_relative_to(Path(results).resolve()):
            raise UserError(
                f"{key}: {path} is in {results}, the folder that this study writes; copy it elsewhere, e.g. next to the study file"
            )
        present = _header(key, Path(path))
        for column in COLUMNS[kind]:
            if column not in present:
                raise UserError(
                    f"{key}: {path} has no column {column!r}; add it (columns: {', '.join(present)})"
                )
        for figure in (FIGURES[name] for name in drawable_figures(study)):
            for table, column in figure.columns:
                if table == kind and column not in present:
                    raise UserError(
                        f"{key}: {path} has no column {column!r}, which {figure.name} shows; "
                        "add it, or list under figures what to draw"
                    )


def _header(key: str, path: Path) -> list[str]:
    try:
        return column_names(path)
    except OSError as error:
        raise UserError(f"{key}: {path} cannot be read ({error}); correct the path or the file") from None
    except UserError as error:
        raise UserError(f"{key}: {error}") from None


def unified_law_wanted(study: Study) -> bool:
    """Return whether one law over both stages can be fitted, which needs base checkpoints at D2 = 0 on a continued corpus."""
    if study.cells_table is not None:
        return study.cells_table.base_cells is not None
    return any(isinstance(method, Cpt) for method in study.methods.values())
