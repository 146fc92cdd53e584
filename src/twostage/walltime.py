"""How many GPUs and minutes a training job asks for: planned FLOPs over measured or assumed speed, as pure functions.

The number of GPUs depends on the job and the site alone, never on an attempt or a measurement, since another number
of ranks rounds differently. Minutes may grow with the attempt; they are capped at the site's longest walltime, at which
a job saves its state and goes back to the queue by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from twostage.architecture import Architecture
from twostage.site import Site

#: Asked for on top of the estimate: speed varies between nodes, and evaluation of the estimate is rough.
MARGIN = 1.5
#: Minutes to start: container or environment from a shared disk, data verification, first kernels.
START_MIN = 15


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What one training job takes."""

    flops: float
    gpus: int
    hours: float  # wall time of the training itself, expected

    @property
    def gpu_hours(self) -> float:
        """GPU-hours expected."""
        return self.gpus * self.hours


def training_flops(architecture: Architecture, tokens: int) -> float:
    """Return 6 FLOPs per token and weight that takes part in a product: N and the output head."""
    head = architecture.vocab_size * architecture.d_model
    return 6.0 * (architecture.n_params + head) * tokens


def gpus_for(flops: float, batch_size: int, site: Site) -> int:
    """Return the smallest number of GPUs that meets the site's target time.

    A power of two that divides the batch; beyond one node, whole nodes; at most `max_gpus_per_job`.
    """
    best = gpus = 1
    while gpus <= site.max_gpus_per_job and batch_size % gpus == 0:
        if gpus <= site.gpus_per_node or gpus % site.gpus_per_node == 0:
            best = gpus
            if flops / speed(gpus, site) <= 3600 * site.target_job_h:
                break
        gpus *= 2
    return best


def speed(gpus: int, site: Site) -> float:
    """FLOPs per second that a job is assumed to reach."""
    return gpus * site.gpu_tflops * 1e12 * site.assumed_mfu


def plan_training(
    architecture: Architecture, tokens: int, batch_size: int, site: Site, *, tokens_per_s: float | None = None
) -> TrainingPlan:
    """Return GPUs and hours of a job; `tokens_per_s` is what a job of the same run reached on as many GPUs."""
    flops = training_flops(architecture, tokens)
    gpus = gpus_for(flops, batch_size, site)
    seconds = tokens / tokens_per_s if tokens_per_s else flops / speed(gpus, site)
    return TrainingPlan(flops=flops, gpus=gpus, hours=seconds / 3600)


def runtime_min(hours: float, attempt: int, site: Site) -> int:
    """Return the walltime to ask for, whole minutes: margin, start and grace included, growing with the attempt."""
    wanted = START_MIN + site.grace_s / 60 + 60 * hours * MARGIN
    return min(site.max_walltime_min, math.ceil(wanted * attempt))


def nodes_for(gpus: int, site: Site) -> int:
    """Return the number of nodes that hold `gpus`."""
    return -(-gpus // site.gpus_per_node)


def checkpoint_bytes(architecture: Architecture, *, full: bool) -> int:
    """Return the size of a checkpoint: weights in float32, or (full) with both moments and bfloat16 weights beside."""
    return (14 if full else 4) * (architecture.n_params + architecture.n_embedding_params)
