"""Helpers of the GPU tests: a model large enough for real kernels, trainers on CUDA, learnable batches."""

from __future__ import annotations

import os

import torch
from tiny_training import train_spec

from twostage.common.architecture import Architecture
from twostage.study import OptimizerRecipe
from twostage.training.trainer import Execution, Trainer

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

SMALL = Architecture(n_layer=2, d_model=256, n_head=4, head_dim=64, d_mlp=1024, vocab_size=512, context=128)


def batches(n: int, architecture: Architecture = SMALL, device: str = "cuda") -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    start = torch.randint(architecture.vocab_size, (n, 8, 1), generator=generator)
    ids = (start + torch.arange(architecture.context + 1) * 3) % architecture.vocab_size
    return [batch.to(device) for batch in ids]


def trainer(
    precision: str = "bf16",
    *,
    attention: str = "sdpa",
    architecture: Architecture = SMALL,
    seed: int = 3,
    **options,
) -> Trainer:
    spec = train_spec(
        architecture=architecture,
        recipe=OptimizerRecipe(precision=precision),
        attention=(attention,),
        seed=seed,
        init_std=0.05,
        peak_lr=1e-3,
    )
    return Trainer(spec, Execution(device="cuda", micro_batch=4, **options))


def run(this: Trainer, first: int, last: int) -> list[tuple[float, float]]:
    data = batches(last, this.spec.architecture)
    return [this.update(step, data[step - 1]) for step in range(first, last + 1)]
