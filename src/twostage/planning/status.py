"""The state of every job and cell of a study: done, outdated, running, failed or missing.

An outdated output was made with other settings or inputs than those of the study as it is now, and would be made again.

Reads only files (outputs, logs, leases), with a few system calls per job, and never writes. So it can be used while the
workflow runs, and on a cluster's login node.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from twostage.catalogue.lookup import drawn_entries
from twostage.cluster.lease import live_owner
from twostage.cluster.supervise import REMARK, REQUEUED
from twostage.common.storage import RELEASED_FILE, read_manifest
from twostage.design.design import Cell, Design
from twostage.design.paths import (
    Branch,
    Run,
    Segment,
    Stage2Run,
    grown_manifest,
    parse_artifact,
    parse_run,
    tokens_manifest,
)
from twostage.planning.changes import text
from twostage.planning.jobs import planned_jobs, run_label
from twostage.planning.recorded import outdated
from twostage.study import Study

State = Literal["done", "outdated", "running", "failed", "missing"]
STATES: tuple[State, ...] = ("done", "outdated", "running", "failed", "missing")
#: Values of `method` for jobs of corpora and the tokenizer, and for tables, fits and figures.
DATA = "data"
ANALYSIS = "analysis"
#: Records of tables, fits and figures, in the folder that holds them; written by rules/common/records.smk.
LEDGER = "records.json.gz"
_TAIL_BYTES = 4096
# The last line of `scripting.run_script` or of a traceback; other lines may be warnings.
_ERROR = re.compile(r"error: |[\w.]*(Error|Exception|Interrupt|Killed)\b")


@dataclass(frozen=True, kw_only=True)
class JobState:
    """State of one job. `output` is relative to `results/<study>/`; `detail`: progress, or the last line of the log."""

    rule: str
    output: str
    method: str
    model: str
    state: State
    detail: str = ""
    log: str = ""


@dataclass(frozen=True, kw_only=True)
class CellState:
    """State of one cell. If it is not done, `detail` names the running or failed job that it depends on."""

    path: str
    method: str
    model: str
    seed: int
    d1_tokens: int | None
    d2_tokens: int
    corpus: str
    state: State
    detail: str = ""


@dataclass(frozen=True)
class StudyStatus:
    """The states of all jobs and cells of a study."""

    study: str
    jobs: tuple[JobState, ...]
    cells: tuple[CellState, ...]

    def count(self, of: Literal["jobs", "cells"]) -> dict[tuple[str, str], Counter[State]]:
        """Return (method, model) -> number of jobs or cells in each state."""
        counts: dict[tuple[str, str], Counter[State]] = {}
        for item in getattr(self, of):
            counts.setdefault((item.method, item.model), Counter())[item.state] += 1
        return counts


def study_status(
    study: Study, results: Path = Path("results"), rolling: Path = Path("rolling")
) -> StudyStatus:
    """Return the state of every job and cell of a study, from the files below `results` and `rolling`."""
    design = Design(study)
    folder = results / study.name
    reasons = {job.outputs[0]: text(changes) for job, changes in outdated(design, folder).items()}
    collector = _Collector(design, folder, rolling / study.name, _workflow_runs(results.parent), reasons)
    planned = planned_jobs(design)
    if planned.evaluations:
        collector.data(planned.prepared(design), planned.tokenised(design))
    for job in planned.training:
        collector.training(job)
    for run in planned.grown:
        collector.grown(run)
    for cell in planned.evaluations:
        collector.evaluation(cell)
    cells = tuple(_cell_state(design, cell, collector.states) for cell in planned.evaluations)
    collector.analysis(complete=all(cell.state == "done" for cell in cells))
    return StudyStatus(study.name, tuple(collector.states.values()), cells)


def _workflow_runs(root: Path) -> bool:
    """Return whether Snakemake holds the lock of the folder: a job without a lease may then be running."""
    locks = root / ".snakemake/locks"
    return locks.is_dir() and any(locks.iterdir())


@dataclass
class _Collector:
    """Collects the state of each job; `outdated`: output -> reason; `states`: output -> state."""

    design: Design
    results: Path
    rolling: Path
    workflow_runs: bool
    outdated: dict[str, str]
    states: dict[str, JobState] = field(default_factory=dict)

    def data(self, prepared: Iterable[str], tokenised: Iterable[str]) -> None:
        """Add the jobs of the corpora's documents, the tokenizer and the tokens."""
        jobs = [("prepare_corpus", f"corpora/{name}/manifest.json", f"corpora/{name}") for name in prepared]
        jobs.append(("train_tokenizer", "tokens/tokenizer.json", "tokens/tokenizer"))
        jobs += [("tokenize_corpus", tokens_manifest(name), f"tokens/{name}") for name in tokenised]
        for rule, output, log in jobs:
            self._add(rule, output, DATA, "", self.results / f"logs/{log}.log")

    def training(self, job: Segment | Branch) -> None:
        trunk = isinstance(job, Segment)
        name = f"trunk-{job.tokens}" if trunk else f"decay-D{job.run.stage}-{job.tokens}"
        rule = "train_trunk_segment" if trunk else "train_decay_branch"
        lease = self.rolling / job.run.path / name / "lease"
        self._add_of(job.run, rule, job.manifest, name, lease)

    def grown(self, run: Stage2Run) -> None:
        self._add_of(run, "grow_checkpoint", grown_manifest(run), "grow")

    def evaluation(self, cell: Cell) -> None:
        branch = cell.branch
        name = f"eval-D{branch.run.stage}-{branch.tokens}-{cell.corpus}"
        self._add_of(branch.run, "evaluate_checkpoint", cell.path, name)

    def analysis(self, *, complete: bool) -> None:
        """Add the tables and figures of the study, and the files that they are made from.

        Args:
            complete: whether all cells are done. Otherwise, what exists was made from other cells.
        """
        study = self.design.study
        entries = drawn_entries(study)
        sources = dict.fromkeys(path for entry in entries for path in entry.reads(study))
        rules = dict.fromkeys(sources, "source of tables and figures")
        rules |= {next(iter(entry.files.values())): entry.rule_name for entry in entries}
        project = self.results.parent.parent
        ledger = self.results.parent / study.analysis_folder / LEDGER
        recorded = ledger.is_file() or (project / ".snakemake/metadata").is_dir()
        reason = (
            "" if recorded else "copied from version 0.1 without its records; made again once, in minutes"
        )
        reason = reason if complete else "not all of the study's cells are done"
        for output, rule in rules.items():
            state: State = "missing"
            if (self.results.parent / study.place(output)).is_file():
                state = "outdated" if reason else "done"
            detail = reason if state == "outdated" else ""
            self.states[output] = JobState(
                rule=rule, output=output, method=ANALYSIS, model="", state=state, detail=detail
            )

    def _add_of(self, run: Run, rule: str, output: str, name: str, lease: Path | None = None) -> None:
        log = self.results / "logs" / run.path / f"{name}.log"
        self._add(rule, output, run_label(self.design, run), run.model, log, lease)

    def _add(
        self, rule: str, output: str, method: str, model: str, log: Path, lease: Path | None = None
    ) -> None:
        state, detail = self._state(output, log, lease)
        self.states[output] = JobState(
            rule=rule,
            output=output,
            method=method,
            model=model,
            state=state,
            detail=detail,
            log=str(log) if state == "failed" else "",
        )

    def _state(self, output: str, log: Path, lease: Path | None) -> tuple[State, str]:
        path = self.results / output
        if path.is_file():
            if reason := self.outdated.get(output):
                return "outdated", reason
            return "done", _payload_note(path)
        if not log.is_file():
            return "missing", ""
        last, progress = _tail(log)
        if last.endswith(REQUEUED):
            return "running", f"{progress or 'no step yet'}, in the queue again"
        if lease is not None and (owner := live_owner(lease)):
            place = f"on {owner.get('host')}, process {owner.get('pid')}"
            return "running", f"{progress}, {place}" if progress else place
        if self.workflow_runs and not progress and not _ERROR.match(last):
            # Growth and evaluation jobs have no lease, and training jobs have none in their first seconds.
            return "running", "no message yet"
        return "failed", last or (f"killed after {progress}" if progress else "killed before any message")


