"""The state of a run: jobs, counts, durations, and estimates of the time left.

Updated by events and their times (seconds since the epoch). Reads no clock and no files, and prints nothing.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from .logs import ProgressLine

# Parts of an output path that do not identify the job.
_NOISE = {"stage1", "stage2", "tokens", "trunk", "decay", "checkpoint", "tables", "fits", "figures"}
_NOISE_STEMS = {"manifest", "metrics", "checkpoint"}


def study_of(paths: Sequence[str]) -> str | None:
    """Return the study's name if one of the paths is `results/<study>/...`, else None."""
    for path in paths:
        parts = PurePosixPath(path).parts
        if "results" in parts[:-2]:
            return parts[parts.index("results") + 1]
    return None


def short_label(path: str) -> str:
    """Shorten an output path to the parts that distinguish jobs of the same rule.

    `results/tiny/stage2/stack/m33k/seed-0/D1-1100000/decay/D2-2200000/eval-code.json` becomes
    `stack m33k seed-0 D1-1.1M D2-2.2M eval-code`.
    """
    parts = list(PurePosixPath(path).parts)
    if "results" in parts[:-2]:
        parts = parts[parts.index("results") + 2 :]
    stem = PurePosixPath(parts.pop()).stem if parts else ""
    kept = [part for part in parts if part not in _NOISE and part != "/"]
    if stem not in _NOISE_STEMS or not kept:
        kept.append(stem)
    return " ".join(re.sub(r"\d{5,}", lambda match: short_count(int(match[0])), part) for part in kept)


def short_count(value: float) -> str:
    """Format a count or rate with three digits: 950, 12.3k, 1.1M, 4.4B."""
    for limit, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= limit * 0.9995:
            return f"{value / limit:.3g}{suffix}" if value < limit * 999.5 else f"{value / limit:.0f}{suffix}"
    return f"{value:.0f}"


@dataclass
class Job:
    """A running job. Times are in seconds since the epoch; `first` and `last` are (time, step) of progress readings."""

    jobid: int
    rule: str
    label: str
    logs: tuple[str, ...]
    started: float
    progress: ProgressLine | None = None
    first: tuple[float, int] | None = None
    last: tuple[float, int] | None = None

    @property
    def name(self) -> str:
        """Return rule and label."""
        return f"{self.rule} {self.label}".rstrip()

    def update(self, progress: ProgressLine | None, now: float) -> None:
        """Update from the last progress line of its log."""
        if progress is None:
            return
        if self.first is None or progress.step < self.first[1]:
            self.first = (now, progress.step)
        if self.last is None or progress.step != self.last[1]:
            self.last = (now, progress.step)
        self.progress = progress

    def left(self, now: float) -> float | None:
        """Return the seconds left at the speed so far, without start-up; None before two progress readings."""
        if self.progress is None or self.first is None or self.last is None or self.last[1] <= self.first[1]:
            return None
        pace = (self.last[0] - self.first[0]) / (self.last[1] - self.first[1])
        return max(0.0, (self.progress.steps - self.last[1]) * pace - (now - self.last[0]))


@dataclass
class Run:
    """A run of the workflow. `planned` holds the number of jobs of each rule, in the order of the DAG."""

    started: float
    planned: dict[str, int]
    total: int
    remote: bool = False
    study: str | None = None
    done: int = 0
    failed: int = 0
    keeps_going: bool = False  # a job was started after another had failed (--keep-going)
    running: dict[int, Job] = field(default_factory=dict)
    finished: Counter[str] = field(default_factory=Counter)
    _seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))  # of finished jobs
    _busy: float = 0.0  # job-seconds
    _active: float = 0.0  # seconds with at least one job
    _clock: float = 0.0

    @classmethod
    def from_stats(cls, stats: Mapping[str, int], now: float, *, remote: bool = False) -> Run:
        """Create from Snakemake's job counts (`{rule: jobs, ..., "total": jobs}`)."""
        planned = {rule: count for rule, count in stats.items() if rule != "total"}
        return cls(started=now, planned=planned, total=sum(planned.values()), remote=remote, _clock=now)

    def _advance(self, now: float) -> None:
        step = max(0.0, now - self._clock)
        self._busy += step * len(self.running)
        self._active += step if self.running else 0.0
        self._clock = max(now, self._clock)

    def job_started(
        self, jobid: int, rule: str, outputs: Sequence[str], logs: Sequence[str], now: float
    ) -> None:
        """Add a running job, or a new attempt of one."""
        self._advance(now)
        self.study = self.study or study_of(outputs)
        self.keeps_going = self.keeps_going or self.failed > 0
        label = short_label(outputs[0]) if outputs else ""
        self.running[jobid] = Job(jobid, rule, label, tuple(logs), now)

    def job_finished(self, jobid: int, now: float) -> Job | None:
        """Count a job as done; return it if it is known."""
        self._advance(now)
        self.done += 1
        job = self.running.pop(jobid, None)
        if job is not None:
            self.finished[job.rule] += 1
            self._seconds[job.rule] += now - job.started
        return job

    def job_failed(self, jobid: int, now: float) -> None:
        """Remove a running job and count a failure. A restart calls `job_restarts` and then adds the job again."""
        self._advance(now)
        self.failed += 1
        self.running.pop(jobid, None)

    def job_restarts(self) -> None:
        """Undo the count of the last failure, because the job gets another attempt."""
        self.failed = max(0, self.failed - 1)

    def set_progress(self, done: int, total: int) -> None:
        """Set the counts to Snakemake's own, which include checkpoints and groups."""
        self.done, self.total = done, total

    def parallel(self, now: float) -> float:
        """Return the average number of parallel jobs while any job ran; at least 1."""
        self._advance(now)
        return max(1.0, self._busy / self._active) if self._active > 0 else 1.0

    def mean_seconds(self, rule: str, now: float) -> float | None:
        """Return a rule's mean duration in this run, from finished jobs, else estimated from running ones."""
        if self.finished[rule]:
            return self._seconds[rule] / self.finished[rule]
        projected = [
            now - job.started + left
            for job in self.running.values()
            if job.rule == rule and (left := job.left(now)) is not None
        ]
        return sum(projected) / len(projected) if projected else None

    def job_left(self, job: Job, now: float) -> float | None:
        """Return the seconds left for a running job, from its own speed, else from its rule's mean duration."""
        left = job.left(now)
        if left is None and self.finished[job.rule]:
            mean = self.mean_seconds(job.rule, now)
            return None if mean is None else max(0.0, mean - (now - job.started))
        return left

    def run_left(self, now: float) -> tuple[float | None, bool]:
        """Return (seconds left, whether the durations of all remaining rules are known); (None, False) if none is.

        The remaining jobs of each rule times its mean duration, divided by the average number of parallel jobs so far.
        Rules that have not run yet count as zero, so the estimate is then a lower bound.
        """
        work, longest, known, complete = 0.0, 0.0, False, True
        active = Counter(job.rule for job in self.running.values())
        for rule, count in self.planned.items():
            waiting = count - self.finished[rule] - active[rule]
            mean = self.mean_seconds(rule, now)
            if waiting > 0 and mean is not None:
                work += waiting * mean
                known = True
            elif waiting > 0:
                complete = False
        for job in self.running.values():
            left = self.job_left(job, now)
            if left is None:
                complete = False
            else:
                work, longest, known = work + left, max(longest, left), True
        return (max(longest, work / self.parallel(now)) if known else None), complete
