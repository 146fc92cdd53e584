"""The plan of a study against hand calculations, and the output of `twostage plan`."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from design_totals import planned_tokens
from made_up_speeds import size, write_speeds
from results_tree import make_design

from twostage.cli import main
from twostage.common.architecture import Architecture
from twostage.common.units import format_quantity
from twostage.design.design import Design
from twostage.design.flops import flops_per_token, training_state_bytes, weights_bytes
from twostage.design.paths import Branch, Segment, Stage1Run, Stage2Run, grown_manifest
from twostage.planning.jobs import is_protected, least_split_tokens, planned_jobs, releases
from twostage.planning.plan import PAPER, CorpusSize, cautions, estimated_size, plan_study, short_splits
from twostage.study import Study

STEPS = (100, 200, 400)
TOKENS = 8 * 128  # per step
BASE = Architecture(n_layer=2, d_model=32, n_head=2, head_dim=16, d_mlp=128, vocab_size=2048, context=128)
STACKED = BASE.with_shape(n_layer=4)
RELEASE = {"grown": "release", "stage2_trunk": "release"}
UNKNOWN = CorpusSize(tokens=None, source="unknown")


def plan_of(design: Design, size: CorpusSize = UNKNOWN):
    return plan_study(design.study, dict.fromkeys(design.study.corpora, size))


def edited(study: Study, **changes) -> Study:
    return Study(**(study.model_dump() | changes))


def test_jobs_and_tokens_by_hand():
    plan = plan_of(make_design(steps=STEPS))
    runs = 1 + 2 * len(STEPS)
    assert plan.rules == {
        "prepare_corpus": 2,
        "train_tokenizer": 1,
        "tokenize_corpus": 2,
        "train_trunk_segment": 3 * runs,
        "train_decay_branch": 3 * runs,
        "grow_checkpoint": 3,
        "evaluate_checkpoint": 3 * 2 + 9 * 2 + 9,
    }
    # A run: one trunk of 400 steps and decays of 10, 20 and 40.
    per_run = (400 + 10 + 20 + 40) * TOKENS
    assert plan.work.tokens == runs * per_run
    assert [(row.method, row.runs, row.jobs, row.cells) for row in plan.rows] == [
        ("base", 1, 6, 3),
        ("cpt-code", 3, 18, 9),
        ("stack", 3, 18, 9),
    ]
    base, cpt, stack = plan.rows
    assert base.work.flops == per_run * flops_per_token(BASE)
    assert cpt.work.flops == 3 * base.work.flops
    assert stack.work.flops == 3 * per_run * flops_per_token(STACKED)
    assert stack.work.flops_6nd == 6 * STACKED.n_params * 3 * per_run


def test_naive_plan_trains_d1_and_d2_again_for_every_cell():
    plan = plan_of(make_design(steps=STEPS))
    lengths = [round(1.1 * steps) * TOKENS for steps in STEPS]
    stage1 = sum(lengths)
    both = sum(d1 + d2 for d1 in lengths for d2 in lengths)
    assert plan.naive.tokens == stage1 + 2 * both
    # With growth, the base model is trained at N and the second stage at 2N.
    stack = plan.rows[2]
    assert stack.naive.flops == sum(
        d1 * flops_per_token(BASE) + d2 * flops_per_token(STACKED) for d1 in lengths for d2 in lengths
    )


def test_disk_by_hand_without_release():
    disk = plan_of(make_design(steps=STEPS)).disk
    by_kind = {kind: sum(row.total_bytes for row in disk.rows if row.kind == kind) for kind in disk.policy}
    assert by_kind == {
        "base trunk": 3 * training_state_bytes(BASE),
        "base decay": 3 * weights_bytes(BASE),
        "grown": 3 * weights_bytes(STACKED),
        "stage-2 trunk": 9 * training_state_bytes(BASE) + 9 * training_state_bytes(STACKED),
        "stage-2 decay": 9 * weights_bytes(BASE) + 9 * weights_bytes(STACKED),
    }
    assert disk.final_bytes == disk.total_bytes == disk.peak_bytes


def test_disk_by_hand_with_release():
    disk = plan_of(make_design(steps=STEPS, checkpoints=RELEASE)).disk
    base = 3 * (training_state_bytes(BASE) + weights_bytes(BASE))
    ends = {shape: 3 * (training_state_bytes(shape) + 3 * weights_bytes(shape)) for shape in (BASE, STACKED)}
    assert disk.final_bytes == base + sum(ends.values())
    # The peak is in the last run, the largest. At its last segment it has two training states and two decayed models.
    most = base + ends[BASE] + ends[STACKED] * 2 // 3
    assert disk.peak_bytes == most + 2 * training_state_bytes(STACKED) + 2 * weights_bytes(STACKED)
    assert disk.rolling_bytes == 3 * training_state_bytes(STACKED)


@pytest.mark.parametrize(("vocab_size", "bytes_each"), [(2048, 2), (65_499, 2), (65_500, 4), (128_000, 4)])
def test_tokens_on_disk(vocab_size, bytes_each):
    design = make_design(tokenizer={"kind": "bpe", "vocab_size": vocab_size})
    assert plan_of(design, CorpusSize(tokens=1000, source="")).disk.token_bytes["code"] == 1000 * bytes_each


# Releases -----------------------------------------------------------------------------------------------------------


def released(**changes) -> tuple[Design, dict[str, tuple[str, ...]]]:
    design = make_design(steps=STEPS, checkpoints=RELEASE, **changes)
    return design, releases(design, planned_jobs(design))


def test_release_waits_for_everything_planned_from_a_checkpoint():
    design, by_manifest = released()
    run = Stage2Run("stack", "33k", 0, 110 * TOKENS)
    first, second, last = design.segments(run)
    branches = design.branches(run)
    assert by_manifest[grown_manifest(run)] == (first.manifest,)
    assert set(by_manifest[first.manifest]) == {second.manifest, branches[0].manifest}
    assert set(by_manifest[second.manifest]) == {last.manifest, branches[1].manifest}
    assert last.manifest not in by_manifest
    assert not [manifest for manifest in by_manifest if manifest.startswith("stage1/")]
    assert not [manifest for manifest in by_manifest if "/decay/" in manifest]


def test_side_segments_are_released_but_not_the_last_of_the_chain():
    """A longer chain would continue from 200, not from the side segment at 300, but the last segment is kept, too."""
    grid = {"trunk_steps": [100, 200], "extra_steps": [150, 300]}
    design, by_manifest = released(grid={"d1": {"trunk_steps": [100]}, "d2": grid})
    run = Stage2Run("cpt-code", "33k", 0, 110 * TOKENS)
    gone = {segment.tokens // TOKENS for segment in design.segments(run) if segment.manifest in by_manifest}
    assert gone == {100, 150}


def test_an_excluded_branch_is_not_waited_for():
    design = make_design(steps=STEPS, checkpoints=RELEASE)
    run = Stage2Run("stack", "33k", 0, 110 * TOKENS)
    branch = design.branches(run)[0]
    excluded = [{"cell": branch.evaluation("generic"), "reason": "diverged"}]
    design = make_design(steps=STEPS, checkpoints=RELEASE, excluded_cells=excluded)
    jobs = planned_jobs(design)
    assert branch not in jobs.branches
    assert releases(design, jobs)[design.segments(run)[0].manifest] == (design.segments(run)[1].manifest,)
    assert plan_of(design).rules["train_decay_branch"] == 3 * 7 - 1


def test_only_stage_1_checkpoints_are_protected():
    design = make_design(checkpoints={"base_trunk": "protect"})
    base = Stage1Run("generic", "33k", 0)
    segment, branch = Segment(base, 100 * TOKENS), Branch(base, 110 * TOKENS)
    stage2 = Segment(Stage2Run("stack", "33k", 0, 110 * TOKENS), 100 * TOKENS)
    assert [is_protected(design, job) for job in (segment, branch, stage2)] == [True, False, False]


def test_every_planned_job_has_its_parent_in_the_plan():
    design = make_design()
    jobs = planned_jobs(design)
    manifests = {job.manifest for job in jobs.training} | {grown_manifest(run) for run in jobs.grown}
    parents = {design.parent_manifest(job) for job in jobs.training} - {None}
    assert parents <= manifests
    assert len(jobs.training) == len(set(jobs.training)) == 72
    tokens = sum(design.job_tokens(job) for job in jobs.training)
    assert tokens == planned_tokens(design)


def test_a_study_with_cells_table_has_no_jobs():
    plan = plan_of(make_design(cells_table={"cells": "cells.csv"}))
    assert plan.jobs == plan.work.tokens == plan.disk.total_bytes == 0


# Corpora ------------------------------------------------------------------------------------------------------------


def test_epochs_by_hand():
    """The longest run reads 440 steps of 8 samples; the corpus has 100 samples of 128 tokens."""
    plan = plan_of(make_design(steps=STEPS), CorpusSize(tokens=100 * 128 + 1, source="exact"))
    assert [use.epochs for use in plan.corpora] == [pytest.approx(440 * 8 / 100)] * 2


def test_replay_and_fresh_data_count_what_they_read():
    methods = {
        "replay": {"kind": "cpt", "corpus": "code", "replay": 0.25},
        "fresh": {"kind": "stack", "data": "fresh"},
    }
    plan = plan_of(
        make_design(steps=STEPS, methods=methods), CorpusSize(tokens=100 * 128 + 1, source="exact")
    )
    use = {entry.corpus: entry for entry in plan.corpora}
    assert use["code"].tokens == 440 * TOKENS * 3 // 4
    assert use["generic"].tokens == 2 * 440 * TOKENS  # those of the base run, and the same number again
    assert use["generic"].run.startswith("stage2/fresh/")


def test_size_of_a_corpus_is_estimated_from_max_bytes():
    corpora = {
        "generic": {"source": "embedded", "domain": "generic", "max_bytes": 1_000_000, "valid_fraction": 0.1},
        "code": {"source": "embedded", "domain": "code"},
    }
    study = make_design(corpora=corpora).study
    assert estimated_size(study, "generic", 4.0).tokens == 225_000
    assert "max_bytes at 4 bytes per token (assumed)" in estimated_size(study, "generic", 4.0).source
    assert estimated_size(study, "code", 4.0).tokens is None


# The paper ----------------------------------------------------------------------------------------------------------


def _with_files(**keys):
    files = {"source": "files", "paths": ["texts/*.txt"], "valid_fraction": 0.1} | keys
    return make_design(corpora={"generic": files, "code": {"source": "embedded", "domain": "code"}}).study


def test_size_of_local_text_is_estimated_from_the_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert estimated_size(_with_files(), "generic", 4.0).tokens is None
    (tmp_path / "texts").mkdir()
    for name in ("a", "b"):
        (tmp_path / f"texts/{name}.txt").write_text("x" * 2000)
    assert estimated_size(_with_files(), "generic", 4.0).tokens == 4000 * 0.9 / 4
    assert estimated_size(_with_files(max_bytes=1000), "generic", 4.0).tokens == 1000 * 0.9 / 4


def test_what_would_stop_a_job_on_this_machine_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # no NVIDIA driver
    study = _with_files()
    [unmatched] = cautions(study)
    assert unmatched.startswith("corpora.generic: paths: 'texts/*.txt' matches no file")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text("text")
    assert list(cautions(study)) == []
    bf16 = study.model_copy(update={"recipe": study.recipe.model_copy(update={"precision": "bf16"})})
    [caution] = cautions(bf16)
    assert caution.startswith("recipe.precision: bf16 needs CUDA")


def test_a_held_out_split_that_is_too_short_is_said_by_the_plan():
    study = edited(make_design().study, validation={"every_steps": 20, "samples": 64})
    least = 64 * study.context + 1
    long, short = (CorpusSize(tokens=10**6, source="s", valid_tokens=tokens) for tokens in (least, least - 1))
    assert list(short_splits(study, dict.fromkeys(study.corpora, long))) == []
    assert list(short_splits(study, dict.fromkeys(study.corpora, UNKNOWN))) == []
    [warning] = short_splits(study, {"generic": long, "code": short})
    assert f"corpora.code: about {least - 1:,} tokens are held out" in warning
    assert f"need {least:,}; raise valid_fraction" in warning


def test_the_papers_estimate_is_6nd_of_two_stages_at_n():
    """B.4: around 1e9 TFLOPs, 694 GPU-hours at 400 TFLOP/s."""
    assert PAPER.n_params == pytest.approx(1.086e9, rel=1e-3)
    assert PAPER.tokens == 73_819_750_400
    assert PAPER.recomputed(growth=1) == pytest.approx(1e21, rel=0.05)
    assert PAPER.recomputed(growth=2) > 1.4e21
    assert round(PAPER.gpu_hours) == 694
    assert PAPER.all_cost / PAPER.all_gpu_hours == 2


# The command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def study_file(tmp_path, monkeypatch):
    """A study with a subset, in a temporary folder."""
    monkeypatch.chdir(tmp_path)
    fields = make_design(steps=STEPS, checkpoints=RELEASE).study.model_dump(mode="json", exclude_none=True)
    fields |= {
        "subsets": {"growth": {"description": "depth growth only", "methods": ["stack"]}},
        "corpora": {
            "generic": {"source": "embedded", "domain": "generic", "max_bytes": 1_000_000},
            "code": {"source": "embedded", "domain": "code"},
        },
    }
    del fields["name"]
    (tmp_path / "mine.yaml").write_text(json.dumps(fields))
    return "mine.yaml"


def as_json(capsys, *arguments: str):
    assert main(["plan", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_subsets_and_the_complete_study_are_planned(study_file, capsys):
    record = as_json(capsys, study_file)
    assert set(record["parts"]) == {"growth", "full"}
    assert record["parts"]["full"]["tokens"] == record["work"]["tokens"] == 7 * 470 * TOKENS
    assert record["parts"]["growth"]["tokens"] == 4 * 470 * TOKENS
    part = as_json(capsys, f"{study_file}:growth")
    assert part["work"]["tokens"] == 4 * 470 * TOKENS
    assert part["rules"]["grow_checkpoint"] == 3


def test_hours_and_cost_follow_the_options(study_file, capsys):
    record = as_json(capsys, study_file)
    flops = record["work"]["flops"]
    assert record["gpu_hours"] == pytest.approx(flops / (0.4 * 989e12) / 3600)
    assert record["cost_usd"] == pytest.approx(2 * record["gpu_hours"])
    other = as_json(capsys, study_file, "--tflops", "1", "--price", "3")
    assert other["cost_usd"] == pytest.approx(3 * flops / 1e12 / 3600)


@pytest.fixture
def measured(tmp_path):
    """Write a synthetic benchmark file: 1e6 FLOP/s at the base model's size and, if given, 4e6 at size `n`."""

    def write(n: int | None = None) -> str:
        sizes = [size(BASE.n_params, 1e6), *([size(n, 4e6)] if n else [])]
        write_speeds(tmp_path / "made-up.json", sizes)
        return "made-up.json"

    return write