def _payload_note(manifest: Path) -> str:
    """Say whether the files of a manifest were deleted."""
    if (manifest.parent / RELEASED_FILE).is_file():
        return "payload released"
    if manifest.name != "manifest.json":
        return ""
    lost = [
        name for name in read_manifest(manifest).get("payload", {}) if not (manifest.parent / name).is_file()
    ]
    return f"deleted: {', '.join(lost)}" if lost else ""


def _tail(log: Path) -> tuple[str, str]:
    """Return the log's last message and its last progress. The message is empty if progress is the last line.

    Lines before the last progress are ignored: they are from the job's start or from an earlier attempt.
    """
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = stream.read().decode(errors="replace").splitlines()
    message = ""
    for line in reversed(lines):
        if line.startswith('{"progress"'):
            return message, _progress(line)
        # Skip the supervisor's remarks, which follow the job's last message, except that the job was requeued.
        if not line.startswith(REMARK) or line.endswith(REQUEUED):
            message = message or line.strip()
    return message, ""


def _progress(line: str) -> str:
    try:
        fields: dict[str, Any] = json.loads(line)["progress"]
        return f"step {fields['step']} of {fields['steps']}"
    except (ValueError, KeyError, TypeError):
        return ""  # an incomplete line: the job is writing it


# Cells --------------------------------------------------------------------------------------------------------------


def _cell_state(design: Design, cell: Cell, states: dict[str, JobState]) -> CellState:
    run = cell.branch.run
    own = states[cell.path]
    state, detail = own.state, own.detail
    if state == "missing":
        for job in _ancestors(design, cell.branch, states):
            if job.state in ("running", "failed"):
                state, detail = job.state, f"{job.output}: {job.detail}"
                break
    return CellState(
        path=cell.path,
        method=own.method,
        model=run.model,
        seed=run.seed,
        d1_tokens=run.d1_tokens if isinstance(run, Stage2Run) else None,
        d2_tokens=cell.branch.tokens,
        corpus=cell.corpus,
        state=state,
        detail=detail,
    )


def _ancestors(design: Design, branch: Branch, states: dict[str, JobState]) -> Iterator[JobState]:
    """Yield the unfinished jobs that a cell depends on, nearest first. Jobs before a finished one are not needed."""
    output: str | None = branch.manifest
    while output is not None and states[output].state != "done":
        yield states[output]
        output = _parent_output(design, output)


def _parent_output(design: Design, manifest: str) -> str | None:
    run, init, _ = manifest.partition("/init/checkpoint/")
    if init:
        run_grown = parse_run(run)
        assert isinstance(run_grown, Stage2Run)
        return design.base(run_grown).manifest
    return design.parent_manifest(parse_artifact(manifest))
