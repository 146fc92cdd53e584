"""Sections `grid`, `models`, `recipe`, `validation`, `evaluation` and `checkpoints`."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from twostage.common.attention import Precision, Requested
from twostage.common.sections import Frozen, Steps
from twostage.methods import ScheduleKind


class Grid(Frozen):
    """Trunk lengths from which a decay branch starts, in optimizer steps including warmup."""

    trunk_steps: Steps = Field(
        min_length=1, description="the chain: each segment starts where the previous one ended"
    )
    extra_steps: Steps = Field(
        (),
        description="side segments from the largest smaller chain point; adding one does not retrain the chain",
    )

    @model_validator(mode="after")
    def _disjoint(self) -> Grid:
        if both := sorted(set(self.trunk_steps) & set(self.extra_steps)):
            raise ValueError(
                f"extra_steps: {both} are in trunk_steps already; remove them from one of the two lists"
            )
        return self

    @property
    def points(self) -> tuple[int, ...]:
        """All trunk lengths in increasing order."""
        return tuple(sorted(self.trunk_steps + self.extra_steps))


class ModelGrid(Frozen):
    """The grids of both stages."""

    d1: Grid = Field(description="stage 1: base checkpoints")
    d2: Grid = Field(description="stage 2")


class ModelSettings(Frozen):
    """The shape of a base model and the training settings for its size (Tables 3 and 5 of the paper)."""

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
    def _heads_divide(self) -> ModelSettings:
        if self.head_dim is None and self.d_model % self.n_head:
            raise ValueError(
                f"n_head: {self.n_head} does not divide d_model {self.d_model}; change one of them or set head_dim"
            )
        head_dim = self.head_dim or self.d_model // self.n_head
        if head_dim % 2:
            raise ValueError(
                f"head_dim: {head_dim} must be even (rotary position embeddings rotate pairs of dimensions); change d_model, n_head or head_dim"
            )
        return self

    @property
    def effective_init_std(self) -> float:
        """Standard deviation of the initial weights."""
        return self.init_std if self.init_std is not None else math.sqrt(2 / (5 * self.d_model))


class OptimizerRecipe(Frozen):
    """Training settings that are the same in every run of a study, except the schedule."""

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
        description="wsd: trunk and decay branches; constant: the trunk is evaluated without a decay; cosine: a separate run for each D",
    )
    final_lr_fraction: float = Field(
        0.1, ge=0, lt=1, description="learning rate at the end of a decay, as a fraction of the peak"
    )
    attention_backend: Requested = Field(
        "sdpa",
        description="attention kernels; sdpa: PyTorch's, supports every model; auto: the fastest that supports all models "
        "of the study, so adding a model can change the backend of all",
    )


class Validation(Frozen):
    """Validation losses during training, for loss curves, on a small fixed part of the run's held-out split."""

    every_steps: int = Field(
        gt=0, description="interval in steps; the last step of every decay branch is included"
    )
    samples: int = Field(gt=0, description="number of samples, evenly spaced over the held-out split")


class Checkpoints(Frozen):
    """Which checkpoint files are kept. Manifests are always kept, because they are the edges of the DAG.

    keep: kept. protect: kept and write-protected, so Snakemake refuses to remake it. release: the checkpoint's files
    are deleted once every job that is planned to start from it is done.
    """

    base_trunk: Literal["keep", "protect"] = Field(
        "keep", description="longer grids and all methods start from these"
    )
    base_decay: Literal["keep", "protect"] = Field("keep", description="the base models")
    grown: Literal["keep", "release"] = Field("keep", description="grown checkpoints, before any training")
    stage2_trunk: Literal["keep", "release"] = Field(
        "keep",
        description="release: the last one of each run is kept, so that a longer D2 can continue from it",
    )


class EvaluationSettings(Frozen):
    """How validation losses are measured."""

    batch_size: int = Field(
        32, gt=0, description="samples per forward pass; fixed, because it affects rounding"
    )