@pytest.fixture
def bf16_study(study_file):
    fields = json.loads(Path(study_file).read_text())
    fields["recipe"] = fields.get("recipe", {}) | {"precision": "bf16"}
    Path(study_file).write_text(json.dumps(fields))
    return study_file


def test_each_size_uses_its_measured_speed(bf16_study, measured, capsys):
    record = as_json(capsys, bf16_study, "--throughput", measured(STACKED.n_params))
    base = 4 * 470 * TOKENS * flops_per_token(BASE)  # the base run and three runs on code
    stacked = 3 * 470 * TOKENS * flops_per_token(STACKED)
    assert record["gpu_hours"] == pytest.approx((base / 1e6 + stacked / 4e6) / 3600)
    assert record["cost_usd"] == pytest.approx(2 * record["gpu_hours"])
    assert record["machine"]["measured_on"] == "made-up GPU"
    assert record["machine"]["not_measured"] == []
    # Trained separately, each of the nine cells of stack and of cpt-code trains its base model again.
    bases, seconds = 3 * (110 + 220 + 440), 3 * (110 + 220 + 440)
    naive_base = (110 + 220 + 440 + 2 * bases + seconds) * TOKENS * flops_per_token(BASE)
    naive_stacked = seconds * TOKENS * flops_per_token(STACKED)
    assert record["naive_bill"]["gpu_hours"] == pytest.approx((naive_base / 1e6 + naive_stacked / 4e6) / 3600)


