"""A small study of every method with the real Snakefile and real training, and the jobs of later runs after changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from archived_records import read_records
from working_copy import Workflow, copy_workflow

from twostage.cli import main
from twostage.common.storage import sha256_file
from twostage.planning.archive import archive_study

pytestmark = pytest.mark.workflow

STUDY = "config/small.yaml"
CONFIG = ("--config", f"study={STUDY}")
TARGETS = ("--", "all_figures", "all_tables")
RESULTS = "results/small"
CELL = f"{RESULTS}/stage2/stack/8k/seed-0/D1-11264/decay/D2-11264/eval-generic.json"


@pytest.fixture
def copied(finished, tmp_path) -> Workflow:
    """A copy with new modification times of all files, like a restored backup or a new clone."""
    shutil.copytree(
        finished.root, tmp_path / "copy", copy_function=shutil.copy, ignore=shutil.ignore_patterns("locks")
    )
    return Workflow(tmp_path / "copy")


def test_cells_hold_every_measured_point(finished):
    cells = pd.read_csv(finished.root / RESULTS / "tables/cells.csv")
    counts = cells.groupby("method").size().to_dict()
    assert counts == {
        "scratch": 2,
        "scratch-wsd": 1,  # the two arms of the schedule ablation
        "scratch-cosine": 1,
        "cpt-code": 4,
        "cpt-math": 2,
        "cpt-code-replay": 1,
        "stack": 4,
        "expand": 4,
        "stack-fresh": 1,
        "stack-low": 1,
        "cpt-code-low": 1,
    }
    assert cells["loss_nats"].between(2, 6.3).all()  # better than a uniform guess, ln 512 = 6.24
    assert (cells.loc[cells["method"] == "stack", "n_final"] > 1.9 * cells["n_base"].iloc[0]).all()
    assert cells.loc[cells["method"] == "cpt-code", "forgetting_loss_nats"].notna().all()
    scratch = cells[cells["method"] == "scratch"].set_index("d2_tokens")["loss_nats"]
    assert scratch[22528] < scratch[11264]  # more data, lower loss


def test_figures_and_tables_are_written(finished):
    folder = finished.root / RESULTS
    for name in ("figure-1", "figure-3", "figure-5", "figure-6", "figure-7", "figure-8", "gradient-norm"):
        assert (folder / f"figures/{name}.png").stat().st_size > 20_000
        assert (folder / f"figures/{name}.pdf").read_bytes().startswith(b"%PDF")
        assert len(pd.read_csv(folder / f"figures/{name}.csv")) >= 4  # two arms of one cell, two points each
    for name, rows in (
        ("table-1", 3),
        ("table-3", 1),
        ("table-4", 15),
        ("table-5", 1),
        ("table-7", 3),
        ("alpha3", 3),
    ):
        assert len(pd.read_csv(folder / f"tables/{name}.csv")) == rows
    reasons = pd.read_csv(folder / "tables/not-drawn.csv").set_index("name")["reason"]
    assert "list more models" in reasons["figure-9"]
    assert "figure-7" not in reasons.index


def test_no_rolling_state_and_no_partial_file_remain(finished):
    assert not [path for path in (finished.root / "rolling").rglob("*") if path.is_file()]
    assert not list((finished.root / RESULTS).rglob("*.tmp"))


def test_report_needs_no_internet(finished):
    finished.snakemake(*CONFIG, "--report", "report.html", *TARGETS)
    text = (finished.root / "report.html").read_text()
    assert "Figure 1" in text
    assert "Table 1" in text


def test_a_second_run_has_nothing_to_do(finished):
    assert finished.planned(*CONFIG, *TARGETS) == {}


def test_a_copy_has_nothing_to_do(copied):
    assert copied.planned(*CONFIG, *TARGETS) == {}


def test_touching_everything_has_nothing_to_do(copied):
    for path in sorted((copied.root / RESULTS).rglob("*"), reverse=True):
        path.touch()
    assert copied.planned(*CONFIG, *TARGETS) == {}


@pytest.fixture
def results_only(copied) -> Workflow:
    """A copy without Snakemake's records, as after an archive, rsync of results/ or a move to another user's home."""
    shutil.rmtree(copied.root / ".snakemake")
    return copied


def test_results_alone_have_nothing_to_do(results_only):
    assert results_only.planned(*CONFIG, *TARGETS) == {}


def test_results_of_version_0_1_train_nothing(results_only):
    """They have no ledger, no spec of the tokenizer, no key in evaluations, and fewer fields in corpora's manifests."""
    results = results_only.root / RESULTS
    (results / "records.json.gz").unlink()
    (results / "tokens/tokenizer-spec.json").unlink()
    for path in results.rglob("eval-*.json"):
        path.write_text(
            json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "key"})
        )
    for path in results.glob("corpora/*/manifest.json"):
        fields = json.loads(path.read_text())
        path.write_text(
            json.dumps(
                {key: fields[key] for key in fields if key not in ("revision", "sources", "text_bytes")}
            )
        )
    costly = {
        "prepare_corpus",
        "train_tokenizer",
        "tokenize_corpus",
        "grow_checkpoint",
        "evaluate_checkpoint",
    }
    counts = results_only.planned(*CONFIG, *TARGETS)
    assert not counts.keys() & (costly | {"train_trunk_segment", "train_decay_branch"})


