"""Sections `stage1`, `methods` and `scratch`: the runs of both stages."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field, model_validator

from twostage.study.base import Frozen, Name, Steps


class Stage1(Frozen):
    """Pretraining of the base models."""

    corpus: Name = Field(description="the base corpus")


class MethodBase(Frozen):
    """What all kinds of stage 2 share."""

    models: tuple[Name, ...] | None = Field(None, description="base models; default: all")
    d1_steps: Steps | None = Field(None, description="only these points of the stage-1 grid; default: all")
    d2_steps: Steps | None = Field(None, description="only these points of the stage-2 grid; default: all")


class Cpt(MethodBase):
    """Continual pretraining on another corpus."""

    kind: Literal["cpt"]
    corpus: Name
    replay: float = Field(
        0.0, ge=0, lt=1, description="share of stage-1 data in the mixture, counted in tokens"
    )

    @model_validator(mode="after")
    def _replay_is_a_small_fraction(self) -> Cpt:
        if self.replay_fraction.denominator > 1000:
            raise ValueError(
                f"replay: {self.replay} needs at most three decimals, so that a short pattern holds it exactly"
            )
        return self

    @property
    def replay_fraction(self) -> Fraction:
        """The replay share, exactly as it is written in the study."""
        return Fraction(str(self.replay))


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


Method = Annotated[Cpt | Stack | Expand, Field(discriminator="kind")]


class Scratch(Frozen):
    """From-scratch runs on a corpus, beside the base runs."""

    corpus: Name
    models: tuple[Name, ...] | None = Field(None, description="default: all")
