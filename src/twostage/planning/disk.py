"""Disk space of a study: bytes for each kind of file, and what the study's `checkpoints` policy makes of them.

Pure functions of the design. The peak is that of running one run after another; runs side by side lie between it and
the total, as does whatever order Snakemake chooses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twostage.design.design import Design
from twostage.design.flops import bytes_per_token, training_state_bytes, weights_bytes
from twostage.design.paths import Branch, Run, Segment, Stage2Run, grown_manifest
from twostage.planning.jobs import Jobs, label

#: Kinds of checkpoints, in the order of the tables, and the key of the study's `checkpoints` that decides on each.
POLICY_KEYS = {
    "base trunk": "base_trunk",
    "base decay": "base_decay",
    "grown": "grown",
    "stage-2 trunk": "stage2_trunk",
    "stage-2 decay": "",
}


@dataclass(frozen=True, kw_only=True)
class DiskRow:
    """Checkpoints of one kind, method and model: how many, their bytes, and the bytes that are there in the end."""

    kind: str
    method: str
    model: str
    files: int
    total_bytes: int
    final_bytes: int


@dataclass(frozen=True, kw_only=True)
class Disk:
    """All that lies on disk.

    Attributes:
        policy: kind -> keep, protect or release.
        peak_bytes: most checkpoint bytes at one time, run after run, with the policy.
        token_bytes: of each corpus; None where its size is unknown.
        rolling_bytes: restart states of one running job of the largest model: two kept, one being written.
    """

    policy: dict[str, str]
    rows: tuple[DiskRow, ...]
    peak_bytes: int
    token_bytes: dict[str, int | None]
    rolling_bytes: int

    @property
    def total_bytes(self) -> int:
        """Checkpoints if nothing is released."""
        return sum(row.total_bytes for row in self.rows)

    @property
    def final_bytes(self) -> int:
        """Checkpoints in the end."""
        return sum(row.final_bytes for row in self.rows)


def disk_of(
    design: Design, jobs: Jobs, released: Mapping[str, tuple[str, ...]], held: Mapping[str, int | None]
) -> Disk:
    """Return the disk space of a design's jobs; `released` as `jobs.releases` gives it, `held`: training tokens."""
    files: dict[tuple[str, str, str], list[tuple[int, bool]]] = {}
    for job in jobs.training:
        kind = f"{'base' if job.run.stage == 1 else 'stage-2'} {'trunk' if isinstance(job, Segment) else 'decay'}"
        entry = (checkpoint_bytes(design, job), job.manifest in released)
        files.setdefault((kind, label(design, job.run), job.run.model), []).append(entry)
    for run in jobs.grown:
        entry = (grown_bytes(design, run), grown_manifest(run) in released)
        files.setdefault(("grown", run.method, run.model), []).append(entry)
    rows = [
        DiskRow(
            kind=kind,
            method=method,
            model=model,
            files=len(entries),
            total_bytes=sum(size for size, _ in entries),
            final_bytes=sum(size for size, gone in entries if not gone),
        )
        for (kind, method, model), entries in files.items()
    ]
    study = design.study
    policy = {kind: getattr(study.checkpoints, key) if key else "keep" for kind, key in POLICY_KEYS.items()}
    states = [training_state_bytes(design.architecture(run)) for run in jobs.runs]
    return Disk(
        policy=policy,
        rows=tuple(sorted(rows, key=lambda row: list(POLICY_KEYS).index(row.kind))),
        peak_bytes=_peak(design, jobs, released),
        token_bytes={
            name: None if tokens is None else tokens * bytes_per_token(study.tokenizer.vocab_size)
            for name, tokens in held.items()
        },
        rolling_bytes=3 * max(states, default=0),
    )


def checkpoint_bytes(design: Design, job: Segment | Branch) -> int:
    """Return the payload of a training job: a training state after a trunk segment, weights after a decay."""
    shape = design.architecture(job.run)
    return training_state_bytes(shape) if isinstance(job, Segment) else weights_bytes(shape)


def grown_bytes(design: Design, run: Stage2Run) -> int:
    """Return the payload of a growth: weights, or a whole training state where the optimizer is carried over."""
    shape = design.architecture(run)
    carried = design.method(run).start == "trunk"
    return training_state_bytes(shape) if carried else weights_bytes(shape)


def _peak(design: Design, jobs: Jobs, released: Mapping[str, tuple[str, ...]]) -> int:
    """Play the jobs run by run, each segment followed by its branches, deleting what has served its last use."""
    sizes = {grown_manifest(run): grown_bytes(design, run) for run in jobs.grown}
    waiting = {manifest: len(users) for manifest, users in released.items()}
    used_by: dict[str, str] = {user: manifest for manifest, users in released.items() for user in users}
    by_run: dict[Run, list[Segment | Branch]] = {}
    for job in jobs.training:
        by_run.setdefault(job.run, []).append(job)
    now = peak = 0
    for run in sorted(by_run, key=lambda run: run.stage):
        if isinstance(run, Stage2Run):
            now += sizes.get(grown_manifest(run), 0)
        for job in sorted(by_run[run], key=lambda job: _turn(design, job)):
            sizes[job.manifest] = checkpoint_bytes(design, job)
            now += sizes[job.manifest]
            peak = max(peak, now)
            if parent := used_by.get(job.manifest):
                waiting[parent] -= 1
                if not waiting[parent]:
                    now -= sizes[parent]
    return peak


def _turn(design: Design, job: Segment | Branch) -> tuple[int, int]:
    """A branch right after the segment it leaves."""
    start, stop = design.job_steps(job)
    return (stop, 0) if isinstance(job, Segment) else (start, 1)
