"""The jobs that a study needs, and which of their checkpoints are released. Used by the plan and by the rules.

A job is needed if a measured cell depends on it; excluded cells are not measured. No torch, no disk access.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from twostage.corpora.dataspecs import tokenizer_spec
from twostage.corpora.samples import LEAST_EVALUATED, least_tokens
from twostage.design.design import Cell, Design
from twostage.design.paths import Branch, Run, Segment, Stage2Run, grown_manifest
from twostage.design.trunk_points import total_with_decay

#: Label of the base models' runs in the plan and the status.
BASE = "base"


@dataclass(frozen=True)
class Jobs:
    """The training, growth and evaluation jobs of a study, each once; parents before children."""

    segments: tuple[Segment, ...]
    branches: tuple[Branch, ...]
    grown: tuple[Stage2Run, ...]
    evaluations: tuple[Cell, ...]

    @property
    def training(self) -> tuple[Segment | Branch, ...]:
        """Segments and branches."""
        return (*self.segments, *self.branches)

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run that is trained."""
        return tuple(dict.fromkeys(job.run for job in self.training))

    def tokenised(self, design: Design) -> tuple[str, ...]:
        """Return the corpora that are used for training or evaluation, in the order of the study."""
        needed = {corpus for run in self.runs for corpus in design.mixture(run)}
        needed |= {cell.corpus for cell in self.evaluations}
        return tuple(corpus for corpus in design.study.corpora if corpus in needed)

    def prepared(self, design: Design) -> tuple[str, ...]:
        """Return the corpora whose documents are needed, also for the tokenizer, in the order of the study."""
        needed = {*self.tokenised(design)}
        if self.evaluations:
            needed |= {*tokenizer_spec(design.study).corpora}
        return tuple(corpus for corpus in design.study.corpora if corpus in needed)


def measured_cells(design: Design) -> list[Cell]:
    """Return all cells except those in `excluded_cells`."""
    excluded = {entry.cell for entry in design.study.excluded_cells}
    return [cell for cell in design.cells() if cell.path not in excluded]


def planned_jobs(design: Design) -> Jobs:
    """Return the jobs that the measured cells need. There are none for a study with `cells_table`."""
    if design.study.cells_table is not None:
        return Jobs((), (), (), ())
    cells = measured_cells(design)
    needed: dict[Segment | Branch, None] = {}
    grown: dict[Stage2Run, None] = {}

    def need(job: Segment | Branch) -> None:
        chain = []
        next_job: Segment | Branch | None = job
        while next_job is not None and next_job not in needed:
            chain.append(next_job)
            next_job = _parent(design, next_job, grown)
        needed.update(dict.fromkeys(reversed(chain)))

    for cell in cells:
        need(cell.branch)
    return Jobs(
        tuple(job for job in needed if isinstance(job, Segment)),
        tuple(job for job in needed if isinstance(job, Branch)),
        tuple(grown),
        tuple(cells),
    )


def least_split_tokens(design: Design, corpus: str) -> dict[str, int]:
    """Return the least number of tokens that each split of a corpus needs for the jobs of the study; 0 if none reads it."""
    jobs = planned_jobs(design)
    curve = design.study.validation
    samples = {
        "train": int(any(corpus in design.mixture(run) for run in jobs.runs)),
        "valid": max(
            LEAST_EVALUATED if any(cell.corpus == corpus for cell in jobs.evaluations) else 0,
            curve.samples if curve and any(design.corpus(run) == corpus for run in jobs.runs) else 0,
        ),
    }
    return {
        split: least_tokens(count, design.study.context) if count else 0 for split, count in samples.items()
    }


def _parent(design: Design, job: Segment | Branch, grown: dict[Stage2Run, None]) -> Segment | Branch | None:
    """Return the job that trained the checkpoint `job` starts from. Adds a growth job in between to `grown`."""
    before = design.segment_parent(job) if isinstance(job, Segment) else design.branch_parent(job)
    if before is not None or not isinstance(job.run, Stage2Run):
        return before
    if design.grows(job.run):
        grown[job.run] = None
    return design.base(job.run)


def run_label(design: Design, run: Run) -> str:
    """Return a run's label in the plan: its method, `base`, `scratch-<corpus>`, or `<schedule> schedule` (ablation)."""
    if isinstance(run, Stage2Run):
        return run.method
    if run.schedule:
        return f"{run.schedule} schedule"
    study = design.study
    is_base = run.corpus == study.stage1.corpus and run.model in study.base_models
    return BASE if is_base else f"scratch-{run.corpus}"


# Checkpoint policy ----------------------------------------------------------------------------------------------------


def is_protected(design: Design, job: Segment | Branch) -> bool:
    """Return whether the study write-protects a job's checkpoint."""
    if job.run.stage == 2:
        return False
    policy = design.study.checkpoints
    return (policy.base_trunk if isinstance(job, Segment) else policy.base_decay) == "protect"


def releases(design: Design, jobs: Jobs) -> dict[str, tuple[str, ...]]:
    """Return the checkpoints to release: manifest -> manifests of all jobs that are planned to start from it.

    The last segment of every stage-2 run and the last one on its chain are kept, so that a longer D2 can continue.
    """
    policy = design.study.checkpoints
    users: dict[str, list[str]] = defaultdict(list)
    for job in jobs.training:
        if parent := design.parent_manifest(job):
            users[parent].append(job.manifest)
    released = []
    if policy.grown == "release":
        released += [grown_manifest(run) for run in jobs.grown]
    if policy.stage2_trunk == "release":
        kept = {run: _kept_segments(design, run) for run in jobs.runs}
        released += [job.manifest for job in jobs.segments if job.run.stage == 2 and job not in kept[job.run]]
    return {manifest: tuple(users[manifest]) for manifest in released}


def _kept_segments(design: Design, run: Run) -> set[Segment]:
    chain = design.study.grid_of(run.model).d2.trunk_steps
    if design.schedule(run) == "constant":  # the trunk continues to the end instead of a decay
        chain = tuple(map(total_with_decay, chain))
    segments = design.segments(run)
    on_chain = [segment for segment in segments if design.segment_steps(segment)[1] in chain]
    return {*segments[-1:], *on_chain[-1:]}
