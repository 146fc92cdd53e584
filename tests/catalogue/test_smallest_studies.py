"""Every kind of study that the schema allows finishes, in its smallest form: every table, fit and figure of it is made."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
from made_results import make_results
from results_tree import build, make_design, synthetic_curves

from twostage.analysis.cells import aggregate_cells, read_cells, write_table
from twostage.analysis.unified_fit import unified_table
from twostage.catalogue import imported_tables, lookup
from twostage.design.design import Design
from twostage.methods import AnyMethod
from twostage.study import load_study
from twostage.study.new_study import STARTS, new_study

KINDS = [
    get_args(kind.model_fields["kind"].annotation)[0]
    for kind in get_args(get_args(AnyMethod)[0])
    if kind.trained
]
METHODS = {kind: {"kind": kind, **({"corpus": "code"} if kind == "cpt" else {})} for kind in KINDS}
ONE_POINT = {"trunk_steps": [100]}
GRIDS = {
    "one D1, one D2": {"d1": ONE_POINT, "d2": ONE_POINT},
    "one D1": {"d1": ONE_POINT, "d2": {"trunk_steps": [100, 200, 400]}},
    "one D2": {"d1": {"trunk_steps": [100, 200, 400]}, "d2": ONE_POINT},
    "two by two": {"d1": {"trunk_steps": [100, 200]}, "d2": {"trunk_steps": [100, 200]}},
}


def finish(design, folder: Path) -> set[str]:
    """Make everything that `all_figures` and `all_tables` make from the cells; return the names of figures and tables."""
    study = design.study
    build(design, folder)
    tables = aggregate_cells(design, folder)
    write_table(tables.cells, folder / "tables/cells.csv")
    write_table(tables.base_cells, folder / "tables/base-cells.csv")
    cells = read_cells(folder / "tables/cells.csv")
    if imported_tables.unified_law_wanted(study):
        unified = unified_table(cells, pd.read_csv(folder / "tables/base-cells.csv"), 1e-3)
        write_table(unified, folder / "tables/unified-law.csv")
    if lookup.curves_wanted(study):
        write_table(synthetic_curves(design, lookup.wanted_branches(design)), folder / "tables/curves.csv")
    return make_results(study, folder)


@pytest.mark.parametrize(
    ("kind", "grid"),
    [
        pytest.param(
            kind, grid, marks=[] if kind == "stack" or grid == "one D1, one D2" else pytest.mark.slow
        )
        for kind in KINDS
        for grid in GRIDS
    ],
)
def test_a_study_of_one_method_finishes(kind, grid, tmp_path):
    design = make_design(methods={"only": METHODS[kind]}, grid=GRIDS[grid])
    names = finish(design, tmp_path)
    assert {"figure-2", "dag", "table-3", "table-4", "table-5"} <= names


def test_a_study_of_all_kinds_with_seeds_and_without_validation_finishes(tmp_path):
    finish(make_design(methods=METHODS, steps=(100,), seeds=[0, 1]), tmp_path)


@pytest.mark.parametrize("excluded", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_study_with_an_excluded_cell_finishes(excluded, tmp_path):
    design = make_design(steps=(100, 200))
    cell = {"cell": design.cells()[excluded].path, "reason": "a test"}
    finish(make_design(steps=(100, 200), excluded_cells=[cell]), tmp_path)


@pytest.mark.slow  # complete grids
@pytest.mark.parametrize("start", [start for start in STARTS if start != "files"])
@pytest.mark.parametrize("part", ["", ":quick"])
def test_a_template_and_its_parts_finish(start, part, tmp_path):
    file = tmp_path / "new.yaml"
    text = new_study(file, start, {})
    # The template's parts are comments that a user can enable.
    head, _, parts = text.partition("#subsets:\n")
    enabled = [line.removeprefix("#") if line.startswith("#") else line for line in parts.splitlines()]
    file.write_text(head + "subsets:\n" + "\n".join(enabled) if parts else text)
    finish(Design(load_study(f"{file}{part}")), tmp_path / "results")
