"""The plan's job counts equal those of the real dry-run; the real Snakefile plans a study of `twostage new`."""

from __future__ import annotations

import re

import pytest
from working_copy import Workflow, copy_workflow, write_small_study

from twostage.cli import main
from twostage.planning.plan import CorpusSize, plan_study
from twostage.study import load_study

pytestmark = pytest.mark.workflow

TARGETS = ("--", "all_figures", "all_tables")
#: Rules that the plan counts. All others make tables and figures and take seconds.
COUNTED = re.compile(
    r"prepare_corpus|train_\w+|tokenize_corpus|grow_checkpoint|evaluate_checkpoint|release_\w+"
)


@pytest.fixture(scope="module")
def workflow(tmp_path_factory) -> Workflow:
    copy = copy_workflow(tmp_path_factory.mktemp("plan") / "repository")
    write_small_study(copy)
    return copy


def dry_run(workflow: Workflow, study: str) -> dict[str, int]:
    counts = workflow.planned("--config", f"study={study}", *TARGETS)
    return {rule: count for rule, count in counts.items() if COUNTED.fullmatch(rule)}


def plan(workflow: Workflow, study: str) -> dict[str, int]:
    loaded = load_study(workflow.root / study)
    return plan_study(loaded, dict.fromkeys(loaded.corpora, CorpusSize(tokens=None, source=""))).rules


@pytest.mark.parametrize("study", ["config/tiny.yaml", "config/small.yaml"])
def test_counts_are_those_of_the_dry_run(workflow, study):
    counts = plan(workflow, study)
    assert counts["train_trunk_segment"] > 10
    assert counts == dry_run(workflow, study)


def test_counts_of_a_study_with_everything(workflow):
    """Release, side segments, repeats, from-scratch runs, a schedule ablation, an existing tokenizer, an excluded cell."""
    base = "stage2/expand/8k/seed-0/D1-11264/decay"

    def enrich(study) -> None:
        study["checkpoints"] = {"grown": "release", "stage2_trunk": "release", "base_trunk": "protect"}
        study["grid"]["d2"]["extra_steps"] = [30, 60]
        study["repeats"] = [{"seeds": [1], "methods": ["stack"], "d1_steps": [20], "d2_steps": [20]}]
        study["scratch"] = {"code": {"corpus": "code", "steps": [20]}}
        study["ablations"] = {"schedule": {"model": "8k", "total_steps": 50}}
        study["methods"]["stack-stable"] = {
            "kind": "stack",
            "start": "trunk",
            "d1_steps": [20],
            "d2_steps": [20],
        }
        study["methods"]["cpt-low"] = {
            "kind": "cpt", "corpus": "code", "schedule": "constant", "warmup_steps": 0, "d1_steps": [20],
        }  # fmt: skip
        study["tokenizer"] = {"kind": "file", "path": "tokenizer.json", "vocab_size": 512}
        study["corpora"]["unused"] = study["corpora"]["code"]
        study["excluded_cells"] = [
            {"cell": f"{base}/D2-22528/eval-generic.json", "reason": "a test of excluding"}
        ]
        study["subsets"] = {"growth": {"description": "growth methods only", "methods": ["stack", "expand"]}}

    (workflow.root / "config/rich.yaml").write_text((workflow.root / "config/small.yaml").read_text())
    workflow.edit_study("config/rich.yaml", enrich)
    counts = plan(workflow, "config/rich.yaml")
    assert counts["prepare_corpus"] == counts["tokenize_corpus"] == 3
    # Trunks end at 20, 30, 40 and 60 steps; 40 (the chain's last) and 60 (the longest) are kept. Seven full runs, and the
    # constant one; runs with one D2 keep what they have.
    assert counts["release_trunk"] == 2 * (2 + 1 + 2 + 2) + 2
    assert counts == dry_run(workflow, "config/rich.yaml")
    part = plan(workflow, "config/rich.yaml:growth")
    assert sum(part.values()) < sum(counts.values())
    assert part == dry_run(workflow, "config/rich.yaml:growth")


OWN = ["--corpus", "topics=corpora/topics/*.txt", "--corpus", "code=corpora/code"]


@pytest.mark.parametrize("options", [[], OWN, ["--from", "paper"]], ids=["tiny", "files", "paper"])
def test_a_new_study_is_planned(workflow, options, monkeypatch, capsys, request):
    monkeypatch.chdir(workflow.root)
    study = f"config/new-{request.node.callspec.id}.yaml"
    assert main(["new", study, *options]) == 0
    assert "Note:" not in capsys.readouterr().out
    counts = dry_run(workflow, study)
    assert counts == plan(workflow, study)
    assert counts["grow_checkpoint"] >= 4
