"""Table 6 for a study's own checkpoints, with the columns of the paper for comparison.

The scores were measured with the lm-eval harness. The columns of the paper's own 1B model, Pythia and TinyLlama are
constants from the paper, marked as published in every row; these models were not evaluated here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from twostage.analysis.estimate_text import GAP
from twostage.analysis.sources import Sources
from twostage.common.advice import remake
from twostage.common.errors import UserError
from twostage.common.units import format_quantity
from twostage.design.design import Design
from twostage.evaluation.downstream_spec import downstream_branches
from twostage.paper.published import published_table
from twostage.study import Study
from twostage.tables.table import Table

#: The harness's task -> row of the paper's Table 6.
BENCHMARKS = {
    "arc_challenge": "ARC-c",
    "arc_easy": "ARC-e",
    "lambada_openai": "lambada",
    "logiqa": "logiqa",
    "piqa": "piqa",
    "sciq": "sciq",
    "winogrande": "winogrande",
}
#: Column of the paper's table_6.csv -> its name in our table.
PUBLISHED_COLUMNS = {
    "ours_1b": "paper's 1B (published)",
    "pythia_1b": "Pythia 1B (published)",
    "tinyllama_1_1b": "TinyLlama 1.1B (published)",
}
COMMON, PAPERS = "average, common", "average, paper's seven"
_MISSING = "-"  # as the paper prints it


@dataclass(frozen=True)
class CheckpointScores:
    """The record of one checkpoint in `downstream.json`, with its base model, corpus and D1."""

    model: str
    corpus: str
    d1_tokens: int
    record: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The heading of its column."""
        return f"{self.model}, D1 = {format_quantity(self.d1_tokens)}"


@dataclass(frozen=True)
class Score:
    """An accuracy in per cent. `stderr`: None if not known. `text`: as printed."""

    value: float
    stderr: float | None
    text: str


def read_scores(design: Design, files: Sequence[Path]) -> list[CheckpointScores]:
    """Read the scores of the study's downstream points, a file each, in their order.

    Raises:
        UserError: the study has no section `downstream`, or a file is missing or is not a file of downstream scores.
    """
    scores = []
    for branch, file in zip(downstream_branches(design), files, strict=True):
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            record["tasks"], record["harness_version"], record["spec"]["limit"]
        except FileNotFoundError:
            raise UserError(f"{file}: no such file; make it with: snakemake {file}") from None
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(
                f"{file}: not a file of downstream scores ({error!r}); remake it with: {remake(file)}"
            ) from None
        corpus = design.study.stage1.corpus
        scores.append(CheckpointScores(branch.run.model, corpus, branch.tokens, record))
    return scores


def table_6(scores: Sequence[CheckpointScores]) -> Table:
    """Return the zero-shot accuracy on benchmarks in per cent (Table 6 of the paper).

    Numbers: one row per benchmark and checkpoint: benchmark, task, checkpoint, source (`this study`, or the paper's
    table), metric, score_percent, stderr_percent, acc_norm_percent, acc_norm_stderr_percent, n_asked, n_questions,
    task_version, harness_version.
    """
    paper = published_table(6)
    tasks = list(dict.fromkeys(task for entry in scores for task in entry.record["tasks"]))
    rows = [BENCHMARKS.get(task, task) for task in tasks]
    columns = {entry.name: _measured(entry) for entry in scores}
    columns |= {title: _published(paper, key) for key, title in PUBLISHED_COLUMNS.items()}
    common = [row for row in rows if all(row in column for column in columns.values())]
    averages = {COMMON: common, PAPERS: list(BENCHMARKS.values())}
    for column in columns.values():
        for name, chosen in averages.items():
            if chosen and all(row in column for row in chosen):
                column[name] = _average([column[row] for row in chosen])
    shown = [
        {"benchmark": "data"}
        | {entry.name: entry.corpus for entry in scores}
        | {title: str(paper.loc["Datasets", key]) for key, title in PUBLISHED_COLUMNS.items()},
        {"benchmark": "tokens"}
        | {entry.name: format_quantity(entry.d1_tokens) for entry in scores}
        | {title: str(paper.loc["Tokens", key]) for key, title in PUBLISHED_COLUMNS.items()},
    ]
    for row in (*rows, *averages):
        cells = {name: column[row].text if row in column else GAP for name, column in columns.items()}
        shown.append({"benchmark": row} | cells)
    return Table(
        title="Table 6: zero-shot accuracy on benchmarks, per cent",
        numbers=pd.DataFrame(_numbers(scores, paper, tasks, columns, list(averages))),
        shown=pd.DataFrame(shown),
        notes=_notes(scores, rows, common),
    )