def test_sizes_without_a_measurement_are_assumed_and_marked(bf16_study, measured, capsys):
    file = measured()
    record = as_json(capsys, bf16_study, "--throughput", file, "--utilisation", "0.5")
    base = 4 * 470 * TOKENS * flops_per_token(BASE)
    stacked = 3 * 470 * TOKENS * flops_per_token(STACKED)
    assert record["gpu_hours"] == pytest.approx((base / 1e6 + stacked / 5e12) / 3600)  # half the GPU's peak
    [gap] = record["machine"]["not_measured"]
    assert gap.startswith(f"N = {STACKED.n_params:,}: ")
    assert main(["plan", bf16_study, "--throughput", file]) == 0
    printed = capsys.readouterr().out
    text = " ".join(printed.split())
    assert "Training, at tokens/s measured on a made-up GPU (*: not measured, at 4 model TFLOP/s)" in text
    assert f"Not measured: {gap}" in text
    marks = {line.split("│")[1].strip(): line.count("*") for line in printed.splitlines() if "│ 33k" in line}
    assert marks == {"base": 0, "cpt-code": 0, "stack": 2}  # hours and dollars


def test_a_study_in_another_precision_is_not_covered(study_file, measured, capsys):
    record = as_json(capsys, study_file, "--throughput", measured(STACKED.n_params))
    assert record["gpu_hours"] == pytest.approx(record["work"]["flops"] / (0.4 * 10e12) / 3600)
    assert len(record["machine"]["not_measured"]) == 2
    assert "measured in bf16, but the study trains in fp32" in record["machine"]["not_measured"][0]


