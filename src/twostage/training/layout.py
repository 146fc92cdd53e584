"""The layout of a training job: ranks, micro-batch, threads, device. It affects the rounding of results.

Rolling states are stored by layout (`rolling.py`), and metrics.json records it.
"""

from __future__ import annotations

import os
from typing import Any

import torch

from twostage.cluster.gpu_slots import GPU_SHARE
from twostage.common import attention, provenance
from twostage.design.specs import TrainSpec
from twostage.model.ranks import from_rank_0
from twostage.training.micro_batch import fitting_micro_batch
from twostage.training.trainer import Execution

#: GPU memory that CUDA, its libraries and nccl take for each process, in bytes.
CONTEXT_BYTES = 1_200_000_000


def micro_batch(spec: TrainSpec, execution: Execution) -> int:
    """Return the samples per forward pass: `execution.micro_batch` if set; else on a CPU all samples of the rank, and on a GPU as
    many as fit into its memory."""
    share = max(1, spec.batch_size // provenance.world_size())
    if execution.micro_batch or execution.device != "cuda":
        return execution.micro_batch or share
    free, total = torch.cuda.mem_get_info()
    if GPU_SHARE in os.environ:
        # Other processes use this GPU too, now or later, so the memory that is free now is no measure.
        free = int(float(os.environ[GPU_SHARE]) * total) - CONTEXT_BYTES
    return from_rank_0(fitting_micro_batch(spec.architecture, share, free))


def layout(spec: TrainSpec, execution: Execution) -> dict[str, Any]:
    """Return the layout of a job as JSON values."""
    backend = attention.choose(
        spec.attention,
        spec.architecture.head_dim,
        execution.device,
        attention.installed(),
        spec.recipe.precision,
    ).backend
    return {
        "threads": execution.threads,
        "micro_batch": execution.micro_batch,
        "ranks": provenance.world_size(),
        "device": provenance.device_kind(execution.device),
        "attention": backend,
        "compile": execution.compile,
        "deterministic": execution.deterministic,
    }
