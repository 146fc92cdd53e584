"""A job's spec: everything that affects its results, as canonical JSON in Snakemake's `params.spec`.

Settings that only affect where and how fast a job runs (threads, micro-batch, partition) are not part of a spec; they are
Snakemake resources. A spec does not contain the end of the grid, so appending a point changes no earlier job.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from twostage.common.architecture import Architecture
from twostage.common.attention import Backend, candidates
from twostage.common.errors import UserError
from twostage.common.revisions import EVALUATE_REVISION, GROW_REVISION, TRAIN_REVISION
from twostage.design.design import Design
from twostage.design.paths import Branch, Run, Segment, Stage1Run, Stage2Run
from twostage.design.schedule import Schedule
from twostage.methods import Growth, growth_of
from twostage.study import OptimizerRecipe


class Spec(BaseModel):
    """Base class of all specs: immutable, rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    #: Fields that say what is measured during a job. They do not affect its result.
    OBSERVES: ClassVar[set[str]] = set()

    def canonical(self) -> str:
        """Return compact JSON with sorted keys. Equal specs have equal text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Any:
        """Create from the text of `canonical()`; raises `UserError` if the text is invalid."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise UserError(f"--spec is not a valid {cls.__name__}: {error}") from None

    def changes(self, recorded: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Compare with the spec that a finished output carries.

        Returns:
            Dotted name of a field -> (value in the output, value in this spec), for the fields that differ and affect the
            numbers. A field that the output does not have, because it is newer, has its default there.
        """
        try:
            theirs = type(self).model_validate(recorded).model_dump(mode="json")
        except ValidationError:  # fields of another version: compare as they are
            theirs = dict(recorded)
        ours = self.model_dump(mode="json")
        for name in self.OBSERVES:
            ours.pop(name, None)
            theirs.pop(name, None)
        return dict(_differences("", theirs, ours))


def _differences(name: str, theirs: Any, ours: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in {**ours, **theirs}:
            yield from _differences(f"{name}.{key}" if name else key, theirs.get(key), ours.get(key))
    elif ours != theirs:
        yield name, (theirs, ours)


class CurveSpec(Spec):
    """Validation losses during training, every `every_steps` updates on evenly spaced samples of a held-out split."""

    corpus: str
    every_steps: int
    samples: int


class TrainSpec(Spec):
    """Spec of a trunk segment or a decay branch: updates `start_step + 1` to `stop_step` of one run."""

    OBSERVES: ClassVar[set[str]] = {"validation"}

    revision: int = TRAIN_REVISION
    architecture: Architecture
    init_std: float
    recipe: OptimizerRecipe
    schedule: Schedule
    batch_size: int
    mixture: tuple[tuple[str, int], ...]  # corpora with integer weights
    first_sample: int = 0  # samples of the mixture skipped before step 1
    seed: int
    start_step: int
    stop_step: int
    # The state at `start_step`: new random weights (init), a weights-only checkpoint (weights), this run's training state
    # (state), or weights and optimizer state of another run's trunk, with steps counted from 0 (carried).
    origin: Literal["init", "weights", "state", "carried"]
    validation: CurveSpec | None = None
    attention: tuple[Backend, ...] = ("sdpa",)  # the first one available on the machine is used and recorded

    @property
    def is_trunk(self) -> bool:
        """Whether the job saves a training state; a decay branch saves weights only."""
        return self.schedule.total_steps is None and self.stop_step > self.start_step


class GrowSpec(Spec):
    """The growth of a base checkpoint, or of a training state where `carries_optimizer`.

    `kind` and its options are keys of the method's section, see `twostage.methods`. `factor`, `split`, `init` and `init_std`
    are in every spec, and null if the kind does not use them. Options of later kinds are extra keys in the specs of that kind
    only, so that a new kind changes no existing identity.
    """

    model_config = ConfigDict(extra="allow")

    revision: int = GROW_REVISION
    source: Architecture
    target: Architecture
    kind: str
    factor: int | None = None
    split: str | None = None
    init: str | None = None
    init_std: float | None = None  # of weights that the operator draws
    carries_optimizer: bool = False  # also grow Adam's moments
    seed: int

    @property
    def growth(self) -> Growth:
        """The growth method with the options of this spec."""
        shared = {"revision", "source", "target", "init_std", "carries_optimizer", "seed"}
        return growth_of(self.model_dump(exclude=shared, exclude_none=True))

    @model_validator(mode="after")
    def _has_a_known_kind(self) -> GrowSpec:
        _ = self.growth
        return self


class EvaluateSpec(Spec):
    """Spec of an evaluation: the loss of one checkpoint on the complete held-out split of one corpus."""

    revision: int = EVALUATE_REVISION
    corpus: str
    context: int
    batch_size: int


def segment_spec(design: Design, segment: Segment) -> TrainSpec:
    """Return the spec of a trunk segment."""
    start, stop = design.segment_steps(segment)
    return _train_spec(design, segment.run, start, stop)


def branch_spec(design: Design, branch: Branch) -> TrainSpec:
    """Return the spec of a decay branch."""
    start, stop = design.branch_steps(branch)
    ends = {"wsd": {"decay_start": start, "total_steps": stop}, "cosine": {"total_steps": stop}}
    return _train_spec(design, branch.run, start, stop, **ends.get(design.schedule(branch.run), {}))


def _train_spec(design: Design, run: Run, start: int, stop: int, **ends: int) -> TrainSpec:
    study = design.study
    model = study.models[run.model]
    curve = study.validation
    return TrainSpec(
        architecture=design.architecture(run),
        init_std=model.effective_init_std,
        recipe=OptimizerRecipe(**study.recipe.model_dump(include=set(OptimizerRecipe.model_fields))),
        schedule=Schedule(
            kind=design.schedule(run),
            peak_lr=design.peak_lr(run),
            warmup_steps=design.warmup_steps(run),
            final_fraction=study.recipe.final_lr_fraction,
            **ends,
        ),
        batch_size=model.batch_size,
        mixture=tuple(design.mixture(run).items()),
        first_sample=design.first_sample(run),
        seed=run.seed,
        start_step=start,
        stop_step=stop,
        origin="state" if start else _origin(design, run),
        validation=curve and CurveSpec(corpus=design.corpus(run), **curve.model_dump()),
        attention=candidates(
            study.recipe.attention_backend, (study.architecture(name).head_dim for name in study.models)
        ),
    )


def _origin(design: Design, run: Run) -> Literal["init", "weights", "carried"]:
    if isinstance(run, Stage1Run):
        return "init"
    return "carried" if design.method(run).start == "trunk" else "weights"


def grow_spec(design: Design, run: Stage2Run) -> GrowSpec:
    """Return the spec of a growth job."""
    method = design.method(run)
    if not isinstance(method, Growth):
        raise UserError(
            f"{run.path}: method {run.method!r} does not grow the model, so the run has no grown checkpoint in init/; use a method "
            "that grows, such as kind: stack"
        )
    return GrowSpec(
        source=design.architecture(design.base_run(run)),
        target=design.architecture(run),
        kind=method.kind,
        carries_optimizer=method.start == "trunk",
        seed=run.seed,
        **method.spec_options(design.study.models[run.model].effective_init_std),
    )


def evaluate_spec(design: Design, branch: Branch, corpus: str) -> EvaluateSpec:
    """Return the spec of one evaluation."""
    design.branch_steps(branch)
    if corpus not in design.study.corpora:
        raise UserError(
            f"{branch.evaluation(corpus)}: corpus {corpus!r} is not in study {design.study.name}; it has {sorted(design.study.corpora)}"
        )
    return EvaluateSpec(
        corpus=corpus, context=design.study.context, batch_size=design.study.evaluation.batch_size
    )
