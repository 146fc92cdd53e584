"""Checks the rows of imported tables (`cells_table`), which a study uses in place of its own training.

`catalogue.imported_tables` checks the columns before any job runs. The numbers themselves are not checked.
"""

from __future__ import annotations

import csv
from pathlib import Path

from twostage.catalogue.shown_methods import all_pairs
from twostage.common.errors import UserError
from twostage.study import Study


def check_rows(study: Study, kind: str, path: str | Path) -> None:
    """Check that a table has the rows that the study declares.

    A table of cells must have rows of every method at every base model. Rows of other methods are allowed, because a
    named part of a study (`study.yaml:name`) may use the table of the full study.

    Raises:
        UserError: the table has no rows, or none of a method, a model, or a method at a model. The message names the file
            and the fix.
    """
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise UserError(f"{path}: no rows below the header; give a table of measured losses")
    if kind != "cells":
        return
    found = {(row["method"], row["model"]) for row in rows}
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