def test_a_part_has_its_own_tables_and_leaves_those_of_the_study(copied):
    part = {"description": "one method, to look at it alone", "methods": ["stack"], "ablations": False}
    copied.edit_study(STUDY, lambda study: study.update(subsets={"quick": part}))
    table = copied.root / RESULTS / "tables/table-1.csv"
    before = table.read_bytes()
    own = f"{RESULTS}/parts/quick/tables/table-1.csv"
    copied.snakemake("--cores", "2", "--config", f"study={STUDY}:quick", "--", own)
    assert set(pd.read_csv(copied.root / own)["method"]) == {"stack"}
    assert table.read_bytes() == before
    counts = copied.planned(*CONFIG, *TARGETS)
    assert counts.keys() <= {"plot_figure_2", "plot_dag"}  # they show the study file


def _halve_rate(study):
    study["models"]["8k"]["peak_lr"] /= 2


def _more_d2(study):
    study["grid"]["d2"]["trunk_steps"].append(80)


def _second_seed(study):
    study["seeds"] = [0, 1]


def _three_forms(study):
    study["laws"] = {"forms": ["mul", "mul0", "add"]}


@pytest.mark.parametrize(
    "edit",
    [
        _more_d2,
        _three_forms,
        *(pytest.param(edit, marks=pytest.mark.slow) for edit in (_halve_rate, _second_seed)),
    ],
)
def test_an_edit_has_the_same_plan_with_and_without_snakemakes_records(copied, edit):
    copied.edit_study(STUDY, edit)
    expected = copied.planned(*CONFIG, *TARGETS)
    assert expected
    shutil.rmtree(copied.root / ".snakemake")
    assert copied.planned(*CONFIG, *TARGETS) == expected


def _other_interval(study):
    study["validation"]["every_steps"] = 10


def _other_spelling(study):
    study["corpora"]["generic"]["paths"] = ["./corpora/../corpora/topics/*.txt"]


def _higher_limit(study):
    study["corpora"]["code"]["max_bytes"] = 1_000_000_000


def _unused_corpus(study):
    study["tokenizer"]["corpora"] = [*study["corpora"]]
    study["corpora"]["more"] = {"source": "embedded", "domain": "code", "max_bytes": 300_000}


def test_edits_that_change_no_number_train_nothing(copied):
    for edit in (_other_interval, _other_spelling, _higher_limit, _unused_corpus):
        copied.edit_study(STUDY, edit)
    counts = copied.planned(*CONFIG, *TARGETS)
    assert not {
        rule for rule in counts if rule.startswith(("train_", "evaluate_", "prepare_", "grow_", "tokenize_"))
    }


def test_a_moved_data_folder_trains_nothing(copied):
    (copied.root / "corpora").rename(copied.root / "texts")

    def move(study):
        study["corpora"]["generic"]["paths"] = ["texts/topics/*.txt"]
        study["corpora"]["code"]["paths"] = ["texts/code"]

    copied.edit_study(STUDY, move)
    counts = copied.planned(*CONFIG, *TARGETS)
    assert not {
        rule for rule in counts if rule.startswith(("train_", "evaluate_", "prepare_", "grow_", "tokenize_"))
    }


def test_a_frozen_tokenizer_is_kept_when_text_is_added(copied):
    def freeze(study):
        study["tokenizer"]["frozen"] = True
        study["corpora"]["math"]["max_bytes"] = 400_000

    copied.edit_study(STUDY, freeze)
    counts = copied.planned(*CONFIG, *TARGETS)
    assert counts["prepare_corpus"] == counts["tokenize_corpus"] == 1
    assert "train_tokenizer" not in counts
    runs = {
        line.split("/")[1]
        for line in copied.snakemake("-n", *CONFIG, *TARGETS).stdout.splitlines()
        if " train trunk stage" in line
    }
    assert runs == {"cpt-math"}


