"""The runs of a study, their trunk segments, decay branches and parents, and the cells to measure.

Computed from the study alone, without torch or disk access. The workflow's DAG, the plan and the tests use the same
design. Token counts are integers: on the grid, D = 1.1 x trunk steps x batch size x context.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from twostage.common.architecture import Architecture
from twostage.common.errors import UserError
from twostage.design.paths import Branch, Run, Segment, Stage1Run, Stage2Run, grown_manifest
from twostage.design.trunk_points import (
    TrunkPoint,
    grid_point,
    off_grid_point,
    total_with_decay,
    trunk_segments,
)
from twostage.methods import Method, ScheduleKind
from twostage.study import Repeat, Study

#: Value of `method` in the tables for stage-1 runs, which have no base checkpoint.
SCRATCH = "scratch"
_T = TypeVar("_T")


@dataclass(frozen=True, order=True)
class Cell:
    """One measured point: the loss of a decay branch's checkpoint on the held-out split of a corpus."""

    branch: Branch
    corpus: str

    @property
    def path(self) -> str:
        """The evaluation file, relative to `results/<study>/`."""
        return self.branch.evaluation(self.corpus)


class Design:
    """The runs, jobs and cells of one study."""

    def __init__(self, study: Study) -> None:
        self.study = study
        # Building a DAG of thousands of jobs calls these many times with the same arguments.
        self.points = cache(self._points)
        self.trunk = cache(self._trunk)
        self.runs = cache(self._runs)

    # Units ------------------------------------------------------------------------------------------------------

    def tokens_per_step(self, model: str) -> int:
        """Return the tokens of one optimizer step."""
        return self.study.models[self._known_model(model)].batch_size * self.study.context

    def branch_tokens(self, model: str, trunk_steps: int) -> int:
        """Return D of the branch that starts after `trunk_steps`: the trunk plus a tenth of it for the decay."""
        return total_with_decay(trunk_steps) * self.tokens_per_step(model)

    def _known_model(self, model: str) -> str:
        if model not in self.study.models:
            raise UserError(
                f"model {model!r} is not in study {self.study.name}; it has {sorted(self.study.models)}"
            )
        return model

    # Runs -------------------------------------------------------------------------------------------------------

    def method(self, run: Stage2Run) -> Method:
        """Return the method section of a stage-2 run."""
        try:
            return self.study.methods[run.method]
        except KeyError:
            raise UserError(
                f"method {run.method!r} is not in study {self.study.name}; it has {sorted(self.study.methods)}"
            ) from None

    def base_run(self, run: Stage2Run) -> Stage1Run:
        """Return the stage-1 run that a stage-2 run starts from."""
        return Stage1Run(self.study.stage1.corpus, run.model, run.seed)

    def base(self, run: Stage2Run) -> Branch | Segment:
        """Return the base checkpoint that a stage-2 run starts from: a decay branch, or a trunk segment for `start: trunk`.

        Raises:
            UserError: D1 is not on the grid.
        """
        if self.method(run).start == "trunk":
            segment = Segment(self.base_run(run), run.d1_tokens)
            self.segment_steps(segment)
            return segment
        branch = Branch(self.base_run(run), run.d1_tokens)
        self.branch_steps(branch)
        return branch

    def grows(self, run: Stage2Run) -> bool:
        """Return whether a stage-2 run starts from a grown checkpoint, not from the base checkpoint itself."""
        return self.method(run).grows

    def schedule(self, run: Run) -> ScheduleKind:
        """Return the kind of a run's learning-rate schedule."""
        own = run.schedule if isinstance(run, Stage1Run) else self.method(run).schedule
        return own or self.study.recipe.schedule  # type: ignore[return-value]

    def warmup_steps(self, run: Run) -> int:
        """Return the length of a run's warmup in steps."""
        model = self.study.models[run.model].warmup_steps
        if isinstance(run, Stage1Run):
            return model
        method = self.method(run)
        if method.start == "trunk":
            return 0
        return model if method.warmup_steps is None else method.warmup_steps

    def peak_lr(self, run: Run) -> float:
        """Return a run's peak learning rate."""
        peak = self.study.models[run.model].peak_lr
        return peak if isinstance(run, Stage1Run) else peak * self.method(run).peak_lr_fraction

    def first_sample(self, run: Run) -> int:
        """Return how many samples of its mixture a run skips: with `data: fresh`, those that the base run used."""
        if isinstance(run, Stage1Run) or self.method(run).data == "repeat":
            return 0
        return run.d1_tokens // self.study.context

    def stage1_runs(self) -> Iterator[Stage1Run]:
        """Yield each stage-1 run once: base runs, from-scratch runs, base runs of repeats, the schedule ablation."""
        study = self.study
        runs = [Stage1Run(study.stage1.corpus, m, s) for m in study.base_models for s in study.seeds]
        for section in study.scratch.values():
            for model in section.models or study.base_models:
                runs += [Stage1Run(section.corpus, model, seed) for seed in study.seeds]
        runs += [self.base_run(run) for run in self.stage2_runs()]
        if ablation := study.ablations.schedule:
            runs.append(Stage1Run(study.stage1.corpus, ablation.model, study.seeds[0], ablation.against))
        yield from dict.fromkeys(runs)

    def stage2_runs(self, method: str | None = None) -> Iterator[Stage2Run]:
        """Yield the stage-2 runs of one method, or of all methods. Repeats with other seeds come last."""
        study = self.study
        for name, section in study.methods.items():
            if method not in (None, name) or not section.trained:
                continue
            for model in study.models_of(name):
                for steps in section.d1_steps or study.grid_of(model).d1.points:
                    for seed in study.seeds:
                        yield Stage2Run(name, model, seed, self.d1_tokens(name, model, steps))
        runs = [
            run for repeat in study.repeats for run in self._repeated(repeat) if method in (None, run.method)
        ]
        yield from dict.fromkeys(runs)

    def _repeated(self, repeat: Repeat) -> Iterator[Stage2Run]:
        for name in repeat.methods or self.study.trained_methods:
            for model in _chosen(self.study.models_of(name), repeat.models):
                points = self.study.methods[name].d1_steps or self.study.grid_of(model).d1.points
                for steps in _chosen(points, repeat.d1_steps):
                    for seed in repeat.seeds:
                        yield Stage2Run(name, model, seed, self.d1_tokens(name, model, steps))

    def d1_tokens(self, method: str, model: str, d1_steps: int) -> int:
        """Return D1 for a point of the stage-1 grid, without the decay if the method starts from the trunk."""
        if self.study.methods[method].start == "trunk" and self.study.recipe.schedule == "wsd":
            return d1_steps * self.tokens_per_step(model)
        return self.branch_tokens(model, d1_steps)

    def _runs(self) -> tuple[Run, ...]:
        return (*self.stage1_runs(), *self.stage2_runs())

    def architecture(self, run: Run) -> Architecture:
        """Return the shape of the model that a run trains (in stage 2, after growth)."""
        base = self.study.architecture(self._known_model(run.model))
        return base if isinstance(run, Stage1Run) else self.method(run).architecture(base, run.model)

    def corpus(self, run: Run) -> str:
        """Return the corpus that a run is trained and measured on: its own in stage 1, the method's in stage 2."""
        if isinstance(run, Stage1Run):
            return run.corpus
        return self.method(run).corpus or self.study.stage1.corpus

    def mixture(self, run: Run) -> dict[str, int]:
        """Return the training corpora of a run with their integer weights, in a fixed order."""
        own = self.corpus(run)
        if isinstance(run, Stage1Run) or not self.method(run).replay:
            return {own: 1}
        share = self.method(run).replay_fraction
        return {own: share.denominator - share.numerator, self.study.stage1.corpus: share.numerator}

    # Points -----------------------------------------------------------------------------------------------------

    def _points(self, run: Run) -> tuple[TrunkPoint, ...]:
        """Return the evaluated points of a run, shortest first; empty for a run that is not in the study."""
        kind = self.schedule(run)
        points = [grid_point(kind, steps) for steps in self._grid_steps(run)]
        ablation = self.study.ablations.schedule
        if ablation is not None and isinstance(run, Stage1Run):
            here = (run.corpus, run.model, run.seed) == (
                self.study.stage1.corpus,
                ablation.model,
                self.study.seeds[0],
            )
            if here and run.schedule in ("", ablation.against):
                total = ablation.total_steps
                # If the total is on the grid, the grid's own point is used, so that nothing is trained twice.
                if total not in [point.total_steps for point in points]:
                    points.append(off_grid_point(kind, total))
        return tuple(sorted(points, key=lambda point: point.total_steps))

    def _grid_steps(self, run: Run) -> set[int]:
        """Return the trunk lengths of the grid at which a run is evaluated."""
        study = self.study
        grid = study.grid_of(self._known_model(run.model))
        if isinstance(run, Stage2Run):
            own = set(self.method(run).d2_steps or grid.d2.points)
            if run.seed in study.seeds:
                return own
            repeats = [repeat for repeat in study.repeats if run in set(self._repeated(repeat))]
            return {steps for repeat in repeats for steps in repeat.d2_steps or own}
        if run.schedule:
            return set()
        steps: set[int] = set()
        base = run.corpus == study.stage1.corpus and run.model in study.base_models
        if run.seed in study.seeds:
            if base:
                return set(grid.d1.points)
            for section in study.scratch.values():
                if section.corpus == run.corpus and run.model in (section.models or study.base_models):
                    steps |= set(section.steps or grid.d1.points)
        elif base:
            for other in study.repeats:
                for repeated in self._repeated(other):
                    if self.base_run(repeated) == run:
                        steps |= {
                            s for s in grid.d1.points if repeated.d1_tokens in self._d1_of(run.model, s)
                        }
        return steps

    def _d1_of(self, model: str, steps: int) -> tuple[int, int]:
        return steps * self.tokens_per_step(model), self.branch_tokens(model, steps)

    def _trunk(self, run: Run) -> dict[int, int]:
        """Return a run's trunk segments as {end: start}, in steps."""
        if not (points := self.points(run)):
            return {}
        grid = self.study.grid_of(run.model)
        chain = (grid.d1 if run.stage == 1 else grid.d2).trunk_steps
        return trunk_segments(self.schedule(run), chain, points)

    # Jobs -------------------------------------------------------------------------------------------------------

    def segment_steps(self, segment: Segment) -> tuple[int, int]:
        """Return (start, stop) of a trunk segment in steps; raises `UserError` if it is not on the grid."""
        trunk = self.trunk(segment.run)
        stop, left = divmod(segment.tokens, self.tokens_per_step(segment.run.model))
        if left or stop not in trunk:
            self._off_grid(segment.run, segment.tokens, "trunk length", list(trunk))
        return trunk[stop], stop

    def branch_steps(self, branch: Branch) -> tuple[int, int]:
        """Return (start, stop) of a decay branch in steps; raises `UserError` if it is not on the grid."""
        points = {point.total_steps: point.branch_step for point in self.points(branch.run)}
        total, left = divmod(branch.tokens, self.tokens_per_step(branch.run.model))
        if left or total not in points:
            self._off_grid(branch.run, branch.tokens, f"D{branch.run.stage}", list(points))
        return points[total], total

    def _off_grid(self, run: Run, tokens: int, what: str, steps: list[int]) -> None:
        known = [value * self.tokens_per_step(run.model) for value in steps]
        if not known:
            raise UserError(
                f"{run.path}: this run is not in study {self.study.name}; `twostage status --jobs` lists its jobs"
            )
        nearest = min(known, key=lambda value: abs(value - tokens))
        raise UserError(
            f"{run.path}: {what} = {tokens} tokens is not on the grid {known}; nearest: {nearest}"
        )

    def segments(self, run: Run) -> list[Segment]:
        """Return all trunk segments of a run, shortest first."""
        return [Segment(run, steps * self.tokens_per_step(run.model)) for steps in self.trunk(run)]

    def branches(self, run: Run) -> list[Branch]:
        """Return all decay branches of a run, shortest first."""
        return [
            Branch(run, point.total_steps * self.tokens_per_step(run.model)) for point in self.points(run)
        ]

    def segment_parent(self, segment: Segment) -> Segment | None:
        """Return the segment that this one continues, or None for the first segment of a run."""
        return self._trunk_at(segment.run, self.segment_steps(segment)[0])

    def branch_parent(self, branch: Branch) -> Segment | None:
        """Return the trunk segment that a branch starts from, or None if the branch is the complete run (cosine)."""
        return self._trunk_at(branch.run, self.branch_steps(branch)[0])

    def _trunk_at(self, run: Run, steps: int) -> Segment | None:
        return Segment(run, steps * self.tokens_per_step(run.model)) if steps else None

    def parent_manifest(self, job: Segment | Branch) -> str | None:
        """Return the manifest of the checkpoint that a job starts from, or None for the first job of a stage-1 run."""
        before = self.segment_parent(job) if isinstance(job, Segment) else self.branch_parent(job)
        if before is not None:
            return before.manifest
        if isinstance(job.run, Stage1Run):
            return None
        return grown_manifest(job.run) if self.grows(job.run) else self.base(job.run).manifest

    # Cells ------------------------------------------------------------------------------------------------------

    def label(self, branch: Branch) -> str:
        """Return the value of `method` for a branch in the tables: `scratch` for a stage-1 run on the grid."""
        run = branch.run
        if isinstance(run, Stage2Run):
            return run.method
        if run.schedule:
            return f"{SCRATCH}-{run.schedule}"
        start, total = self.branch_steps(branch)
        on_grid = self.schedule(run) != "wsd" or total_with_decay(start) == total
        return SCRATCH if on_grid else f"{SCRATCH}-{self.schedule(run)}"

    def cells(self) -> list[Cell]:
        """Return every evaluation of the study once.

        A stage-2 checkpoint is evaluated on its own corpus and on the base corpus (forgetting). A base checkpoint is
        evaluated on its own corpus and on the corpus of every method (the loss at D2 = 0). Any other stage-1 checkpoint
        is evaluated on its own corpus.
        """
        base = self.study.stage1.corpus
        methods = self.study.methods
        continued = {
            model: [self.study.corpus_of(name) for name in methods if model in self.study.models_of(name)]
            for model in self.study.base_models
        }
        cells: dict[Cell, None] = {}
        for run in self.runs():
            for branch in self.branches(run):
                corpora = [self.corpus(run), base] if run.stage == 2 else [self.corpus(run)]
                if self.is_base(branch):
                    corpora += continued[run.model]
                for corpus in corpora:
                    cells[Cell(branch, corpus)] = None
        return list(cells)

    def cells_of(self, method: str, model: str) -> list[Cell]:
        """Return the evaluations of one method (or `scratch`) at one base model.

        Raises:
            UserError: there are none; the message lists the methods and models that have cells.
        """
        labels = {cell: (self.label(cell.branch), cell.branch.run.model) for cell in self.cells()}
        chosen = [cell for cell, label in labels.items() if label == (method, model)]
        if not chosen:
            known = sorted(set(labels.values()))
            raise UserError(
                f"no cells of method {method!r} and model {model!r} in study {self.study.name}; it has {known}"
            )
        return chosen

    def is_base(self, branch: Branch) -> bool:
        """Return whether a branch is a base checkpoint: a base model on the base corpus and on the grid."""
        run = branch.run
        if not isinstance(run, Stage1Run) or run.corpus != self.study.stage1.corpus:
            return False
        return run.model in self.study.base_models and self.label(branch) == SCRATCH

    def jobs(self) -> tuple[list[Segment], list[Branch]]:
        """Return every segment and every branch of the study once."""
        runs = self.runs()
        return (
            [segment for run in runs for segment in self.segments(run)],
            [branch for run in runs for branch in self.branches(run)],
        )

    def job_steps(self, job: Segment | Branch) -> tuple[int, int]:
        """Return (start, stop) of a job in steps."""
        return self.segment_steps(job) if isinstance(job, Segment) else self.branch_steps(job)

    def job_tokens(self, job: Segment | Branch) -> int:
        """Return how many tokens a job trains on."""
        start, stop = self.job_steps(job)
        return (stop - start) * self.tokens_per_step(job.run.model)


def _chosen(values: tuple[_T, ...], only: tuple[_T, ...] | None) -> list[_T]:
    return [value for value in values if only is None or value in only]
