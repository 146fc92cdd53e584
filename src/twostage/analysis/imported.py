"""A table that stands in for training (`cells_table`): does it have rows of what the study declares?

Columns are checked before anything runs (`exhibits.given_tables`). Numbers are taken as they are.
"""

from __future__ import annotations

import csv
from pathlib import Path

from twostage.common.errors import UserError
from twostage.exhibits.presentation import all_pairs
from twostage.study import Study


def check_rows(study: Study, kind: str, path: str | Path) -> None:
    """Refuse a table without rows of what the study declares.

    `cells`: every method at every base model, `scratch` and other runs as they are; rows of other methods are allowed,
    since a part of a study (`study.yaml:name`) may be drawn from a table of the whole.

    Raises:
        UserError: no rows, or none of a method, a model or a method at a model; naming file and fix.
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
                "add its cells or leave the size out"
            )
