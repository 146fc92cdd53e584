"""Checks of imported tables (`cells_table`), which a study uses in place of its own training.

`check_headers` reads only the header lines, so that building the DAG stays fast. `check_rows` reads a full table, in the
job that imports it. The numbers themselves are not checked.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from twostage.common.errors import UserError
from twostage.exhibits.catalogue import drawable_figures
from twostage.exhibits.comparisons import CURVE_FIGURES
from twostage.exhibits.presentation import all_pairs

if TYPE_CHECKING:
    from twostage.study import Study

Kind = Literal["cells", "base_cells", "curves"]
#: Required columns; `evaluation` and `excluded` are optional (without `excluded` no cell is excluded).
COLUMNS: dict[Kind, tuple[str, ...]] = {
    "cells": (
        "method",
        "model",
        "seed",
        "d1_tokens",
        "d2_tokens",
        "valid_corpus",
        "n_base",
        "n_final",
        "loss_nats",
    ),
    "base_cells": ("model", "seed", "d1_tokens", "valid_corpus", "loss_nats"),
    "curves": ("method", "model", "seed", "d1_tokens", "d2_tokens", "tokens", "valid_loss_nats", "lr"),
}
#: Columns that only some figures require: column -> (table, figures).
FOR_FIGURES: dict[str, tuple[Kind, tuple[str, ...]]] = {
    "grad_norm_mean": ("cells", ("gradient-norm",)),
    "grad_norm": ("curves", ("gradient-norm",)),
}


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
    """Check the imported tables before any job runs.

    Args:
        results: the study's results folder.

    Raises:
        UserError: a table does not exist, lacks a column, or is an output of the study. The message names the key, the
            file and the column.
    """
    drawn = drawable_figures(study)
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
        for column, (table, figures) in FOR_FIGURES.items():
            if table == kind and column not in present and set(figures) & set(drawn):
                raise UserError(
                    f"{key}: {path} has no column {column!r}, which {figures[0]} shows; "
                    "add it, or list under figures what to draw"
                )


def _header(key: str, path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{key}: {path} cannot be read ({error}); correct the path or the file") from None


def check_rows(study: Study, kind: Kind, path: str | Path) -> None:
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


def curves_wanted(study: Study) -> bool:
    """Tell whether the study draws a figure from loss curves."""
    if study.cells_table is not None:
        return study.cells_table.curves is not None
    return study.validation is not None and bool(set(CURVE_FIGURES) & set(drawable_figures(study)))


def unified_law_wanted(study: Study) -> bool:
    """Tell whether one law over both stages can be fitted, which requires losses of the base checkpoints (D2 = 0)."""
    return study.cells_table is None or study.cells_table.base_cells is not None
