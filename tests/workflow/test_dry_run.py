"""The planned DAG, without running it; lint; and errors in a study on the command line."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import yaml
from test_paper_study import (
    ARM_RUNS,
    BRANCHES,
    EVALUATIONS,
    GROWN,
    JOINT_RUNS,
    REPEAT_RUNS,
    SEGMENTS,
    VARIANT_RUNS,
)
from working_copy import ROOT

from twostage.catalogue import lookup
from twostage.design.design import Design
from twostage.planning.dag import rule_jobs
from twostage.study import load_study

pytestmark = pytest.mark.workflow

TINY = ("--config", "study=config/tiny.yaml", "--", "all_figures", "all_tables")


def test_lint_is_clean(pristine):
    assert pristine.snakemake("--lint").returncode == 0


def test_job_counts_of_the_tiny_study(job_counts):
    counts = job_counts(*TINY)
    assert not [rule for rule in counts if "crossover" in rule]  # no models from scratch to compare with
    # Base, four D1 of cpt-code and of stack: four segments and branches each. cpt-math and expand: three D1, two D2 at
    # 100 and 400 steps. Three ablation arms of one cell each up to 400 steps, and the cosine run, which has no trunk.
    assert counts["train_trunk_segment"] == 4 * (1 + 4 + 4) + 3 * (3 + 3) + 3 * 3
    assert counts["train_decay_branch"] == 4 * (1 + 4 + 4) + 2 * (3 + 3) + 3 + 1
    assert counts["grow_checkpoint"] == 4 + 3 + 2
    # The base on its own corpus and the two others; continual pretraining on its own corpus and on the base's.
    assert counts["evaluate_checkpoint"] == 4 * 3 + 2 * (16 + 6 + 1) + (16 + 6 + 2) + 1
    assert counts["prepare_corpus"] == counts["tokenize_corpus"] == 3
    assert not counts.keys() & {
        "measure_crossover",
        "plot_crossover",
    }  # no models from scratch to compare with


@pytest.fixture(scope="module")
def paper_counts(pristine, tmp_path_factory) -> dict[str, int]:
    """What the README's command plans for the paper's study."""
    folder = tmp_path_factory.mktemp("programs")
    # A machine may have Slurm's packages (tests/slurm installs them); this one has nothing but a shell.
    for command in ("bash", "sh", "env", "which"):
        (folder / command).symlink_to(shutil.which(command))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder))
        assert shutil.which("sinfo") is None
        return pristine.planned("--profile", "profiles/slurm", "all_figures", "all_tables")


def test_the_exact_user_command_resolves_without_slurm(paper_counts):
    counts = paper_counts
    assert counts["train_trunk_segment"] == SEGMENTS
    assert counts["train_decay_branch"] == BRANCHES
    assert counts["grow_checkpoint"] == counts["release_grown"] == GROWN
    assert counts["evaluate_checkpoint"] == EVALUATIONS
    # Stage-2 trunks except the last of each run, from which a longer D2 would continue.
    assert counts["release_trunk"] == 4 * (JOINT_RUNS + VARIANT_RUNS + ARM_RUNS + REPEAT_RUNS)
    # cpt-code and stack at six sizes, seven more at 0.1B; the arms of ablations have no grid.
    assert counts["fit_law"] == 2 * 6 + 7
    assert counts["fit_joint_law"] == counts["fit_scratch_law"] == 2
    assert counts["export_checkpoint"] == counts["evaluate_downstream"] == 1
    assert counts["fit_unified_law"] == counts["estimate_alpha3"] == 1
    drawn = {rule for rule in counts if rule.startswith(("plot_", "make_"))}
    figures = {f"plot_{name.replace('-', '_')}" for name in lookup.FIGURES}
    assert drawn == figures | {f"make_{name.replace('-', '_')}" for name in lookup.TABLES}


@pytest.mark.parametrize("name", ["tiny", "paper"])
def test_the_dag_picture_counts_what_snakemake_plans(job_counts, name, request):
    planned = job_counts(*TINY) if name == "tiny" else request.getfixturevalue("paper_counts")
    study = load_study(ROOT / f"config/{name}.yaml")
    drawn: dict[str, int] = {}
    for job in rule_jobs(study, Design(study)):
        drawn[job.rule] = drawn.get(job.rule, 0) + job.jobs
    for several in ("plot", "make"):
        count = sum(jobs for rule, jobs in planned.items() if rule.startswith(f"{several}_"))
        assert drawn.pop({"plot": "plot_figure", "make": "make_table"}[several]) == count
    assert drawn == {rule: planned.get(rule, 0) for rule in drawn}


def test_figures_without_training(pristine):
    assert pristine.planned("toy_model").keys() == {"simulate_toy_model", "plot_toy_model", "toy_model"}
    assert pristine.planned("illustrations").keys() == {"plot_figure_2", "plot_dag", "illustrations"}


def test_default_profile_holds_only_what_every_run_needs():
    """It overrides the other profiles."""
    lines = (ROOT / "profiles/default/config.yaml").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == [
        "rerun-triggers: [mtime, params, input]",
        "max-checksum-file-size: 64000000",
    ]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("results/tiny/stage1/generic/33k/seed-0/decay/D1-999/checkpoint/manifest.json", ["D1 = 999", "nearest: 112640"]),
        ("results/tiny/stage1/generic/7B/seed-0/trunk/1024/checkpoint/manifest.json", ["'7B'", "['33k']"]),
        ("results/tiny/stage2/cpt-code/33k/seed-0/D1-112640/init/checkpoint/manifest.json", ["does not grow"]),
        ("results/tiny/stage1/generic/33k/seed-0/decay/D1-112640/eval-physics.json", ["'physics'", "['code', 'generic', 'math']"]),
    ],
)  # fmt: skip
def test_impossible_targets_are_refused_before_any_job_runs(pristine, target, words):
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


EVERYTHING = {
    "description": "Every figure and table of the paper, at sizes that only a dry-run sees.",
    "corpora": {
        name: {"source": "embedded", "domain": name, "max_bytes": 1_000_000} for name in ("generic", "code", "math")
    },
    "tokenizer": {"kind": "bpe", "vocab_size": 512, "train_bytes": 300_000},
    "context": 64,
    "models": {
        f"w{width}": {
            "n_layer": 2, "d_model": width, "n_head": 2, "batch_size": 8, "warmup_steps": 10, "peak_lr": 8e-3,
        }
        for width in (16, 32, 64)
    },
    "grid": {"d1": {"trunk_steps": [20, 40]}, "d2": {"trunk_steps": [20, 40]}},
    "validation": {"every_steps": 5, "samples": 8},
    "ablations": {"schedule": {"model": "w16", "total_steps": 40}},
    "stage1": {"corpus": "generic"},
    "methods": {
        "cpt-code": {"kind": "cpt", "corpus": "code"},
        "stack": {"kind": "stack"},
        "expand": {"kind": "expand", "models": ["w16"]},
        "stack-x4": {"kind": "stack", "factor": 4, "models": ["w16"]},
        "stack-fresh": {"kind": "stack", "data": "fresh", "models": ["w16"], "d1_steps": [40], "d2_steps": [40]},
        "stack-low": {
            "kind": "stack", "schedule": "constant", "peak_lr_fraction": 0.1, "models": ["w16"], "d1_steps": [40], "d2_steps": [40],
        },
    },
    "scratch": {"code": {"corpus": "code"}},
}  # fmt: skip


def test_every_figure_and_table_has_a_rule(pristine):
    (pristine.root / "config/everything.yaml").write_text(yaml.safe_dump(EVERYTHING))
    counts = pristine.planned("--config", "study=config/everything.yaml", "--", "all_figures", "all_tables")
    assert counts["measure_crossover"] == 1
    for figure in lookup.FIGURES:
        assert counts.pop(f"plot_{figure.replace('-', '_')}") == 1
    for table in set(lookup.TABLES) - {"table-6"}:  # has a study of its own: it needs `downstream`
        assert counts.pop(f"make_{table.replace('-', '_')}") == 1
    # By hand: cpt-code and stack at three sizes, expand and stack-x4 at one have a grid; joint laws of two methods; the law
    # from scratch on two corpora.
    assert counts["fit_law"] == 2 * 3 + 2
    assert counts["fit_joint_law"] == counts["fit_scratch_law"] == 2
    assert counts["gather_curves"] == counts["list_not_drawn"] == counts["estimate_alpha3"] == 1


def test_a_file_that_extends_a_study_plans_its_jobs_under_its_own_name(pristine):
    """A study of one point for each method: nothing to fit, so no table of alpha3."""
    base, file = "config/everything.yaml", "config/point.yaml"
    (pristine.root / base).write_text(yaml.safe_dump(EVERYTHING))
    methods = {"cpt-code": {"kind": "cpt", "corpus": "code", "models": ["w16"]}}
    own = {
        "grid": {stage: {"trunk_steps": [40]} for stage in ("d1", "d2")},
        "methods": methods,
        "scratch": None,
        "ablations": None,
    }
    (pristine.root / file).write_text(yaml.safe_dump({"extends": "everything.yaml", **own}))
    counts = pristine.planned(
        "--config", f"study={file}", "--", "all_tables", "results/point/tables/cells.csv"
    )
    assert counts["train_decay_branch"] == len(EVERYTHING["models"]) + 1
    assert not counts.keys() & {"fit_law", "estimate_alpha3"}


def test_one_figure_needs_only_what_it_shows(pristine):
    (pristine.root / "config/everything.yaml").write_text(yaml.safe_dump(EVERYTHING))
    figure = "results/everything/figures/figure-4-left.png"
    counts = pristine.planned("--config", "study=config/everything.yaml", "--", figure)
    assert counts["plot_figure_4_left"] == counts["fit_joint_law"] == 1
    assert "fit_law" not in counts


def test_an_impossible_figure_is_refused_before_anything_runs(pristine):
    (pristine.root / "config/impossible.yaml").write_text(
        (ROOT / "config/tiny.yaml").read_text() + "\nfigures: [figure-9]\n"
    )
    done = pristine.snakemake("-n", "--config", "study=config/impossible.yaml", check=False)
    assert done.returncode != 0
    assert "figures: 'figure-9' cannot be drawn" in done.stdout
    assert "Traceback" not in done.stdout
