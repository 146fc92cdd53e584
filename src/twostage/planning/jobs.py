"""Which jobs of a design are really needed, and what becomes of their checkpoints: the plan's and the rules' common ground.

A job is needed if a measured cell leads back to it; the study's excluded cells need nothing. Pure functions of the
design, without torch or disk.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from twostage.design.design import Cell, Design
from twostage.design.paths import Branch, Run, Segment, Stage2Run, grown_manifest
from twostage.design.trunk_points import with_decay

#: Label of the base models' runs in bills and lists.
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
        """Corpora that are trained or measured on, in the study's order."""
        needed = {corpus for run in self.runs for corpus in design.mixture(run)}
        needed |= {cell.corpus for cell in self.evaluations}
        return tuple(corpus for corpus in design.study.corpora if corpus in needed)

    def prepared(self, design: Design) -> tuple[str, ...]:
        """Corpora whose documents are needed: all of them where the study trains its tokenizer."""
        if design.study.tokenizer.kind == "bpe" and self.evaluations:
            return tuple(design.study.corpora)
        return self.tokenised(design)


def measured_cells(design: Design) -> list[Cell]:
    """Return all cells but those that the study excludes, which may not be measurable at all."""
    excluded = {entry.cell for entry in design.study.excluded_cells}
    return [cell for cell in design.cells() if cell.path not in excluded]


def planned_jobs(design: Design) -> Jobs:
    """Return what the measured cells need; nothing where the study's tables come from elsewhere (`cells_table`)."""
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


def _parent(design: Design, job: Segment | Branch, grown: dict[Stage2Run, None]) -> Segment | Branch | None:
    """Return the job that trained what `job` starts from; notes a growth in between in `grown`."""
    before = design.segment_parent(job) if isinstance(job, Segment) else design.branch_parent(job)
    if before is not None or not isinstance(job.run, Stage2Run):
        return before
    if design.grows(job.run):
        grown[job.run] = None
    return design.base(job.run)


def label(design: Design, run: Run) -> str:
    """Return what a run is called in bills and lists: its method, `base`, `scratch-<corpus>`, or the ablation's schedule."""
    if isinstance(run, Stage2Run):
        return run.method
    if run.schedule:
        return f"{run.schedule} schedule"
    study = design.study
    is_base = run.corpus == study.stage1.corpus and run.model in study.base_models
    return BASE if is_base else f"scratch-{run.corpus}"


# What becomes of checkpoints ----------------------------------------------------------------------------------------


def is_protected(design: Design, job: Segment | Branch) -> bool:
    """Tell whether the study write-protects a job's checkpoint."""
    if job.run.stage == 2:
        return False
    policy = design.study.checkpoints
    return (policy.base_trunk if isinstance(job, Segment) else policy.base_decay) == "protect"


def releases(design: Design, jobs: Jobs) -> dict[str, tuple[str, ...]]:
    """Return the checkpoints to delete once used: manifest -> the manifests of every job that is planned from it.

    Kept are, of every stage-2 run, the last segment and the last of its chain, from which a longer D2 goes on.
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
    if design.schedule(run) == "constant":  # its trunk goes on where others decay
        chain = tuple(map(with_decay, chain))
    segments = design.segments(run)
    on_chain = [segment for segment in segments if design.segment_steps(segment)[1] in chain]
    return {*segments[-1:], *on_chain[-1:]}
