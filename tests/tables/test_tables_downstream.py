"""Table 6: our scores with the paper's constants, averages over equal tasks only, and notes that explain them."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import yaml
from tiny_training import ROOT

from twostage.common.errors import UserError
from twostage.design.design import Design
from twostage.study import load_study
from twostage.tables.downstream import BENCHMARKS, CheckpointScores, read_scores, table_6
from twostage.tables.table import render_html

with (ROOT / "results/published/table_6.csv").open() as stream:
    PAPER = {row["benchmark"]: row for row in csv.DictReader(stream)}
ACCURACY = dict(zip(BENCHMARKS, (0.25, 0.5, 0.4, 0.3, 0.6, 0.7, 0.55), strict=True))
COLUMNS = ("33k, D1 = 901K", "paper's 1B (published)", "Pythia 1B (published)", "TinyLlama 1.1B (published)")


def record(accuracies, *, limit=None, version="0.4.13"):
    return {
        "spec": {"limit": limit},
        "harness_version": version,
        "tasks": {
            task: {
                "version": 1.0,
                "n_asked": limit or 400,
                "n_questions": 400,
                "metrics": {
                    "acc": {"value": value, "stderr": 0.02},
                    "acc_norm": {"value": value + 0.1, "stderr": None},
                },
            }
            for task, value in accuracies.items()
        },
    }


def scores(accuracies, **changes):
    return CheckpointScores("33k", "generic", 901_120, record(accuracies, **changes))


@pytest.fixture(scope="module")
def table():
    return table_6([scores(ACCURACY)])


def cell(table, benchmark, column):
    return table.shown.set_index("benchmark").loc[benchmark, column]


def test_our_scores_are_in_per_cent_with_their_errors(table):
    assert tuple(table.shown.columns) == ("benchmark", *COLUMNS)
    for task, benchmark in BENCHMARKS.items():
        assert cell(table, benchmark, COLUMNS[0]) == f"{100 * ACCURACY[task]:.2f} ± 2.00"
    assert cell(table, "tokens", COLUMNS[0]) == "901K"
    assert cell(table, "data", COLUMNS[0]) == "generic"


@pytest.mark.parametrize(
    ("column", "key"), list(zip(COLUMNS[1:], ("ours_1b", "pythia_1b", "tinyllama_1_1b"), strict=True))
)
def test_the_papers_columns_are_as_printed(table, column, key):
    for benchmark in BENCHMARKS.values():
        assert cell(table, benchmark, column) == PAPER[benchmark][key].replace("-", "–")
    assert cell(table, "tokens", column) == PAPER["Tokens"][key]
    assert cell(table, "data", column) == PAPER["Datasets"][key]


def test_averages_are_over_equal_tasks(table):
    common = ("ARC-c", "ARC-e", "piqa", "winogrande")  # the tasks in TinyLlama's column
    for column, key in zip(COLUMNS[1:], ("ours_1b", "pythia_1b", "tinyllama_1_1b"), strict=True):
        expected = sum(float(PAPER[name][key]) for name in common) / 4
        assert cell(table, "average, common", column) == f"{expected:.2f}"
    assert cell(table, "average, common", COLUMNS[0]) == f"{100 * (0.25 + 0.5 + 0.6 + 0.55) / 4:.2f} ± 1.00"
    assert any("all columns have: ARC-c, ARC-e, piqa, winogrande." in note for note in table.notes)


def test_the_average_over_seven_reproduces_the_papers(table):
    for column, key in zip(COLUMNS[1:3], ("ours_1b", "pythia_1b"), strict=True):
        assert cell(table, "average, paper's seven", column) == PAPER["Avg."][key]
    assert cell(table, "average, paper's seven", COLUMNS[3]) == "–"
    ours = sum(ACCURACY.values()) / 7
    assert cell(table, "average, paper's seven", COLUMNS[0]) == f"{100 * ours:.2f} ± {2 / math.sqrt(7):.2f}"


def test_numbers_name_their_source(table):
    numbers = table.numbers
    ours = numbers[numbers["source"] == "this study"]
    assert set(ours["checkpoint"]) == {COLUMNS[0]}
    assert set(numbers.loc[numbers["source"] != "this study", "source"]) == {"arXiv 2510.06548v1 Table 6"}
    row = ours.set_index("benchmark").loc["piqa"]
    assert (row["score_percent"], row["stderr_percent"]) == (60, 2)
    assert row["acc_norm_percent"] == pytest.approx(70)
    assert (row["n_asked"], row["task_version"], row["harness_version"]) == (400, 1.0, "0.4.13")
    assert len(ours) == 7 + 2
    assert len(numbers) == 9 + 9 + 9 + 5  # TinyLlama: four tasks and the common average


def test_own_tasks_have_gaps_and_no_average():
    table = table_6(
        [scores({"my_task": 0.5, "piqa": 0.6}), CheckpointScores("9k", "g", 10**6, record({"my_task": 0.4}))]
    )
    assert cell(table, "my_task", COLUMNS[0]) == "50.00 ± 2.00"
    assert [cell(table, "my_task", name) for name in COLUMNS[1:]] == ["–"] * 3
    assert cell(table, "piqa", "9k, D1 = 1M") == "–"
    assert (table.shown.set_index("benchmark").loc["average, common"] == "–").all()
    assert any("no task is in all columns" in note for note in table.notes)
    assert cell(table, "average, paper's seven", COLUMNS[0]) == "–"  # fmt: skip


def test_a_trial_is_noted_below_the_table(table):
    assert not any("TRIAL" in note for note in table.notes)
    trial = table_6([scores(ACCURACY, limit=20)])
    assert any("TRIAL: only the first 20 questions" in note for note in trial.notes)


def test_a_task_without_accuracy_is_a_gap_with_a_reason():
    entry = scores({"piqa": 0.6})
    entry.record["tasks"]["perplexing"] = entry.record["tasks"]["piqa"] | {
        "metrics": {"word_perplexity": {"value": 20.0, "stderr": None}}
    }
    table = table_6([entry])
    assert cell(table, "perplexing", COLUMNS[0]) == "–"
    assert any(note.startswith("perplexing: the task reports no acc") for note in table.notes)
    row = table.numbers.set_index("benchmark").loc["perplexing"]
    assert math.isnan(row["score_percent"])
    assert row["n_questions"] == 400


def test_the_page_holds_the_constants_and_their_label(table):
    page = render_html(table)
    assert page.count("(published)") == 3
    assert "constants that the paper prints" in page
    assert "69.31" in page


def test_scores_are_read_from_the_studys_checkpoints(tmp_path):
    fields = yaml.safe_load((ROOT / "tests/studies/tiny.yaml").read_text())
    fields["downstream"] = {"points": [{"model": "33k", "d1_steps": 100}, {"model": "33k"}]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(fields))
    design = Design(load_study(tmp_path / "mine.yaml"))
    files = [
        tmp_path / f"stage1/generic/33k/seed-0/decay/D1-{d1}/downstream.json" for d1 in (112_640, 901_120)
    ]
    for file, accuracy in zip(files, (0.5, 0.6), strict=True):
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(record({"piqa": accuracy})))
    table = table_6(read_scores(design, tmp_path))
    assert cell(table, "piqa", "33k, D1 = 113K") == "50.00 ± 2.00"
    assert cell(table, "piqa", "33k, D1 = 901K") == "60.00 ± 2.00"
    files[1].write_text("{}")
    with pytest.raises(UserError, match="not a file of downstream scores") as error:
        read_scores(design, tmp_path)
    assert str(files[1]) in str(error.value)
    Path(files[0]).unlink()
    with pytest.raises(UserError, match="no such file; make it with: snakemake"):
        read_scores(design, tmp_path)
