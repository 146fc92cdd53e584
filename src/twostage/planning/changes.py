"""What an edit of the study, or of its data, makes out of date: which finished jobs, for which reason, at what cost."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twostage.common.storage import read_manifest
from twostage.common.units import format_quantity
from twostage.design.design import Design
from twostage.design.paths import Branch, Segment
from twostage.planning.recorded import Changes, CostlyJob


@dataclass(frozen=True, kw_only=True)
class Outdated:
    """The finished jobs that would run again for the same reason.

    Attributes:
        reason: the keys of the study that changed, with the values before and now.
        jobs: rule -> number of jobs.
        tokens: training tokens of the jobs.
        device_hours: time that their training took when it ran, in hours times devices.
        example: output of one of the jobs, relative to the study's results.
    """

    reason: str
    jobs: dict[str, int]
    tokens: int
    device_hours: float
    example: str

    @property
    def training_jobs(self) -> int:
        """Number of trunk segments and decay branches."""
        return sum(
            count
            for rule, count in self.jobs.items()
            if rule.startswith("train_") and rule != "train_tokenizer"
        )

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {rule}" for rule, count in self.jobs.items())
        cost = ""
        if self.tokens:
            cost = f"; {format_quantity(self.tokens)} tokens, which took {self.device_hours:.2g} device-hours"
        return f"{self.reason} ({counts}{cost})"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def grouped(design: Design, outdated: dict[CostlyJob, Changes], results: Path) -> list[Outdated]:
    """Group the jobs of `recorded.outdated` by reason, most training first."""
    groups: dict[str, list[CostlyJob]] = {}
    for job, changes in outdated.items():
        groups.setdefault(text(changes), []).append(job)
    found = [_group(design, reason, jobs, results) for reason, jobs in groups.items()]
    return sorted(found, key=lambda group: -group.tokens)


def text(changes: Changes) -> str:
    """Return the changes in one line."""
    return "; ".join(
        f"{key}: {_value(before)} -> {_value(now)}" if now != "" else f"{key}: {before}"
        for key, (before, now) in changes.items()
    )


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _group(design: Design, reason: str, jobs: list[CostlyJob], results: Path) -> Outdated:
    trained = [job.work for job in jobs if isinstance(job.work, Segment | Branch)]
    metrics = [read_manifest(results / job.metrics) for job in trained]
    return Outdated(
        reason=reason,
        jobs=dict(Counter(job.rule for job in jobs)),
        tokens=sum(design.job_tokens(job) for job in trained),
        device_hours=sum(found.get("train_seconds", 0) * found.get("ranks", 1) for found in metrics) / 3600,
        example=jobs[0].outputs[0],
    )


def warning(study_file: str, groups: list[Outdated]) -> str:
    """Return the message that is shown before a run that would discard finished training; empty if there is none."""
    discarded = [group for group in groups if group.training_jobs]
    if not discarded:
        return ""
    count = sum(group.training_jobs for group in discarded)
    hours = sum(group.device_hours for group in discarded)
    reasons = "\n".join(f"  {group}" for group in discarded)
    return (
        f"{study_file}: {count} finished training jobs ({hours:.2g} device-hours) were made with other settings or inputs and "
        f"will be trained again if a target needs them:\n{reasons}\n"
        f"Details: twostage plan {study_file} --changes. To refuse: --config study={study_file} refuse_retraining=true"
    )
