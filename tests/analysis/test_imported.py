"""`cells_table`: imported tables are checked before any job runs; errors name key, file and column."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from results_tree import build, make_design, synthetic_curves

from twostage.analysis import cells as cells_module
from twostage.analysis.cells import aggregate_cells, read_cells, write_table
from twostage.analysis.imported import import_table
from twostage.analysis.unified_fit import unified_table
from twostage.catalogue.entry import COLUMNS
from twostage.catalogue.imported_tables import check_headers, table_paths, unified_law_wanted
from twostage.catalogue.lookup import curves_wanted, wanted_branches
from twostage.common.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The three tables of a study, as its own workflow writes them."""
    folder = tmp_path_factory.mktemp("elsewhere")
    design = make_design(steps=(100, 200), validation={"every_steps": 10, "samples": 64})
    made = aggregate_cells(design, build(design, folder / "results"))
    write_table(made.cells, folder / "cells.csv")
    write_table(made.base_cells, folder / "base-cells.csv")
    write_table(synthetic_curves(design, wanted_branches(design)), folder / "curves.csv")
    return folder


def study_from(folder, **changes):
    given = {
        "cells": str(folder / "cells.csv"),
        "base_cells": str(folder / "base-cells.csv"),
        "curves": str(folder / "curves.csv"),
    }
    return make_design(steps=(100, 200), cells_table=given | changes.pop("cells_table", {}), **changes).study


def test_own_tables_are_complete(tables):
    study = study_from(tables)
    check_headers(study, "results/synthetic")
    for kind, path in table_paths(study).items():
        assert import_table(study, kind, path) == Path(path).read_text()
    assert curves_wanted(study)
    assert unified_law_wanted(study)


def test_columns_are_those_that_reading_requires():
    assert set(COLUMNS["cells"]) == set(cells_module._REQUIRED)


def without_column(tables, target, name, column):
    for file in ("cells.csv", "base-cells.csv", "curves.csv"):
        (target / file).write_bytes((tables / file).read_bytes())
    pd.read_csv(target / name).drop(columns=column).to_csv(target / name, index=False)
    return study_from(target)


@pytest.mark.parametrize(
    ("name", "kind", "column"),
    [
        *(("cells.csv", "cells", column) for column in COLUMNS["cells"]),
        *(("base-cells.csv", "base_cells", column) for column in COLUMNS["base_cells"]),
        *(("curves.csv", "curves", column) for column in COLUMNS["curves"]),
        ("cells.csv", "cells", "grad_norm_mean"),
        ("curves.csv", "curves", "grad_norm"),
    ],
)
def test_a_missing_column_is_named_with_its_file(tables, tmp_path, name, kind, column):
    study = without_column(tables, tmp_path, name, column)
    with pytest.raises(UserError) as refusal:
        check_headers(study, "results/synthetic")
    for word in (f"cells_table.{kind}", str(tmp_path / name), repr(column)):
        assert word in str(refusal.value)


def test_a_column_that_no_chosen_figure_needs_may_be_absent(tables, tmp_path):
    without_column(tables, tmp_path, "cells.csv", "grad_norm_mean")
    check_headers(study_from(tmp_path, figures=["figure-1"]), "results/synthetic")


def test_missing_files_and_the_studys_own_outputs_are_refused(tables):
    with pytest.raises(UserError, match=r"cells_table.cells: nowhere.csv cannot be read"):
        check_headers(study_from(tables, cells_table={"cells": "nowhere.csv"}), "results/synthetic")
    with pytest.raises(UserError, match=r"the folder that this study writes; copy it elsewhere"):
        check_headers(study_from(tables), tables)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c[c["method"] != "stack"], ["methods.stack", "no rows of this method", "cpt-code"]),
        (lambda c: c.assign(model="7B"), ["models.33k", "7B"]),
        (lambda c: c.iloc[:0], ["no rows below the header"]),
    ],
    ids=["method", "model", "empty"],
)
def test_tables_without_the_studys_methods_or_models_are_refused(tables, tmp_path, change, words):
    change(pd.read_csv(tables / "cells.csv")).to_csv(tmp_path / "cells.csv", index=False)
    with pytest.raises(UserError) as refusal:
        import_table(study_from(tables), "cells", tmp_path / "cells.csv")
    for word in words:
        assert word in str(refusal.value)


