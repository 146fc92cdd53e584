"""Sections `grid`, `models`, `recipe`, `validation`, `evaluation` and `checkpoints`: what is trained, how, and what is kept."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from twostage.common.sections import Frozen, Steps
from twostage.methods import ScheduleKind
from twostage.study.attention import Precision, Requested


class Grid(Frozen):
    """Trunk lengths at which a run branches off into a decay, in optimizer steps, warmup included."""

    trunk_steps: Steps = Field(
        min_length=1, description="the chain: each segment starts where the one before ended"
    )
    extra_steps: Steps = Field(
        (), description="side segments from the largest smaller chain point; the chain is not retrained"
    )

    @model_validator(mode="after")
    def _disjoint(self) -> Grid:
        if both := sorted(set(self.trunk_steps) & set(self.extra_steps)):
            raise ValueError(
                f"extra_steps: {both} are in trunk_steps already; remove them from one of the two"
            )
        return self

    @property
    def points(self) -> tuple[int, ...]:
        """All trunk lengths, rising."""
        return tuple(sorted(self.trunk_steps + self.extra_steps))


class ModelGrid(Frozen):
    """The grid of both stages."""

    d1: Grid = Field(description="stage 1: base checkpoints")
    d2: Grid = Field(description="stage 2")


class Model(Frozen):
    """A base model and the training settings that go with its size (Tables 3 and 5 of the paper)."""

    n_layer: int = Field(gt=0)
    d_model: int = Field(gt=0)
    n_head: int = Field(gt=0)
    head_dim: int | None = Field(None, gt=0, description="default: d_model / n_head")
    d_mlp: int | None = Field(None, gt=0, description="default: 4 d_model (paper, B.2)")
    batch_size: int = Field(gt=0, description="samples per optimizer step")
    warmup_steps: int = Field(ge=0)
    peak_lr: float = Field(gt=0)
    init_std: float | None = Field(None, gt=0, description="default: sqrt(2 / (5 d_model)) (paper, B.3)")
    grid: ModelGrid | None = Field(None, description="replaces the study's grid for this model")

    @model_validator(mode="after")
    def _heads_divide(self) -> Model:
        if self.head_dim is None and self.d_model % self.n_head:
            raise ValueError(
                f"n_head: {self.n_head} does not divide d_model {self.d_model}; change one of them or set head_dim"
            )
        head_dim = self.head_dim or self.d_model // self.n_head
        if head_dim % 2:
            raise ValueError(
                f"head_dim: {head_dim} must be even (rotary positions turn pairs); change d_model or n_head"
            )
        return self

    @property
    def effective_init_std(self) -> float:
        """Standard deviation of the initial weights."""
        return self.init_std if self.init_std is not None else math.sqrt(2 / (5 * self.d_model))


class OptimizerRecipe(Frozen):
    """Everything about training that is the same in every run of a study, schedules aside."""

    adam_beta1: float = Field(0.9, ge=0, lt=1)
    adam_beta2: float = Field(0.95, ge=0, lt=1)
    adam_eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    grad_clip: float = Field(1.0, gt=0)
    norm_eps: float = Field(1e-5, gt=0, description="LLaMA 2's")
    rope_base: int = Field(10_000, gt=0, description="LLaMA 2's")
    scaled_output_init: bool = Field(
        True,
        description="attention and MLP output weights start at init_std / sqrt(2 n_layer), Megatron's default",
    )
    precision: Precision = Field(
        "fp32",
        description="bf16: weights and activations in bf16, master weights, moments and gradient sums in fp32; CUDA only",
    )


class Recipe(OptimizerRecipe):
    """How every model of the study is trained (Table 4 of the paper)."""

    schedule: ScheduleKind = Field(
        "wsd",
        description="wsd: trunk and decay branches; constant: the trunk itself is evaluated; cosine: one unshared run per D",
    )
    final_lr_fraction: float = Field(
        0.1, ge=0, lt=1, description="learning rate at the end of a decay, over the peak"
    )
    attention_backend: Requested = Field(
        "sdpa",
        description="kernels of the attention; sdpa is PyTorch's and serves every model; auto: the fastest that serves all "
        "models of the study, so that adding a model may change it for all",
    )


class Validation(Frozen):
    """Validation losses during training, for loss curves: a small fixed part of the run's held-out split."""

    every_steps: int = Field(gt=0, description="and after the last step of every decay branch")
    samples: int = Field(gt=0, description="evenly spaced over the held-out split")


class Checkpoints(Frozen):
    """What becomes of checkpoint payloads; manifests, the edges of the DAG, always stay.

    keep: stays. protect: stays, write-protected, and Snakemake refuses to remake it. release: deleted once everything
    that is planned from it exists.
    """

    base_trunk: Literal["keep", "protect"] = Field(
        "keep", description="longer grids and all methods start here"
    )
    base_decay: Literal["keep", "protect"] = Field("keep", description="the base models")
    grown: Literal["keep", "release"] = Field("keep", description="grown, before any training")
    stage2_trunk: Literal["keep", "release"] = Field(
        "keep", description="release: all but the last of a run, from which a longer D2 would go on"
    )


class Evaluation(Frozen):
    """How validation losses are measured."""

    batch_size: int = Field(32, gt=0, description="samples per forward pass; fixed, since it enters rounding")