def test_a_tokenised_corpus_is_counted_exactly(study_file, capsys, tmp_path):
    folder = tmp_path / "results/mine/tokens/code"
    folder.mkdir(parents=True)
    splits = {"train": {"tokens": 128 * 1000 + 1}, "valid": {"tokens": 5000}}
    (folder / "manifest.json").write_text(json.dumps({"splits": splits}))
    uses = {use["corpus"]: use for use in as_json(capsys, study_file)["corpora"]}
    assert uses["code"]["epochs"] == pytest.approx(440 * 8 / 1000)
    assert uses["code"]["held"] == {"tokens": 128_001, "source": "exact: tokenised", "valid_tokens": 5000}
    assert "assumed" in uses["generic"]["held"]["source"]


def test_tables_show_the_plan_and_warnings(study_file, capsys):
    assert main(["plan", study_file]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Warning: corpora.generic: stage1/generic/33k/seed-0 reads it 1.84 times" in text
    for words in (
        "train_trunk_segment", "stage-2 trunk │ release", "every cell trained separately", "9.62e+20", "growth",
        format_quantity(7 * 470 * TOKENS),
    ):  # fmt: skip
        assert words in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--utilisation", "40"], "utilisation: 40.0 is a fraction of the peak"),
        (["--tflops", "400", "--utilisation", "0.5"], "--tflops: replaces --utilisation times --peak-tflops"),
        (["--tflops", "400", "--peak-tflops", "500"], "--tflops: replaces"),
        (["--throughput", "none.json"], "none.json: not a readable benchmark file"),
        (["--price", "-1"], "price: -1.0 must be positive"),
        (["--bytes-per-token", "0"], "--bytes-per-token: 0.0 must be positive"),
    ],
)  # fmt: skip
def test_impossible_options_are_one_line(study_file, capsys, arguments, words):
    assert main(["plan", study_file, *arguments]) == 2
    assert words in capsys.readouterr().err


