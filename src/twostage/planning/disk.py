"""Disk space of a study: bytes of each kind of file, with and without the study's `checkpoints` policy.

The peak is computed for runs that follow one another. Parallel runs need more, up to the total of all checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twostage.design.design import Design
from twostage.design.flops import bytes_per_token, training_state_bytes, weights_bytes
from twostage.design.paths import Branch, Run, Segment, Stage2Run, grown_manifest
from twostage.planning.jobs import Jobs, run_label

#: Kinds of checkpoints, in the order of the tables -> key of the study's `checkpoints` section ("": always kept).
POLICY_KEYS = {
    "base trunk": "base_trunk",
    "base decay": "base_decay",
    "grown": "grown",
    "stage-2 trunk": "stage2_trunk",
    "stage-2 decay": "",
}


@dataclass(frozen=True, kw_only=True)
class DiskRow:
    """Checkpoints of one kind, method and model: their number, their bytes, and the bytes left when the study is done."""

    kind: str
    method: str
    model: str
    files: int
    total_bytes: int
    final_bytes: int


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Disk space of a study.

    Attributes:
        policy: kind of checkpoint -> keep, protect or release.
        peak_bytes: maximum bytes of checkpoints at any time with the policy, if runs follow one another.
        token_bytes: corpus -> bytes of its tokens; None if its size is unknown.
        rolling_bytes: rolling states of one running job of the largest model (two kept, one being written).
    """

    policy: dict[str, str]
    rows: tuple[DiskRow, ...]
    peak_bytes: int
    token_bytes: dict[str, int | None]
    rolling_bytes: int

    @property
    def total_bytes(self) -> int:
        """Bytes of all checkpoints if none is released."""
        return sum(row.total_bytes for row in self.rows)

    @property
    def final_bytes(self) -> int:
        """Bytes of the checkpoints that are left when the study is done."""
        return sum(row.final_bytes for row in self.rows)


def disk_of(
    design: Design, jobs: Jobs, released: Mapping[str, tuple[str, ...]], tokens: Mapping[str, int | None]
) -> Disk:
    """Return the disk space of a design's jobs.

    Args:
        released: from `jobs.releases`.
        tokens: corpus -> training tokens, or None if unknown.
    """
    files: dict[tuple[str, str, str], list[tuple[int, bool]]] = {}
    for job in jobs.training:
        kind = f"{'base' if job.run.stage == 1 else 'stage-2'} {'trunk' if isinstance(job, Segment) else 'decay'}"
        entry = (checkpoint_bytes(design, job), job.manifest in released)
        files.setdefault((kind, run_label(design, job.run), job.run.model), []).append(entry)
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
            name: None if count is None else count * bytes_per_token(study.tokenizer.vocab_size)
            for name, count in tokens.items()
        },
        rolling_bytes=3 * max(states, default=0),
    )


def checkpoint_bytes(design: Design, job: Segment | Branch) -> int:
    """Return the bytes of a job's checkpoint: a training state for a trunk segment, weights for a decay branch."""
    shape = design.architecture(job.run)
    return training_state_bytes(shape) if isinstance(job, Segment) else weights_bytes(shape)


def grown_bytes(design: Design, run: Stage2Run) -> int:
    """Return the bytes of a grown checkpoint: weights, or a training state if the optimizer state is carried over."""
    shape = design.architecture(run)
    carried = design.method(run).start == "trunk"
    return training_state_bytes(shape) if carried else weights_bytes(shape)


def _peak(design: Design, jobs: Jobs, released: Mapping[str, tuple[str, ...]]) -> int:
    """Simulate the jobs run by run, each segment followed by its branches, with every release as early as possible."""
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
        for job in sorted(by_run[run], key=lambda job: _order(design, job)):
            sizes[job.manifest] = checkpoint_bytes(design, job)
            now += sizes[job.manifest]
            peak = max(peak, now)
            if parent := used_by.get(job.manifest):
                waiting[parent] -= 1
                if not waiting[parent]:
                    now -= sizes[parent]
    return peak


def _order(design: Design, job: Segment | Branch) -> tuple[int, int]:
    """Sort key that places a branch right after the segment it starts from."""
    start, stop = design.job_steps(job)
    return (stop, 0) if isinstance(job, Segment) else (start, 1)
