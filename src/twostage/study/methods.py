"""Sections `stage1`, `methods`, `scratch`, `repeats` and `ablations`: the runs of both stages.

A method is one choice along each of a few axes that combine freely: how the model grows (or not), on which corpus it
is trained, from which base checkpoint, with which learning rates, and whether growth sees the base's data again. The
variants of the paper are such combinations; so are a user's own.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field, model_validator

from twostage.study.base import Frozen, Name, Steps

ScheduleKind = Literal["wsd", "constant", "cosine"]


class Stage1(Frozen):
    """Pretraining of the base models."""

    corpus: Name = Field(description="the base corpus")
    models: tuple[Name, ...] | None = Field(
        None, min_length=1, description="base models; default: all. The others serve from-scratch runs only"
    )


class MethodBase(Frozen):
    """What all kinds of stage 2 share."""

    corpus: Name | None = Field(None, description="stage-2 corpus; default (growth only): the base corpus")
    replay: float = Field(
        0.0, ge=0, lt=1, description="share of stage-1 data in the mixture, counted in tokens"
    )
    start: Literal["decay", "trunk"] = Field(
        "decay",
        description="decay: the decayed base checkpoint, fresh optimizer, warmed up again. trunk: the stable-phase "
        "checkpoint, at the peak rate from step 1, with the optimizer's state; D1 is then the trunk's tokens",
    )
    schedule: ScheduleKind | None = Field(None, description="of stage 2; default: the recipe's")
    peak_lr_fraction: float = Field(
        1.0, gt=0, le=1, description="peak rate of stage 2 over the model's peak_lr"
    )
    warmup_steps: int | None = Field(
        None, ge=0, description="of stage 2; default: the model's, and 0 where start is trunk"
    )
    data: Literal["repeat", "fresh"] = Field(
        "repeat",
        description="repeat: the base corpus from its first sample again, as the paper does; fresh: from where the base stopped",
    )
    models: tuple[Name, ...] | None = Field(None, min_length=1, description="base models; default: all")
    d1_steps: Steps | None = Field(
        None, min_length=1, description="only these points of the stage-1 grid; default: all"
    )
    d2_steps: Steps | None = Field(
        None, min_length=1, description="only these points of the stage-2 grid; default: all"
    )

    @model_validator(mode="after")
    def _combination_makes_sense(self) -> MethodBase:
        if self.replay_fraction.denominator > 1000:
            raise ValueError(
                f"replay: {self.replay} needs at most three decimals, so that a short pattern holds it exactly"
            )
        if self.start == "trunk" and self.warmup_steps:
            raise ValueError(
                f"warmup_steps: {self.warmup_steps}, but start: trunk goes on at the peak rate; remove warmup_steps"
            )
        return self

    @property
    def replay_fraction(self) -> Fraction:
        """The replay share, exactly as it is written in the study."""
        return Fraction(str(self.replay))


class Cpt(MethodBase):
    """Continual pretraining on another corpus."""

    kind: Literal["cpt"]
    corpus: Name = Field(description="stage-2 corpus")


class Stack(MethodBase):
    """Depth growth: the layers are repeated `factor` times."""

    kind: Literal["stack"]
    factor: int = Field(2, ge=2, le=16)


class ExpandShape(Frozen):
    """An explicit width to expand to."""

    d_model: int = Field(gt=0)
    n_head: int = Field(gt=0)
    d_mlp: int = Field(gt=0)


class Expand(MethodBase):
    """Width growth that preserves the function; N doubles within 1 % where a shape allows it."""

    kind: Literal["expand"]
    split: Literal["random", "equal"] = Field("random", description="how copies share their outgoing weights")
    init: Literal["duplicate", "zero"] = Field("duplicate", description="copies of neurons, or zero padding")
    shapes: dict[Name, ExpandShape] = Field(
        {}, description="explicit shapes by base model; default: our rule"
    )

    @model_validator(mode="after")
    def _starts_decayed(self) -> Expand:
        if self.start == "trunk":
            raise ValueError(
                "start: trunk carries the optimizer's state, which width expansion has no exact rule for "
                "(copies share their outgoing weights unequally); use start: decay, or kind: stack"
            )
        return self


Method = Annotated[Cpt | Stack | Expand, Field(discriminator="kind")]


class Scratch(Frozen):
    """From-scratch runs on a corpus, beside the base runs."""

    corpus: Name
    models: tuple[Name, ...] | None = Field(None, min_length=1, description="default: all base models")
    steps: Steps | None = Field(
        None, min_length=1, description="only these points of the stage-1 grid; default: all"
    )


class Repeat(Frozen):
    """Part of the grid again with other seeds: the noise floor."""

    seeds: tuple[int, ...] = Field(min_length=1, description="none of the study's seeds")
    methods: tuple[Name, ...] | None = Field(None, min_length=1, description="default: all")
    models: tuple[Name, ...] | None = Field(
        None, min_length=1, description="default: all of the method's models"
    )
    d1_steps: Steps | None = Field(None, min_length=1, description="default: all of the method's points")
    d2_steps: Steps | None = Field(None, min_length=1, description="default: all of the method's points")


class ScheduleAblation(Frozen):
    """From-scratch runs on the base corpus under two schedules (Figure 5); seeds are the study's first.

    Under WSD, a tenth of `total_steps` is the decay, and the trunk is a side segment of the base run.
    """

    model: Name
    total_steps: int = Field(gt=0, multiple_of=10, description="trunk and decay together")
    against: ScheduleKind = Field("cosine", description="the other schedule")


class Ablations(Frozen):
    """Comparisons that are not methods. Pairs of methods that differ in one key (Figures 6 and 7) need no entry here."""

    schedule: ScheduleAblation | None = None