def test_an_unknown_subset_lists_the_subsets(study_file, capsys):
    assert main(["plan", f"{study_file}:all"]) == 2
    assert "it has ['full', 'growth']" in capsys.readouterr().err


def test_a_larger_grid_costs_more():
    bills = [plan_of(make_design(steps=STEPS[:count])).work.flops for count in (1, 2, 3)]
    assert all(first < second for first, second in pairwise(bills))


def test_commands_about_studies_load_nothing_heavy():
    """Planning and building the DAG must be fast: no torch, pandas, matplotlib or Snakemake."""
    code = (
        "import sys, twostage.planning.plan, twostage.planning.status, twostage.study.new_study, twostage.cli.plan_tables;"
        "print({'torch', 'pandas', 'matplotlib', 'snakemake', 'megatron'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_each_split_must_hold_the_samples_that_the_jobs_read():
    design = make_design()
    context = design.study.context
    assert least_split_tokens(design, "code") == {"train": context + 1, "valid": 2 * context + 1}
    curves = edited(design.study, validation={"every_steps": 20, "samples": 64})
    assert least_split_tokens(Design(curves), "code")["valid"] == 64 * context + 1
    alone = edited(design.study, methods={"stack": {"kind": "stack"}})
    assert least_split_tokens(Design(alone), "code") == {"train": 0, "valid": 0}
