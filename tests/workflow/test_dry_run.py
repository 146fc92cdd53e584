"""What the DAG plans, without running it; lint; and how a mistake in a study reads at the command line."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from working_copy import ROOT

from twostage.dag import rule_jobs
from twostage.design import Design
from twostage.study import load_study

pytestmark = pytest.mark.workflow

TINY = ("--config", "study=config/tiny.yaml", "--", "all_figures", "all_tables")


def test_lint_is_clean(pristine):
    assert pristine.snakemake("--lint").returncode == 0


def test_job_counts_of_the_tiny_study(pristine):
    """By hand: 9 runs (the base, 4 of each method) with 4 trunk segments and 4 branches each."""
    counts = pristine.planned(*TINY)
    assert counts["train_trunk_segment"] == counts["train_decay_branch"] == 9 * 4
    assert counts["grow_checkpoint"] == 4
    assert counts["evaluate_checkpoint"] == 4 * 2 + 16 * 2 + 16
    assert counts["prepare_corpus"] == counts["tokenize_corpus"] == 2


@pytest.mark.skipif(
    shutil.which("sinfo") is not None, reason="a Slurm is installed here; no site is touched by tests"
)
def test_the_exact_user_command_resolves_without_slurm(pristine):
    counts = pristine.planned("--profile", "profiles/slurm", "all_figures")
    # By hand: base and code from scratch at six sizes; cpt-code and stack at six, four more methods at 0.1B; 5 x 5 grids.
    runs = 2 * 6 + 2 * 6 * 5 + 4 * 5
    assert counts["train_trunk_segment"] == counts["train_decay_branch"] == runs * 5
    assert counts["grow_checkpoint"] == (6 + 1 + 1) * 5
    assert counts["fit_joint_law"] == counts["fit_scratch_law"] == 2
    assert all(
        counts[f"plot_figure_{name}"] == 1 for name in ("1", "3", "4_left", "4_right", "9", "10", "11")
    )


@pytest.mark.parametrize("name", ["tiny", "paper"])
def test_the_dag_picture_counts_what_snakemake_plans(pristine, name):
    file = f"config/{name}.yaml"
    planned = pristine.planned("--config", f"study={file}", "--", "all_figures", "all_tables")
    study = load_study(ROOT / file)
    drawn: dict[str, int] = {}
    for job in rule_jobs(study, Design(study)):
        drawn[job.rule] = drawn.get(job.rule, 0) + job.jobs
    figures = sum(count for rule, count in planned.items() if rule.startswith("plot_"))
    assert drawn.pop("plot_figure") == figures
    assert drawn == {rule: planned.get(rule, 0) for rule in drawn}


def test_figures_without_training(pristine):
    assert pristine.planned("toy_model").keys() == {"simulate_toy_model", "plot_toy_model", "toy_model"}
    assert pristine.planned("illustrations").keys() == {"plot_figure_2", "plot_dag", "illustrations"}


def test_default_profile_holds_exactly_one_key():
    lines = (ROOT / "profiles/default/config.yaml").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == [
        "rerun-triggers: [mtime, params, input]"
    ]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("results/tiny/stage1/generic/33k/seed-0/decay/D1-999/checkpoint/manifest.json", ["D1 = 999", "nearest: 112640"]),
        ("results/tiny/stage1/generic/7B/seed-0/trunk/1024/checkpoint/manifest.json", ["'7B'", "['33k']"]),
        ("results/tiny/stage2/cpt-code/33k/seed-0/D1-112640/init/checkpoint/manifest.json", ["does not grow"]),
        ("results/tiny/stage1/generic/33k/seed-0/decay/D1-112640/eval-physics.json", ["'physics'", "['code', 'generic']"]),
    ],
)  # fmt: skip
def test_impossible_targets_say_why_before_anything_runs(pristine, target, words):
    done = pristine.snakemake("-n", target, check=False)
    assert done.returncode != 0
    for word in words:
        assert word in done.stdout


def test_a_bad_study_is_one_clear_message(pristine):
    (pristine.root / "config/bad.yaml").write_text(
        (ROOT / "config/tiny.yaml").read_text() + "\nlearning_rate: 1\n"
    )
    done = pristine.snakemake("-n", "--config", "study=config/bad.yaml", check=False)
    assert done.returncode != 0
    assert "config/bad.yaml: the study file is not valid" in done.stdout
    assert "learning_rate: unknown key" in done.stdout
    assert "Traceback" not in done.stdout


def test_only_the_rules_import_snakemake():
    found = subprocess.run(
        ["grep", "-rlE", r"^\s*(import|from) snakemake", str(ROOT / "src/twostage"), str(ROOT / "workflow")],
        capture_output=True,
        text=True,
    )
    assert found.stdout == ""
