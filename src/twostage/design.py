"""What a study implies: runs, trunk segments, decay branches, their parents and the cells to measure.

Pure functions of the study, without torch or disk, so that the workflow's DAG, the plan and the tests all read the
same design. Tokens are integers throughout: D = 1.1 x trunk steps x batch x context.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from twostage.architecture import Architecture
from twostage.errors import UserError
from twostage.growth_shapes import expanded_architecture, stacked_architecture
from twostage.paths import Branch, Run, Segment, Stage1Run, Stage2Run
from twostage.study import Cpt, Expand, Grid, Method, Stack, Study


@dataclass(frozen=True, order=True)
class Cell:
    """One measured point: a decayed checkpoint and the held-out split of a corpus."""

    branch: Branch
    corpus: str

    @property
    def path(self) -> str:
        """The evaluation file, relative to `results/<study>/`."""
        return self.branch.evaluation(self.corpus)


class Design:
    """The grid of one study; see the module docstring."""

    def __init__(self, study: Study) -> None:
        self.study = study

    # Units ------------------------------------------------------------------------------------------------------

    def tokens_per_step(self, model: str) -> int:
        """Tokens of one optimizer step."""
        return self.study.models[self._known_model(model)].batch_size * self.study.context

    def decay_tokens(self, model: str, trunk_steps: int) -> int:
        """D of the branch that leaves the trunk after `trunk_steps`: trunk plus a tenth for the decay."""
        return (trunk_steps + trunk_steps // 10) * self.tokens_per_step(model)

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
        """Return the stage-1 run whose decayed checkpoint a stage-2 run starts from."""
        return Stage1Run(self.study.stage1.corpus, run.model, run.seed)

    def grows(self, run: Stage2Run) -> bool:
        """Tell whether a stage-2 run starts from a grown checkpoint rather than from the base itself."""
        return not isinstance(self.method(run), Cpt)

    def grid(self, run: Run) -> Grid:
        """Return the trunk lengths of a run."""
        grid = self.study.grid_of(self._known_model(run.model))
        if isinstance(run, Stage1Run):
            return grid.d1
        chosen = self.method(run).d2_steps
        if chosen is None:
            return grid.d2
        # Extra points stay side segments, so that choosing them never changes the chain.
        return Grid.model_construct(
            trunk_steps=tuple(step for step in grid.d2.trunk_steps if step in chosen),
            extra_steps=tuple(step for step in grid.d2.extra_steps if step in chosen),
        )

    def stage1_runs(self) -> Iterator[Stage1Run]:
        """Yield base runs, then from-scratch runs on other corpora, each once."""
        seen: set[Stage1Run] = set()
        sections = [(self.study.stage1.corpus, None)] + [(s.corpus, s.models) for s in self.study.scratch]
        for corpus, models in sections:
            for model in models or self.study.models:
                for seed in self.study.seeds:
                    run = Stage1Run(corpus, model, seed)
                    if run not in seen:
                        seen.add(run)
                        yield run

    def stage2_runs(self, method: str | None = None) -> Iterator[Stage2Run]:
        """Yield the stage-2 runs of one method, or of all."""
        for name, section in self.study.methods.items():
            if method not in (None, name):
                continue
            for model in section.models or self.study.models:
                for steps in section.d1_steps or self.study.grid_of(model).d1.points:
                    for seed in self.study.seeds:
                        yield Stage2Run(name, model, seed, self.decay_tokens(model, steps))

    def runs(self) -> list[Run]:
        """Return all runs of both stages."""
        return [*self.stage1_runs(), *self.stage2_runs()]

    def architecture(self, run: Run) -> Architecture:
        """Return the shape of the model that a run trains (the grown one in stage 2)."""
        base = self.study.architecture(self._known_model(run.model))
        if isinstance(run, Stage1Run):
            return base
        method = self.method(run)
        if isinstance(method, Stack):
            return stacked_architecture(base, method.factor)
        if isinstance(method, Expand):
            shape = method.shapes.get(run.model)
            return expanded_architecture(base, **(shape.model_dump() if shape else {}))
        return base

    def corpus(self, run: Run) -> str:
        """Return the corpus a run is measured on: its own in stage 1, the method's in stage 2."""
        if isinstance(run, Stage1Run):
            return run.corpus
        method = self.method(run)
        return method.corpus if isinstance(method, Cpt) else self.study.stage1.corpus

    # Jobs -------------------------------------------------------------------------------------------------------

    def segment_steps(self, segment: Segment) -> tuple[int, int]:
        """Return (start, stop) of a trunk segment in steps; `UserError` where it is not on the grid."""
        stop = self._steps(segment.run, segment.tokens, "trunk")
        return self.grid(segment.run).start_of(stop), stop

    def branch_steps(self, branch: Branch) -> tuple[int, int]:
        """Return (start, stop) of a decay branch in steps; it starts at its trunk's end."""
        trunk, left = divmod(self._steps(branch.run, branch.tokens, "decay") * 10, 11)
        grid = self.grid(branch.run)
        if left or trunk not in grid.points:
            self._off_grid(branch.run, branch.tokens, "decay")
        return trunk, trunk + trunk // 10

    def _steps(self, run: Run, tokens: int, part: str) -> int:
        steps, left = divmod(tokens, self.tokens_per_step(run.model))
        if left or (part == "trunk" and steps not in self.grid(run).points):
            self._off_grid(run, tokens, part)
        return steps

    def _off_grid(self, run: Run, tokens: int, part: str) -> None:
        points = self.grid(run).points
        if part == "trunk":
            known = [steps * self.tokens_per_step(run.model) for steps in points]
        else:
            known = [self.decay_tokens(run.model, steps) for steps in points]
        nearest = min(known, key=lambda value: abs(value - tokens))
        what = f"D{run.stage}" if part == "decay" else "trunk length"
        raise UserError(
            f"{run.path}: {what} = {tokens} tokens is not on the grid {known}; nearest: {nearest}"
        )

    def segments(self, run: Run) -> list[Segment]:
        """Return all trunk segments of a run, shortest first."""
        unit = self.tokens_per_step(run.model)
        return [Segment(run, steps * unit) for steps in self.grid(run).points]

    def branches(self, run: Run) -> list[Branch]:
        """Return all decay branches of a run, shortest first."""
        return [Branch(run, self.decay_tokens(run.model, steps)) for steps in self.grid(run).points]

    def segment_parent(self, segment: Segment) -> Segment | None:
        """Return the segment that this one continues; None where the run starts."""
        start, _ = self.segment_steps(segment)
        return Segment(segment.run, start * self.tokens_per_step(segment.run.model)) if start else None

    def branch_parent(self, branch: Branch) -> Segment:
        """Return the trunk segment that a decay branch leaves."""
        start, _ = self.branch_steps(branch)
        return Segment(branch.run, start * self.tokens_per_step(branch.run.model))

    def base_branch(self, run: Stage2Run) -> Branch:
        """Return the decayed base checkpoint that a stage-2 run starts from; checks that D1 is on the grid."""
        branch = Branch(self.base_run(run), run.d1_tokens)
        self.branch_steps(branch)
        return branch

    def mixture(self, run: Run) -> dict[str, int]:
        """Return the training corpora of a run with integer weights, in a fixed order."""
        own = self.corpus(run)
        method = self.method(run) if isinstance(run, Stage2Run) else None
        if not isinstance(method, Cpt) or not method.replay:
            return {own: 1}
        share = method.replay_fraction
        return {own: share.denominator - share.numerator, self.study.stage1.corpus: share.numerator}

    # Cells ------------------------------------------------------------------------------------------------------

    def cells(self) -> list[Cell]:
        """Return every evaluation of the study, each once.

        A stage-2 checkpoint is evaluated on its own corpus and on the base corpus (forgetting), a base checkpoint
        also on every corpus that a method continues on (the loss at D2 = 0), a from-scratch one on its own.
        """
        base = self.study.stage1.corpus
        continued = [m.corpus for m in self.study.methods.values() if isinstance(m, Cpt)]
        cells: dict[Cell, None] = {}
        for run in self.runs():
            corpora = [self.corpus(run), base] if run.stage == 2 else [self.corpus(run)]
            if run.stage == 1 and self.corpus(run) == base:
                corpora += continued
            for branch in self.branches(run):
                for corpus in corpora:
                    cells[Cell(branch, corpus)] = None
        return list(cells)

    def jobs(self) -> tuple[list[Segment], list[Branch]]:
        """Return every segment and branch that the cells need, each once."""
        runs = self.runs()
        return (
            [segment for run in runs for segment in self.segments(run)],
            [branch for run in runs for branch in self.branches(run)],
        )

    def planned_tokens(self) -> int:
        """Tokens that the whole study trains: the sum over its segments and branches."""
        segments, branches = self.jobs()
        total = 0
        for segment in segments:
            start, stop = self.segment_steps(segment)
            total += (stop - start) * self.tokens_per_step(segment.run.model)
        for branch in branches:
            start, stop = self.branch_steps(branch)
            total += (stop - start) * self.tokens_per_step(branch.run.model)
        return total
