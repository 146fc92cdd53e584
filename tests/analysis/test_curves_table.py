"""Loss curves of runs that were trained by a study's design: every kind of start, a chain of segments, all schedules."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from twostage.analysis.curves_table import COLUMNS, gather_curves, parse_branch
from twostage.common.errors import UserError
from twostage.common.storage import read_manifest
from twostage.design.design import Design
from twostage.design.paths import Branch, Segment, Stage1Run, Stage2Run, parse_artifact
from twostage.design.specs import branch_spec, grow_spec, segment_spec
from twostage.study import Study
from twostage.training.grow import grow_checkpoint
from twostage.training.train import TrainJob, train

ROOT = Path(__file__).parents[2]
UNIT = 8 * 16  # tokens per step
FIELDS = {
    "description": "a trained study of a few dozen steps",
    "corpora": {
        name: {"source": "files", "paths": [f"{name}/*.txt"], "valid_fraction": 0.2}
        for name in ("words", "others")
    },
    "tokenizer": {"kind": "bpe", "vocab_size": 300},
    "context": 16,
    "models": {
        "tiny": {
            "n_layer": 2,
            "d_model": 32,
            "n_head": 2,
            "d_mlp": 64,
            "batch_size": 8,
            "warmup_steps": 4,
            "peak_lr": 5e-3,
            "init_std": 0.1,
        }
    },
    "grid": {"d1": {"trunk_steps": [10, 20]}, "d2": {"trunk_steps": [10]}},
    "validation": {"every_steps": 4, "samples": 8},
    "stage1": {"corpus": "words"},
    "methods": {
        "cpt": {"kind": "cpt", "corpus": "others", "replay": 0.25, "d1_steps": [10]},
        "cpt-stable": {"kind": "cpt", "corpus": "others", "start": "trunk", "d1_steps": [10]},
        "stack-stable": {"kind": "stack", "start": "trunk", "d1_steps": [10]},
        "constant": {"kind": "stack", "schedule": "constant", "d1_steps": [10]},
        "cosine": {"kind": "cpt", "corpus": "others", "schedule": "cosine", "d1_steps": [10]},
    },
    "ablations": {"schedule": {"model": "tiny", "total_steps": 20}},
}
DESIGN = Design(Study(name="curves", **FIELDS))
BASE = Stage1Run("words", "tiny", 0)


def second(method, d1_steps):
    return Branch(Stage2Run(method, "tiny", 0, d1_steps * UNIT), 11 * UNIT)


# D1 counts the trunk's tokens if the second stage starts from the trunk.
STAGE2 = {
    "cpt": second("cpt", 11),
    "cpt-stable": second("cpt-stable", 10),
    "stack-stable": second("stack-stable", 10),
    "constant": second("constant", 11),
    "cosine": second("cosine", 11),
}
FIRST = Branch(BASE, 22 * UNIT)
COSINE = Branch(Stage1Run("words", "tiny", 0, "cosine"), 20 * UNIT)


def make(design, job, results, tokens):
    """Train a job and the jobs that it depends on, as the workflow's rules do."""
    if (results / job.manifest).exists():
        return
    parent = design.parent_manifest(job)
    if parent is not None:
        if "/init/" in parent:
            base = design.base(job.run)
            make(design, base, results, tokens)
            out = (results / parent).parent
            grow_checkpoint(grow_spec(design, job.run), base=results / base.manifest, out=out)
        else:
            make(design, parse_artifact(parent), results, tokens)
    spec = segment_spec(design, job) if isinstance(job, Segment) else branch_spec(design, job)
    train(
        TrainJob(
            spec=spec,
            parent=None if parent is None else results / parent,
            tokens=(tokens,) * len(spec.mixture),
            out=results / job.folder,
            rolling=results / "rolling",
        )
    )