def test_an_imported_table_may_lack_optional_columns(tables, tmp_path):
    cells = pd.read_csv(tables / "cells.csv")[list(COLUMNS["cells"])]
    base = pd.read_csv(tables / "base-cells.csv")[list(COLUMNS["base_cells"])]
    cells.to_csv(tmp_path / "cells.csv", index=False)
    assert (read_cells(tmp_path / "cells.csv")["excluded"] == "").all()
    own = read_cells(tables / "cells.csv"), pd.read_csv(tables / "base-cells.csv")
    bare = unified_table(read_cells(tmp_path / "cells.csv"), base, 1e-3)
    pd.testing.assert_frame_equal(bare, unified_table(*own, 1e-3))


@pytest.mark.parametrize("spelling", ["semicolons", "jsonl", "gzip", "suffixes"])
def test_a_table_in_another_format_is_the_same_study(tables, tmp_path, spelling):
    cells = pd.read_csv(tables / "cells.csv")
    path = tmp_path / {"jsonl": "cells.jsonl", "gzip": "cells.csv.gz"}.get(spelling, "cells.csv")
    if spelling == "jsonl":
        path.write_text(
            "".join(
                json.dumps(row) + "\n"
                for row in cells.astype(object).where(cells.notna(), None).to_dict("records")
            )
        )
    elif spelling == "semicolons":
        cells.to_csv(path, index=False, sep=";", decimal=",", float_format="%.17g")
    elif spelling == "gzip":
        cells.to_csv(path, index=False, float_format="%.17g")
    else:
        cells.assign(n_base=[f"{n / 1e3:.10g}K" for n in cells["n_base"]]).to_csv(
            path, index=False, float_format="%.17g"
        )
    study = study_from(tables, cells_table={"cells": str(path)})
    check_headers(study, "results/synthetic")
    (tmp_path / "own.csv").write_text(import_table(study, "cells", path))
    pd.testing.assert_frame_equal(
        read_cells(tmp_path / "own.csv"), read_cells(tables / "cells.csv"), check_dtype=False
    )


def test_a_value_that_is_no_number_is_named_by_line(tables, tmp_path):
    lines = (tables / "cells.csv").read_text().splitlines()
    loss = lines[3].split(",")[lines[0].split(",").index("loss_nats")]
    lines[3] = lines[3].replace(loss, "diverged", 1)
    (tmp_path / "cells.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"cells.csv: line 4, column 'loss_nats': 'diverged' is not a number"):
        import_table(study_from(tables), "cells", tmp_path / "cells.csv")


def test_the_script_copies_bytes(tables, tmp_path, monkeypatch):
    study = {
        key: value
        for key, value in study_from(tables).model_dump(mode="json", exclude_defaults=True).items()
        if key != "name"
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(study))
    out = tmp_path / "out/cells.csv"
    arguments = [
        "--study",
        tmp_path / "mine.yaml",
        "given",
        "--kind",
        "cells",
        "--from",
        tables / "cells.csv",
        "--out",
        out,
    ]
    monkeypatch.setattr(sys, "argv", ["aggregate_cells", *map(str, arguments)])
    runpy.run_path(str(ROOT / "workflow/scripts/aggregate_cells.py"), run_name="__main__")
    assert out.read_bytes() == (tables / "cells.csv").read_bytes()


def test_a_path_alone_stands_for_the_section():
    study = make_design(steps=(100, 200), cells_table="mine.csv").study
    assert study.cells_table is not None
    assert (study.cells_table.cells, study.cells_table.curves) == ("mine.csv", None)
