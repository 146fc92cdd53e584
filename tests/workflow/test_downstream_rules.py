"""Table 6 with the real Snakemake: training, export, the lm-eval harness on a local task, and the table."""

from __future__ import annotations

import csv
import json

import pytest
import yaml
from working_copy import SMALL_STUDY, copy_workflow, write_small_study

pytestmark = pytest.mark.workflow

TASK = {
    "task": "which_word",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "tasks/test.jsonl"}},
    "output_type": "multiple_choice",
    "test_split": "test",
    "doc_to_text": "{{context}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "{{label}}",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    "metadata": {"version": 1.0},
}
TABLE = "results/small/tables/table-6.csv"
CONFIG = ("--config", "study=config/small.yaml")


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    """The small study with its first points only, and a task of twelve questions."""
    root = tmp_path_factory.mktemp("downstream")
    workflow = copy_workflow(root / "repository")
    write_small_study(workflow)
    section = {"tasks": ["which_word"], "task_folder": "tasks", "points": [{"model": "8k", "d1_steps": 20}]}
    study = SMALL_STUDY | {"downstream": section}
    (workflow.root / "config/small.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    tasks = workflow.root / "tasks"
    tasks.mkdir()
    (tasks / "which_word.yaml").write_text(yaml.safe_dump(TASK))
    question = {"context": "The following", "choices": [" is", " zqx"], "label": 0}
    (tasks / "test.jsonl").write_text("".join(json.dumps(question | {"n": n}) + "\n" for n in range(12)))
    return workflow


def test_table_6_from_nothing(workflow):
    arguments = ("--cores", "1", *CONFIG, "--", TABLE)
    counts = workflow.planned(*CONFIG, "--", TABLE)
    assert counts["train_trunk_segment"] == counts["train_decay_branch"] == 1
    assert counts["export_checkpoint"] == counts["evaluate_downstream"] == counts["make_table_6"] == 1
    workflow.snakemake(*arguments)
    with (workflow.root / TABLE).open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["source"] == "this study"]
    assert rows[0]["task"] == "which_word"
    assert float(rows[0]["score_percent"]) in {100 * n / 12 for n in range(13)}
    assert rows[0]["n_asked"] == "12"
    page = (workflow.root / TABLE).with_suffix(".html").read_text()
    assert "Pythia 1B (published)" in page
    # Nothing is left to do; an edited question reruns the harness only.
    assert workflow.planned(*CONFIG, "--", TABLE) == {}
    with (workflow.root / "tasks/test.jsonl").open("a") as stream:
        stream.write('{"context": "a", "choices": ["b", "c"], "label": 1, "n": 12}\n')
    assert workflow.planned(*CONFIG, "--", TABLE) == {"evaluate_downstream": 1, "make_table_6": 1}


def test_any_checkpoint_is_a_target_by_its_path(workflow):
    target = "results/small/stage2/expand/8k/seed-0/D1-11264/decay/D2-11264/downstream.json"
    counts = workflow.planned(*CONFIG, "--", target)
    assert counts["export_checkpoint"] == counts["evaluate_downstream"] == counts["grow_checkpoint"] == 1


def test_a_study_without_the_section_is_refused(pristine):
    done = pristine.snakemake("-n", "--", "results/tiny/tables/table-6.csv", check=False)
    assert done.returncode != 0
    assert (
        "tables: 'table-6' cannot be drawn: downstream: no tasks are evaluated; add this section"
        in done.stdout
    )
