"""Reads imported tables (`cells_table`), which a study uses in place of its own training, and checks their rows.

`catalogue.imported_tables` checks the columns before any job runs. Tables may be in any format of `common.table_file`; the
study's own copy is CSV. Whether the numbers are plausible is not checked.
"""

from __future__ import annotations

import math
from pathlib import Path

from twostage.catalogue.entry import COLUMNS, NAMES, Kind
from twostage.catalogue.shown_methods import all_pairs
from twostage.common.conditions import selected
from twostage.common.errors import UserError
from twostage.common.table_file import Cell, Table, read_table
from twostage.study import Study


def import_table(study: Study, kind: Kind, path: str | Path) -> str:
    """Return an imported table as CSV, with the numbers as they are in the file where these are plain numbers.

    Of `cells`, only the rows for which all conditions of `cells_table.where` hold.

    Raises:
        UserError: as `check_rows`; or a value of a required column is not a number. The message names file, line and column.
    """
    table = read_table(path)
    if kind == "cells" and study.cells_table is not None:
        table = selected(table, list(study.cells_table.where), {}, key="cells_table.where")
    check_rows(study, kind, table)
    columns = {
        name: values if name in NAMES else _plain(table, name, required=name in COLUMNS[kind])
        for name, values in table.columns.items()
    }
    return Table(table.path, columns, table.places, table.place_word).to_csv()


def _plain(table: Table, column: str, *, required: bool) -> list[Cell]:
    """Return a column as it is if every value is a plain number; else, if all are numbers, these numbers."""
    values = table.columns[column]
    if all(value is None or _is_plain(value) for value in values):
        return values
    try:
        numbers = table.numbers(column)
    except UserError:
        if required:
            raise
        return values  # a column of words
    return [None if math.isnan(number) else f"{number:.17g}" for number in numbers]


def _is_plain(value: Cell) -> bool:
    try:
        return math.isfinite(float(value)) and "_" not in str(value)
    except (TypeError, ValueError, OverflowError):
        return False


def check_rows(study: Study, kind: Kind, table: Table) -> None:
    """Check that a table has the rows that the study declares.

    A table of cells must have rows of every method at every base model. Rows of other methods are allowed, because a
    named part of a study (`study.yaml:name`) may use the table of the full study.

    Raises:
        UserError: the table has no rows, or none of a method, a model, or a method at a model. The message names the file
            and the fix.
    """
    path = table.path
    if not len(table):
        raise UserError(f"{path}: no rows below the header; give a table of measured losses")
    if kind != "cells":
        return
    found = {(str(a), str(b)) for a, b in zip(table.columns["method"], table.columns["model"], strict=True)}
    methods, models = {method for method, _ in found}, {model for _, model in found}
    for method, model in all_pairs(study):
        if method not in methods:
            raise UserError(
                f"methods.{method}: {path} has no rows of this method (it has {sorted(methods)}); "
                "add its cells or remove it from methods"
            )
        if (method, model) not in found:
            missing = f"models.{model}" if model not in models else f"methods.{method}.models: {model}"
            raise UserError(
                f"{missing}: {path} has no rows of method {method!r} at this size (models: {sorted(models)}); "
                "add its cells or remove the model"
            )
