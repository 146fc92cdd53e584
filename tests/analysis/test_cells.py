"""From a results folder to cells.csv: all numbers are correct, and cells that are not comparable are refused."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from results_tree import build, edit, loss_of, make_design

from twostage.analysis.cells import KEY, aggregate_cells, method_cells, read_cells, table_csv, write_table
from twostage.common.errors import UserError
from twostage.design.paths import Branch, Stage1Run, Stage2Run, grown_manifest

UNIT = 8 * 128  # tokens of a step
TOKENS = [int(1.1 * steps * UNIT) for steps in (100, 200, 400, 800)]
BASE = Stage1Run("generic", "33k", 0)
CPT = Stage2Run("cpt-code", "33k", 0, TOKENS[1])
CPT_EVAL = Branch(CPT, TOKENS[2]).evaluation("code")


@pytest.fixture(scope="module")
def design():
    return make_design()


@pytest.fixture(scope="module")
def pristine(design, tmp_path_factory):
    return build(design, tmp_path_factory.mktemp("pristine"))


@pytest.fixture
def results(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "results")


def test_one_row_for_each_run_on_its_own_corpus(design, pristine):
    tables = aggregate_cells(design, pristine)
    counts = tables.cells["method"].value_counts().to_dict()
    assert counts == {"cpt-code": 16, "stack": 16, "scratch": 4}
    assert not tables.cells.duplicated(list(KEY)).any()
    assert len(tables.base_cells) == 4
    assert set(tables.base_cells["valid_corpus"]) == {"code"}
    # every evaluation is used exactly once: as a loss, as a forgetting loss, or as a base cell
    assert 16 + 16 + 4 + tables.cells["forgetting_loss_nats"].notna().sum() + 4 == len(design.cells())


def test_numbers_are_those_of_the_files(design, pristine):
    cells = aggregate_cells(design, pristine).cells.set_index("evaluation")
    row = cells.loc[CPT_EVAL]
    evaluation = json.loads((pristine / CPT_EVAL).read_text())
    forgetting = json.loads((pristine / CPT_EVAL.replace("eval-code", "eval-generic")).read_text())
    assert row["loss_nats"] == evaluation["loss_nats"]
    assert row["loss_nats_per_byte"] == evaluation["loss_nats_per_byte"]
    assert row["forgetting_loss_nats"] == forgetting["loss_nats"]
    assert (row["d1_tokens"], row["d2_tokens"]) == (TOKENS[1], TOKENS[2])
    assert row["epochs_1"] == TOKENS[1] / 2e6
    assert row["epochs_2"] == TOKENS[2] / 2e6
    # 2 layers, width 32, SwiGLU of 128: 2 (4 32^2 + 3 32 128 + 64) + 32
    assert row["n_base"] == row["n_final"] == 2 * (4 * 32**2 + 3 * 32 * 128 + 64) + 32
    grown = cells[cells["method"] == "stack"]
    assert (grown["n_final"] == 4 * (4 * 32**2 + 3 * 32 * 128 + 64) + 32).all()
    assert (grown["revision_grow"] == 1).all()
    assert cells[cells["method"] == "cpt-code"]["revision_grow"].isna().all()


def test_scratch_rows_have_no_first_stage(design, pristine):
    cells = aggregate_cells(design, pristine).cells
    scratch = cells[cells["method"] == "scratch"]
    assert (scratch["d1_tokens"] == 0).all()
    assert (scratch["epochs_1"] == 0).all()
    assert scratch["d2_tokens"].tolist() == TOKENS
    assert scratch["forgetting_loss_nats"].isna().all()


def test_from_scratch_runs_on_other_corpora_are_scratch_rows(tmp_path):
    design = make_design(scratch={"code": {"corpus": "code"}})
    tables = aggregate_cells(design, build(design, tmp_path))
    scratch = tables.cells[tables.cells["method"] == "scratch"]
    assert scratch.groupby("valid_corpus").size().to_dict() == {"code": 4, "generic": 4}
    assert scratch["forgetting_loss_nats"].isna().all()
    assert len(tables.base_cells) == 4


def test_file_round_trips_every_bit(design, pristine, tmp_path):
    cells = aggregate_cells(design, pristine).cells
    write_table(cells, tmp_path / "cells.csv")
    again = read_cells(tmp_path / "cells.csv")
    for name in ("loss_nats", "forgetting_loss_nats", "grad_norm_mean", "d1_tokens", "seed", "git_commit"):
        pd.testing.assert_series_equal(again[name], cells[name], check_exact=True, check_dtype=False)
    assert table_csv(aggregate_cells(design, pristine).cells) == (tmp_path / "cells.csv").read_text()


def test_missing_files_are_all_counted_and_the_first_named(design, results):
    (results / CPT_EVAL).unlink()
    (results / Branch(BASE, TOKENS[0]).metrics).unlink()
    with pytest.raises(UserError, match=r"2 of \d+ files .*metrics\.json.*eval-code\.json.*snakemake .*-f"):
        aggregate_cells(design, results)


def test_truncated_file_is_named(design, results):
    text = (results / CPT_EVAL).read_text()
    (results / CPT_EVAL).write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match=r"D2-450560/eval-code\.json: not valid JSON.*snakemake .*-f"):
        aggregate_cells(design, results)


def test_missing_key_is_named(design, results):
    edit(results / CPT_EVAL, lambda record: record.pop("loss_se"))
    with pytest.raises(UserError, match=r"eval-code\.json: key loss_se is missing"):
        aggregate_cells(design, results)


def set_in(*keys, value):
    def change(record):
        for key in keys[:-1]:
            record = record[key]
        record[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("path", "keys", "value", "column"),
    [
        (CPT_EVAL, ("device",), "NVIDIA H100 80GB HBM3", "device_evaluate"),
        (Branch(CPT, TOKENS[2]).metrics, ("device",), "NVIDIA H100 80GB HBM3", "device_train"),
        (Branch(CPT, TOKENS[2]).metrics, ("attention_backend",), "flash", "attention_backend"),
        (Branch(CPT, TOKENS[2]).metrics, ("spec", "recipe", "precision"), "bf16", "precision"),
        (Branch(CPT, TOKENS[2]).metrics, ("spec", "revision"), 99, "revision_train"),
        (Branch(BASE, TOKENS[3]).evaluation("code"), ("spec", "revision"), 99, "revision_evaluate"),
        (Branch(BASE, TOKENS[3]).evaluation("code"), ("revision_data",), 99, "revision_data"),
        (
            grown_manifest(Stage2Run("stack", "33k", 0, TOKENS[1])),
            ("origin", "revision"),
            99,
            "revision_grow",
        ),
    ],
)
def test_mixed_cells_are_refused(design, results, path, keys, value, column):
    edit(results / path, set_in(*keys, value=value))
    with pytest.raises(
        UserError, match=rf"{column} differs between cells .*1 cells|{column} differs.*4 cells"
    ):
        aggregate_cells(design, results)


@pytest.mark.parametrize(
    ("path", "keys", "value", "message"),
    [
        (
            Branch(CPT, TOKENS[2]).metrics,
            ("spec", "batch_size"),
            4,
            r"batch_size: 4 in the file, 8 in the study",
        ),
        (CPT_EVAL, ("spec", "batch_size"), 7, r"batch_size: 7 in the file, 32 in the study"),
        (CPT_EVAL, ("spec", "unheard_of"), 7, r"unheard_of"),
        (CPT_EVAL, ("n_final",), 12, r"a model of 12 parameters"),
    ],
)
def test_cells_with_another_spec_are_refused(design, results, path, keys, value, message):
    edit(results / path, set_in(*keys, value=value))
    with pytest.raises(UserError, match=message):
        aggregate_cells(design, results)


def test_copied_evaluation_is_refused(design, results):
    other = CPT_EVAL.replace(f"D2-{TOKENS[2]}", f"D2-{TOKENS[3]}")
    shutil.copy(results / CPT_EVAL, results / other)
    with pytest.raises(UserError, match="same loss to the last digit"):
        aggregate_cells(design, results)


def test_excluded_cells_are_marked_and_leave_the_fits(results):
    design = make_design(excluded_cells=[{"cell": CPT_EVAL, "reason": "node with bad memory"}])
    cells = aggregate_cells(design, results).cells
    assert cells.set_index("evaluation").loc[CPT_EVAL, "excluded"] == "node with bad memory"
    assert (cells["excluded"] != "").sum() == 1
    assert len(method_cells(cells, "cpt-code", "33k")) == 15


def test_excluded_cell_may_be_unmeasurable_or_odd(results):
    design = make_design(excluded_cells=[{"cell": CPT_EVAL, "reason": "diverged"}])
    edit(results / CPT_EVAL, set_in("device", value="other"))
    assert len(aggregate_cells(design, results).cells) == 36
    (results / CPT_EVAL).unlink()
    assert len(aggregate_cells(design, results).cells) == 35


def test_excluded_cell_must_be_one_of_the_study(results):
    wrong = CPT_EVAL.replace("code.json", "cod.json")
    design = make_design(excluded_cells=[{"cell": wrong, "reason": "diverged"}])
    with pytest.raises(UserError, match=r"excluded_cells\[0\]\.cell: .*nearest: stage2/cpt-code"):
        aggregate_cells(design, results)


def test_read_cells_refuses_two_rows_of_one_cell(design, pristine, tmp_path):
    cells = aggregate_cells(design, pristine).cells
    write_table(pd.concat([cells, cells.iloc[[3]]]), tmp_path / "cells.csv")
    with pytest.raises(UserError, match="lines 5 and 38 are the same cell"):
        read_cells(tmp_path / "cells.csv")


def test_read_cells_names_a_missing_column(design, pristine, tmp_path):
    write_table(aggregate_cells(design, pristine).cells.drop(columns="seed"), tmp_path / "cells.csv")
    with pytest.raises(UserError, match="column 'seed' is missing"):
        read_cells(tmp_path / "cells.csv")


def test_method_cells_lists_what_there_is(design, pristine):
    with pytest.raises(UserError, match=r"no cells of method 'expand'.*cpt-code"):
        method_cells(aggregate_cells(design, pristine).cells, "expand", "33k")


def test_seeds_are_rows_of_their_own(tmp_path):
    design = make_design(steps=(100, 200), seeds=[0, 5])
    cells = aggregate_cells(design, build(design, tmp_path)).cells
    assert cells.groupby(["method", "seed"]).size().to_dict() == {
        ("cpt-code", 0): 4,
        ("cpt-code", 5): 4,
        ("scratch", 0): 2,
        ("scratch", 5): 2,
        ("stack", 0): 4,
        ("stack", 5): 4,
    }


def test_test_data_follow_the_law(design, tmp_path):
    """Check of the test data: without noise the rows are Eq. 2."""
    cells = aggregate_cells(design, build(design, tmp_path, noise=0.0)).cells
    own = {cell.path: loss_of(design, cell) for cell in design.cells()}
    assert cells["loss_nats"].tolist() == [own[path] for path in cells["evaluation"]]
