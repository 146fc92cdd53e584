"""Gathers the loss curves of training into one table, one row per validation loss, for the chosen decay branches.

Reads the steps.jsonl files of a decay branch and of the trunk segments that lead to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from twostage.common.advice import remake
from twostage.common.errors import UserError
from twostage.common.storage import read_json_object
from twostage.design.design import Design
from twostage.design.paths import Branch, Segment, Stage2Run, parse_artifact

COLUMNS = (
    "method",
    "model",
    "seed",
    "d1_tokens",
    "d2_tokens",
    "step",
    "tokens",
    "lr",
    "train_loss_nats",
    "valid_loss_nats",
    "grad_norm",
)
_TRAINED = ("loss", "grad_norm", "lr")


def gather_curves(design: Design, results: Path, wanted: Iterable[Branch]) -> pd.DataFrame:
    """Return the loss curves that lead to the wanted branches.

    Columns: method (`Design.label`), model (the base model), seed, d1_tokens (0 in stage 1), d2_tokens (of the branch),
    step and tokens since the start of the run, lr (of that update), train_loss_nats and grad_norm (before clipping; means
    over the updates since the previous row), valid_loss_nats (on the study's fixed validation samples).

    Args:
        results: the study's results folder.
        wanted: the branches; each gives the curve from the start of its run to its end.

    Raises:
        UserError: the study has no `validation`, or a steps.jsonl is missing, truncated or has no validation losses. The
            message names the file and the command that remakes it.
    """
    if design.study.validation is None:
        raise UserError(
            f"validation: study {design.study.name} has no such section, so its runs log no validation losses; "
            "add e.g. `validation: {every_steps: 100, samples: 64}`"
        )
    rows = [row for branch in dict.fromkeys(wanted) for row in _rows(design, Path(results), branch)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def parse_branch(folder: str) -> Branch:
    """Return the decay branch of a folder, given relative to the study's results folder; `UserError` if it is no branch."""
    artifact = parse_artifact(folder.rstrip("/") + "/")
    if not isinstance(artifact, Branch):
        raise UserError(
            f"{folder}: this is a trunk segment; give a decay branch, <run>/decay/D<stage>-<tokens>"
        )
    return artifact


def _rows(design: Design, results: Path, branch: Branch) -> list[dict[str, Any]]:
    run = branch.run
    lines = _chain_lines(design, results, branch)
    known = {
        "method": design.label(branch),
        "model": run.model,
        "seed": run.seed,
        "d1_tokens": run.d1_tokens if isinstance(run, Stage2Run) else 0,
        "d2_tokens": branch.tokens,
    }
    rows, since = [], 0
    for line in lines:
        if "valid_loss" not in line:
            continue
        part = lines[since : line["step"]]
        since = line["step"]
        rows.append(
            known
            | {
                "step": line["step"],
                "tokens": line["step"] * design.tokens_per_step(run.model),
                "lr": line["lr"],
                "train_loss_nats": sum(update["loss"] for update in part) / len(part),
                "valid_loss_nats": line["valid_loss"],
                "grad_norm": sum(update["grad_norm"] for update in part) / len(part),
            }
        )
    return rows


def _chain_lines(design: Design, results: Path, branch: Branch) -> list[dict[str, Any]]:
    """Return the lines of all updates of the run up to the branch's end, one per step from 1."""
    chain: list[Segment | Branch] = [branch]
    before = design.branch_parent(branch)
    while before is not None:
        chain.insert(0, before)
        before = design.segment_parent(before)
    lines: list[dict[str, Any]] = []
    for job in chain:
        start, stop = design.job_steps(job)
        every_steps = _validation(design, results, job)["every_steps"]
        validated = {step for step in range(start + 1, stop + 1) if step % every_steps == 0}
        if isinstance(job, Branch):
            validated.add(stop)
        if start < stop:
            lines += _job_lines(results, job, list(range(start + 1, stop + 1)), _TRAINED, validated)
        else:
            # A branch without steps adds its validation loss to the trunk's last update.
            lines[-1] |= _job_lines(results, job, [stop], (), validated)[0]
    return lines


def _validation(design: Design, results: Path, job: Segment | Branch) -> dict[str, Any]:
    """Return the section `validation` that a job was trained with. Its interval may differ from the study's."""
    path = results / job.metrics
    again = remake(path)
    metrics = read_json_object(
        path, missing=f"missing; make it with: {again}", damaged=f"remake it with: {again}"
    )
    found: dict[str, Any] | None = metrics["spec"]["validation"]
    expected = design.study.validation
    assert expected is not None
    if found is None:
        raise UserError(f"{path}: trained without validation losses; to train it again with them: {again}")
    if found["samples"] != expected.samples:
        raise UserError(
            f"validation.samples: {expected.samples}, but {path} has losses of {found['samples']} samples, which are not "
            f"comparable; set it back, or train the job again: {again}"
        )
    return found


def _job_lines(
    results: Path, job: Segment | Branch, steps: list[int], keys: tuple[str, ...], validated: set[int]
) -> list[dict[str, Any]]:
    """Read the lines of one job: one for each of `steps` with all `keys`, and a validation loss at the steps `validated`."""
    path = results / job.folder / "steps.jsonl"
    fix = f"remake it with: {remake(results / job.metrics)}"
    try:
        lines: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {fix}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: truncated or altered ({error}); {fix}") from None
    if [line.get("step") if isinstance(line, dict) else None for line in lines] != steps:
        raise UserError(
            f"{path}: truncated or altered: {len(lines)} lines where steps {steps[0]} to {steps[-1]} are expected; {fix}"
        )
    for line in lines:
        wanted = (*keys, "valid_loss") if line["step"] in validated else keys
        if lost := [key for key in wanted if key not in line]:
            raise UserError(f"{path}: step {line['step']} has no {lost[0]!r}; {fix}")
    return lines
