"""Sections `stage1`, `scratch`, `repeats` and `ablations`: which runs a study has besides those of its methods."""

from __future__ import annotations

from pydantic import Field

from twostage.common.sections import Frozen, Name, Seed, Steps
from twostage.methods import ScheduleKind


class Stage1(Frozen):
    """Pretraining of the base models."""

    corpus: Name = Field(description="the base corpus")
    models: tuple[Name, ...] | None = Field(
        None, min_length=1, description="base models; default: all. The others serve from-scratch runs only"
    )


class Scratch(Frozen):
    """From-scratch runs on a corpus, in addition to the base runs."""

    corpus: Name
    models: tuple[Name, ...] | None = Field(None, min_length=1, description="default: all base models")
    steps: Steps | None = Field(
        None, min_length=1, description="only these points of the stage-1 grid; default: all"
    )


class Repeat(Frozen):
    """Part of the grid again with other seeds: the noise floor."""

    seeds: tuple[Seed, ...] = Field(min_length=1, description="none of the study's seeds")
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