@pytest.fixture(scope="module")
def trained(corpus_folder, tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    for branch in (FIRST, COSINE, *STAGE2.values()):
        make(DESIGN, branch, results, corpus_folder)
    return results


@pytest.fixture(scope="module")
def curves(trained):
    return gather_curves(DESIGN, trained, [FIRST, COSINE, *STAGE2.values(), FIRST])


def rows(curves, branch):
    label, run = DESIGN.label(branch), branch.run
    d1 = getattr(run, "d1_tokens", 0)
    return curves[
        (curves.method == label) & (curves.d1_tokens == d1) & (curves.d2_tokens == branch.tokens)
    ].reset_index(drop=True)


def lines(trained, *folders):
    return [
        json.loads(line)
        for folder in folders
        for line in (trained / folder / "steps.jsonl").read_text().splitlines()
    ]


def test_one_row_for_every_validation_of_every_wanted_branch_once(curves):
    assert tuple(curves.columns) == COLUMNS
    assert rows(curves, FIRST).step.tolist() == [4, 8, 12, 16, 20, 22]
    assert rows(curves, COSINE).step.tolist() == [4, 8, 12, 16, 20]
    for branch in STAGE2.values():
        assert rows(curves, branch).step.tolist() == [4, 8, 11]
    assert len(curves) == 6 + 5 + 5 * 3
    assert set(curves.method) == {"scratch", "scratch-cosine", *STAGE2}
    assert (curves.tokens == curves.step * UNIT).all()
    assert (curves.d1_tokens[curves.method.str.startswith("scratch")] == 0).all()
    assert set(curves.model) == {"tiny"}
    assert np.isfinite(curves[["lr", "train_loss_nats", "valid_loss_nats", "grad_norm"]]).all(axis=None)


def test_rows_hold_means_since_the_row_before_over_segments_and_branch(curves, trained):
    all_lines = lines(
        trained,
        Segment(BASE, 10 * UNIT).folder,
        Segment(BASE, 20 * UNIT).folder,
        FIRST.folder,
    )
    found = rows(curves, FIRST)
    # Row 3 includes the boundary between two segments, the last row the end of the trunk.
    for row, (begin, end) in enumerate([(1, 4), (5, 8), (9, 12), (13, 16), (17, 20), (21, 22)]):
        part = [line for line in all_lines if begin <= line["step"] <= end]
        assert len(part) == end - begin + 1
        assert found.train_loss_nats[row] == pytest.approx(np.mean([line["loss"] for line in part]))
        assert found.grad_norm[row] == pytest.approx(np.mean([line["grad_norm"] for line in part]))
        assert found.valid_loss_nats[row] == part[-1]["valid_loss"]
        assert found.lr[row] == part[-1]["lr"]
    assert found.lr.tolist() == [5e-3] * 5 + [5e-4]
    assert found.valid_loss_nats.iloc[-1] < found.valid_loss_nats.iloc[0]


def test_a_branch_of_no_steps_ends_with_its_trunks_last_update(curves, trained):
    branch = STAGE2["constant"]
    trunk = lines(trained, Segment(branch.run, 11 * UNIT).folder)
    [own] = lines(trained, branch.folder)
    found = rows(curves, branch)
    assert "valid_loss" not in trunk[-1]
    assert found.valid_loss_nats.tolist() == [
        trunk[3]["valid_loss"],
        trunk[7]["valid_loss"],
        own["valid_loss"],
    ]
    assert found.train_loss_nats[2] == pytest.approx(np.mean([line["loss"] for line in trunk[8:]]))
    assert found.lr.tolist() == [5e-3] * 3


def test_every_way_to_start_a_second_stage_is_trained_as_designed(curves, trained):
    """The design's specs, the growth job and the trainer work together."""
    warmed = [5e-3 * step / 4 for step in (1, 2, 3, 4)]
    for name, branch in STAGE2.items():
        folder = Segment(branch.run, 10 * UNIT).folder
        if name in ("constant", "cosine"):
            folder = Segment(branch.run, 11 * UNIT).folder if name == "constant" else branch.folder
        rates = [line["lr"] for line in lines(trained, folder)][:4]
        assert rates == ([5e-3] * 4 if name.endswith("-stable") else warmed), name
    # The start from the trunk has weights and moments: a state of a model of the stacked shape.
    init = read_manifest(trained / STAGE2["stack-stable"].run.path / "init/checkpoint/manifest.json")
    assert init["kind"] == "training-state"
    assert init["architecture"]["n_layer"] == 4
    # Both start from better than random weights.
    scratch = lines(trained, Segment(BASE, 10 * UNIT).folder)
    for name in ("cpt", "cpt-stable", "cosine"):
        branch = STAGE2[name]
        folder = branch.folder if name == "cosine" else Segment(branch.run, 10 * UNIT).folder
        assert lines(trained, folder)[0]["loss"] < scratch[0]["loss"] - 0.1, name


# What is refused


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of the logs of one chain, to be damaged."""
    for job in (Segment(BASE, 10 * UNIT), Segment(BASE, 20 * UNIT), FIRST):
        (tmp_path / job.folder).mkdir(parents=True)
        for name in ("steps.jsonl", "metrics.json"):
            shutil.copy(trained / job.folder / name, tmp_path / job.folder)
    assert len(gather_curves(DESIGN, tmp_path, [FIRST])) == 6
    return tmp_path


def cut(text):
    return text[:-30]


def drop_last_line(text):
    return "".join(text.splitlines(keepends=True)[:-1])


def drop_validation(text):
    return "".join(
        json.dumps({k: v for k, v in json.loads(line).items() if k != "valid_loss"}) + "\n"
        for line in text.splitlines()
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "truncated or altered"),
        (drop_last_line, "9 lines where steps 11 to 20 are expected"),
        (lambda text: "", "0 lines where steps 11 to 20 are expected"),
        (lambda text: text.replace("{", "[{").replace("}", "}]"), "truncated or altered"),
        (lambda text: text.replace("grad_norm", "norm"), "step 11 has no 'grad_norm'"),
        (drop_validation, "step 12 has no 'valid_loss'"),
    ],
)
def test_a_damaged_log_is_named_with_the_command_that_remakes_it(damage, message, copy):
    segment = Segment(BASE, 20 * UNIT)
    path = copy / segment.folder / "steps.jsonl"
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match=message) as error:
        gather_curves(DESIGN, copy, [FIRST])
    assert str(error.value).startswith(f"{path}: ")
    assert str(error.value).endswith(f"-f {copy / segment.metrics}")


def test_a_missing_log_is_named(copy):
    (copy / FIRST.folder / "steps.jsonl").unlink()
    with pytest.raises(UserError, match=r"missing; remake it with: snakemake .*-f") as error:
        gather_curves(DESIGN, copy, [FIRST])
    assert str(copy / FIRST.metrics) in str(error.value)


def test_the_interval_of_the_losses_is_the_one_that_the_jobs_ran_with(curves, trained):
    study = Study(name="curves", **FIELDS | {"validation": FIELDS["validation"] | {"every_steps": 1}})
    found = gather_curves(Design(study), trained, [FIRST])
    assert found.equals(rows(curves, FIRST))


def test_losses_of_another_number_of_samples_are_refused(trained):
    samples = FIELDS["validation"]["samples"] + 1
    study = Study(name="curves", **FIELDS | {"validation": FIELDS["validation"] | {"samples": samples}})
    with pytest.raises(UserError, match=rf"validation.samples: {samples}, but .*metrics.json has losses of"):
        gather_curves(Design(study), trained, [FIRST])


def test_a_study_without_validation_has_no_curves(trained):
    fields = {key: value for key, value in FIELDS.items() if key != "validation"}
    with pytest.raises(UserError, match=r"validation: study curves has no such section.*add e\.g\."):
        gather_curves(Design(Study(name="curves", **fields)), trained, [FIRST])


def test_a_branch_that_is_not_in_the_study_is_refused(trained):
    with pytest.raises(UserError, match="is not on the grid"):
        gather_curves(DESIGN, trained, [Branch(BASE, 33 * UNIT)])


def test_branch_folders_round_trip_and_others_are_refused():
    for branch in (FIRST, COSINE, *STAGE2.values()):
        assert parse_branch(branch.folder) == parse_branch(branch.folder + "/") == branch
    with pytest.raises(UserError, match="this is a trunk segment; give a decay branch"):
        parse_branch(Segment(BASE, 10 * UNIT).folder)
    with pytest.raises(UserError, match="not a file of a trunk segment or decay branch"):
        parse_branch(BASE.path)


# The script


def test_the_script_writes_the_same_table(trained, curves, tmp_path, monkeypatch):
    (tmp_path / "curves.yaml").write_text(yaml.safe_dump(FIELDS))
    words = [
        "aggregate_cells.py",
        "--study",
        str(tmp_path / "curves.yaml"),
        "curves",
        "--results",
        str(trained),
    ]
    words += ["--wanted", *(branch.folder for branch in (FIRST, COSINE, *STAGE2.values()))]
    monkeypatch.setattr(sys, "argv", [*words, "--out", str(tmp_path / "tables/curves.csv")])
    runpy.run_path(str(ROOT / "workflow/scripts/aggregate_cells.py"), run_name="__main__")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "tables/curves.csv"), curves, check_exact=True)


def test_the_module_does_not_import_torch():
    code = "import sys, twostage.analysis.curves_table; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