def _measured(entry: CheckpointScores) -> dict[str, Score]:
    found = {}
    for task, result in entry.record["tasks"].items():
        if (accuracy := result["metrics"].get("acc")) is not None:
            found[BENCHMARKS.get(task, task)] = _score(
                100 * accuracy["value"], None if accuracy["stderr"] is None else 100 * accuracy["stderr"]
            )
    return found


def _published(paper: pd.DataFrame, key: str) -> dict[str, Score]:
    texts = {row: str(paper.loc[row, key]) for row in BENCHMARKS.values()}
    return {row: Score(float(text), None, text) for row, text in texts.items() if text != _MISSING}


def _score(value: float, stderr: float | None) -> Score:
    return Score(value, stderr, f"{value:.2f}" if stderr is None else f"{value:.2f} ± {stderr:.2f}")


def _average(scores: Sequence[Score]) -> Score:
    """Average over tasks; the standard error assumes that the tasks are independent."""
    errors = [score.stderr for score in scores]
    known = [error for error in errors if error is not None]
    stderr = math.hypot(*known) / len(known) if len(known) == len(errors) else None
    return _score(sum(score.value for score in scores) / len(scores), stderr)


def _numbers(
    scores: Sequence[CheckpointScores],
    paper: pd.DataFrame,
    tasks: Sequence[str],
    columns: Mapping[str, Mapping[str, Score]],
    averages: Sequence[str],
) -> list[dict[str, Any]]:
    source = str(paper["source"].iloc[0])
    entries = {entry.name: entry for entry in scores}
    numbers = []
    for task in (*tasks, *averages):
        benchmark = BENCHMARKS.get(task, task)
        for name, column in columns.items():
            score = column.get(benchmark)
            ours = entries.get(name)
            result = ours.record["tasks"].get(task) if ours else None
            if score is None and result is None:
                continue
            normed = result["metrics"].get("acc_norm") if result else None
            numbers.append(
                {
                    "benchmark": benchmark,
                    "task": task if task in tasks else None,
                    "checkpoint": name,
                    "source": "this study" if ours else source,
                    "metric": "acc"
                    if ours
                    else "accuracy as printed"
                    if task in tasks
                    else "mean of the printed",
                    "score_percent": score.value if score else None,
                    "stderr_percent": score.stderr if score else None,
                    "acc_norm_percent": 100 * normed["value"] if normed else None,
                    "acc_norm_stderr_percent": _percent(normed["stderr"]) if normed else None,
                    "n_asked": result["n_asked"] if result else None,
                    "n_questions": result["n_questions"] if result else None,
                    "task_version": result["version"] if result else None,
                    "harness_version": ours.record["harness_version"] if ours else None,
                }
            )
    return numbers


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _notes(scores: Sequence[CheckpointScores], rows: Sequence[str], common: Sequence[str]) -> tuple[str, ...]:
    versions = sorted({entry.record["harness_version"] for entry in scores})
    notes = [
        f"This study: metric acc of lm_eval {', '.join(versions)}, zero-shot, float32, ± the harness's standard error over "
        "the questions. acc_norm, task versions and numbers of questions are in table-6.csv.",
        "Published: constants that the paper prints in Table 6, not measured here. The paper does not name the metric (acc or "
        "acc_norm) or the version of the harness, and its models have other data and sizes.",
        f"{COMMON}: mean over the tasks that all columns have: {', '.join(common)}."
        if common
        else f"{COMMON}: no task is in all columns.",
        f"{PAPERS}: mean over {', '.join(BENCHMARKS.values())}, for columns that have all seven. Standard errors of means "
        "assume independent tasks.",
    ]
    if limits := sorted({entry.record["spec"]["limit"] for entry in scores} - {None}):
        notes.append(
            f"TRIAL: only the first {', '.join(map(str, limits))} questions of each task were asked (downstream.limit); "
            "the accuracies are not comparable with any others."
        )
    without = [row for row in rows if not any(row in _measured(entry) for entry in scores)]
    if without:
        notes.append(f"{', '.join(without)}: the task reports no acc; its metrics are in downstream.json.")
    return tuple(notes)


def make_table_6(study: Study, sources: Sources) -> Table:
    """`table_6` of a study."""
    return table_6(read_scores(Design(study), sources.files))