def test_a_run_that_discards_training_is_announced_and_can_be_refused(copied):
    copied.edit_study(STUDY, _halve_rate)
    text = copied.snakemake("-n", *CONFIG, *TARGETS).stdout
    assert "finished training jobs" in text
    assert "models.8k.peak_lr: 0.008 -> 0.004" in text
    advice = text.split("To refuse: ")[1].splitlines()[0].split()
    refused = copied.snakemake("--cores", "1", *advice, *TARGETS, check=False)
    assert refused.returncode
    assert "finished jobs again" in refused.stdout
    assert "Traceback" not in refused.stdout
    assert "rule train_" not in refused.stdout
    # What needs no training is not refused.
    copied.snakemake("--cores", "1", *advice, "--", f"{RESULTS}/tables/table-3.csv")


@pytest.mark.parametrize("option", ["refuse_retraing=true", "refuse_retraining=maybe"])
def test_an_unknown_option_is_refused(pristine, option):
    done = pristine.snakemake("-n", "--config", "study=config/tiny.yaml", option, *TARGETS, check=False)
    assert done.returncode
    assert "refuse_retraining" in done.stdout


def test_status_and_plan_agree_with_the_dry_run_after_an_edit(copied, monkeypatch, capsys):
    monkeypatch.chdir(copied.root)
    assert main(["status", STUDY, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["totals"]["jobs"].keys() == {"done"}
    copied.edit_study(STUDY, _halve_rate)
    planned = copied.planned(*CONFIG, *TARGETS)
    costly = {
        rule: count for rule, count in planned.items() if rule.startswith(("train_", "evaluate_", "grow_"))
    }
    assert main(["status", STUDY, "--json"]) == 0
    outdated = [
        job["rule"] for job in json.loads(capsys.readouterr().out)["jobs"] if job["state"] == "outdated"
    ]
    assert {rule: outdated.count(rule) for rule in costly} == costly
    assert main(["plan", STUDY, "--changes", "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)
    assert sum(group["jobs"].get("train_decay_branch", 0) for group in groups) == costly["train_decay_branch"]
    assert all("peak_lr" in group["reason"] for group in groups)
    assert all(group["device_hours"] > 0 for group in groups)


def test_editing_a_figure_redraws_that_figure_only(copied):
    code = copied.root / "src/twostage/figures/figure_1.py"
    code.write_text(code.read_text() + "\n# edited\n")
    assert copied.planned(*CONFIG, *TARGETS) == {"plot_figure_1": 1}


def test_editing_the_trainer_retrains_nothing(copied):
    code = copied.root / "src/twostage/training/train.py"
    code.write_text(code.read_text() + "\n# edited\n")
    assert copied.planned(*CONFIG, *TARGETS) == {}


def test_appending_a_d2_adds_one_segment_branch_and_evaluation_per_d1(copied):
    copied.edit_study(STUDY, lambda study: study["grid"]["d2"].update(trunk_steps=[20, 40, 80]))
    counts = copied.planned(*CONFIG, *TARGETS)
    runs = 2 + 1 + 2 + 2  # cpt-code, cpt-math at one D1, stack, expand; replay chooses its points
    assert counts["train_trunk_segment"] == counts["train_decay_branch"] == runs
    # Continual pretraining is also evaluated on the base corpus.
    assert counts["evaluate_checkpoint"] == runs + 3
    assert not counts.keys() & {"grow_checkpoint", "prepare_corpus", "train_tokenizer", "tokenize_corpus"}


def test_an_extra_d1_adds_one_side_segment_to_the_base(copied):
    copied.edit_study(STUDY, lambda study: study["grid"]["d1"].update(extra_steps=[30]))
    base = f"{RESULTS}/stage1/generic/8k/seed-0/decay/D1-16896/checkpoint/manifest.json"
    assert copied.planned(*CONFIG, "--", base) == {"train_trunk_segment": 1, "train_decay_branch": 1}


def test_a_changed_learning_rate_retrains_everything_and_tokenises_nothing(copied):
    copied.edit_study(STUDY, lambda study: study["models"]["8k"].update(peak_lr=4e-3))
    counts = copied.planned(*CONFIG, *TARGETS)
    # Base with the ablation's side segment, cpt-code, cpt-math, replay, stack, expand, and three ablations of one point.
    assert counts["train_trunk_segment"] == 2 + 1 + 2 * 2 + 2 + 1 + 2 * 2 + 2 * 2 + 3
    assert not counts.keys() & {"prepare_corpus", "train_tokenizer", "tokenize_corpus"}


def test_an_archive_redraws_everything_without_training(finished, tmp_path):
    """The archived tables alone give fits, tables and figures that are equal byte for byte."""
    workflow = copy_workflow(tmp_path / "redrawn")
    archive_study(str(finished.root / STUDY), workflow.root / "elsewhere", finished.root / "results")
    shutil.copy(finished.root / STUDY, workflow.root / STUDY)
    names = {"cells": "cells.csv", "base_cells": "base-cells.csv", "curves": "curves.csv"}
    given = {key: f"elsewhere/tables/{name}" for key, name in names.items()}
    workflow.edit_study(STUDY, lambda study: study.update(cells_table=given))
    counts = workflow.planned(*CONFIG, *TARGETS)
    assert counts["import_cells"] == counts["import_base_cells"] == counts["import_curves"] == 1
    assert not [
        rule for rule in counts if rule.startswith(("train", "prepare", "tokenize", "grow", "evaluate"))
    ]
    workflow.snakemake("--cores", "1", *CONFIG, *TARGETS)
    made = sorted((finished.root / RESULTS).glob("fits/**/*.json"))
    made += sorted((finished.root / RESULTS).glob("tables/*.csv"))
    made += sorted((finished.root / RESULTS).glob("figures/*.csv"))
    assert len(made) > 15
    for path in made:
        if path.name != "not-drawn.csv":  # names other keys, because an imported study cannot train
            again = workflow.root / path.relative_to(finished.root)
            assert again.read_bytes() == path.read_bytes(), path


def test_an_archive_records_the_source_of_its_numbers(finished, tmp_path):
    out = tmp_path / "archive"
    manifest = archive_study(str(finished.root / STUDY), out, finished.root / "results")
    assert json.loads((out / "manifest.json").read_text()) == manifest
    for name, digest in manifest["files"].items():
        assert sha256_file(out / name) == digest
    assert {"tables/cells.csv", "figures/figure-1.png", "jobs.jsonl.gz"} <= set(manifest["files"])
    results = finished.root / RESULTS
    records = read_records(out)
    assert len(records) == sum(1 for name in ("metrics.json", "eval-*.json") for _ in results.rglob(name))
    assert records[CELL.removeprefix(f"{RESULTS}/")] == json.loads((finished.root / CELL).read_text())
    jobs = manifest["training_jobs"]
    assert jobs["planned"] == jobs["measured"] == sum(name.endswith("metrics.json") for name in records)
    # The "decay" of a constant schedule has a validation loss and no step.
    steps = sum('"grad_norm"' in line for file in results.rglob("steps.jsonl") for line in file.open())
    assert manifest["tokens_trained"] == steps * 8 * 64
    tokens = json.loads((results / "tokens/generic/manifest.json").read_text())
    assert manifest["corpora"]["generic"]["documents_sha256"] == tokens["documents_sha256"]
    # A second archive has the same bytes; it keeps other files in the folder and deletes files of the earlier archive only.
    (out / "README.md").write_text("by hand")
    (out / "tables/old.csv").write_text("of an earlier archive")
    manifest["files"]["tables/old.csv"] = sha256_file(out / "tables/old.csv")
    (out / "manifest.json").write_text(json.dumps(manifest))
    again = archive_study(str(finished.root / STUDY), out, finished.root / "results")
    del manifest["files"]["tables/old.csv"]
    assert again == manifest
    assert (out / "README.md").read_text() == "by hand"
    assert not (out / "tables/old.csv").exists()


def test_only_what_was_measured_can_be_archived(finished, tmp_path, capsys):
    arguments = ["archive", str(finished.root / STUDY), "--results", str(tmp_path)]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "run the study first" in capsys.readouterr().err
    inside = finished.root / RESULTS / "archive"
    arguments[-1] = str(finished.root / "results")
    assert main([*arguments, "--out", str(inside)]) == 2
    assert "choose another folder" in capsys.readouterr().err
    assert not inside.exists()
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert "training jobs measured" in capsys.readouterr().out


def test_tables_without_a_column_are_refused_before_anything_runs(finished, tmp_path):
    workflow = copy_workflow(tmp_path / "refused")
    shutil.copy(finished.root / STUDY, workflow.root / STUDY)
    table = pd.read_csv(finished.root / RESULTS / "tables/cells.csv").drop(columns="n_base")
    table.to_csv(workflow.root / "mine.csv", index=False)
    workflow.edit_study(STUDY, lambda study: study.update(cells_table={"cells": "mine.csv"}))
    done = workflow.snakemake("-n", *CONFIG, *TARGETS, check=False)
    assert done.returncode != 0
    assert "cells_table.cells: mine.csv has no column 'n_base'" in done.stdout
    assert "Traceback" not in done.stdout


def test_one_method_at_one_size_is_a_target(copied):
    """In an empty folder, it trains the jobs that its cells depend on: the base and its own runs."""
    shutil.rmtree(copied.root / RESULTS / "stage2")
    shutil.rmtree(copied.root / RESULTS / "stage1")
    counts = copied.planned(*CONFIG, "--", f"{RESULTS}/cells/stack/8k.csv")
    assert counts["train_trunk_segment"] == counts["train_decay_branch"] == 2 + 2 * 2
    assert counts["grow_checkpoint"] == 2
    assert counts["evaluate_checkpoint"] == 2 * 2  # measured on the base corpus only, which is also its own
    done = copied.snakemake("-n", *CONFIG, "--", f"{RESULTS}/cells/stack/9k.csv", check=False)
    assert "no cells of method 'stack' and model '9k'" in done.stdout


def test_cells_of_one_method_equal_those_of_the_full_table(copied):
    copied.snakemake("--cores", "1", *CONFIG, "--", f"{RESULTS}/cells/stack/8k.csv")
    own = pd.read_csv(copied.root / RESULTS / "cells/stack/8k.csv")
    cells = pd.read_csv(copied.root / RESULTS / "tables/cells.csv")
    whole = cells[cells["method"] == "stack"].reset_index(drop=True)
    pd.testing.assert_frame_equal(own[["evaluation", "loss_nats"]], whole[["evaluation", "loss_nats"]])


def test_one_cell_again_runs_one_job_and_gives_the_same_loss(copied):
    before = json.loads((copied.root / CELL).read_text())
    assert copied.planned(*CONFIG, "-f", CELL) == {"evaluate_checkpoint": 1}
    copied.snakemake("--cores", "1", *CONFIG, "-f", CELL)
    after = json.loads((copied.root / CELL).read_text())
    assert after["loss_nats"] == before["loss_nats"]


def test_retraining_a_branch_gives_the_same_bytes(copied):
    manifest = f"{RESULTS}/stage1/generic/8k/seed-0/decay/D1-11264/checkpoint/manifest.json"
    before = (copied.root / manifest).read_bytes()
    (copied.root / Path(manifest).parent / "model.safetensors").unlink()
    copied.snakemake("--cores", "1", *CONFIG, "-f", manifest)
    assert (copied.root / manifest).read_bytes() == before
    # The new checkpoint equals the old one, so no dependent model is stale; metrics.json has new times, so the
    # tables gather again.
    counts = copied.planned(*CONFIG, *TARGETS)
    assert not counts.keys() & {
        "train_trunk_segment",
        "train_decay_branch",
        "grow_checkpoint",
        "evaluate_checkpoint",
    }


def test_the_error_of_a_missing_payload_names_the_command_that_remakes_it(copied):
    manifest = f"{RESULTS}/stage2/stack/8k/seed-0/D1-11264/decay/D2-11264/checkpoint/manifest.json"
    (copied.root / Path(manifest).parent / "model.safetensors").unlink()
    done = copied.snakemake("--cores", "1", *CONFIG, "-f", CELL, check=False)
    assert done.returncode != 0
    log = (
        copied.root / f"{RESULTS}/logs/stage2/stack/8k/seed-0/D1-11264/eval-D2-11264-generic.log"
    ).read_text()
    assert "model.safetensors: file is missing" in log
    assert f"-f {manifest}" in log
    assert not (copied.root / CELL).exists()


def test_replay_mixes_at_the_stated_ratio(finished):
    metrics = f"{RESULTS}/stage2/cpt-code-replay/8k/seed-0/D1-11264/decay/D2-11264/metrics.json"
    record = json.loads((finished.root / metrics).read_text())
    assert record["spec"]["mixture"] == [["code", 3], ["generic", 1]]
    sizes = {}
    for corpus in ("code", "generic"):
        manifest = json.loads((finished.root / RESULTS / f"tokens/{corpus}/manifest.json").read_text())
        sizes[corpus] = (manifest["splits"]["train"]["tokens"] - 1) // 64
    seen = {corpus: record["epochs"][corpus] * sizes[corpus] for corpus in sizes}
    assert sum(seen.values()) == pytest.approx(22 * 8)
    assert seen["generic"] == pytest.approx(0.25 * 22 * 8)
