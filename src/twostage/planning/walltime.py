"""The GPUs, minutes and memory that a job requests, from its FLOPs and bytes and the site's speed.

The number of GPUs depends only on the job and the site, not on the attempt or on measured speeds, because rounding
depends on the number of ranks. Minutes grow with the attempt, up to the site's maximum walltime. A job that reaches it
saves its state and requeues itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from twostage.cluster.site import Site
from twostage.common.architecture import Architecture
from twostage.design.flops import SECONDS_PER_HOUR, flops_per_token

#: Factor on the estimated time, because speed varies between nodes and the estimate is rough.
MARGIN = 1.5
#: Minutes to start: loading the environment from a shared disk, verifying the data, compiling kernels.
START_MIN = 15


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """GPUs and time of one training job."""

    flops: float
    gpus: int
    hours: float  # expected wall time of the training

    @property
    def gpu_hours(self) -> float:
        """Expected GPU-hours."""
        return self.gpus * self.hours


def gpus_for(flops: float, batch_size: int, site: Site) -> int:
    """Return the smallest number of GPUs with which a job meets the site's target time.

    A power of two that divides the batch size, at most `max_gpus_per_job`; a multiple of `gpus_per_node` if above it.
    """
    best = gpus = 1
    while gpus <= site.max_gpus_per_job and batch_size % gpus == 0:
        if gpus <= site.gpus_per_node or gpus % site.gpus_per_node == 0:
            best = gpus
            if flops / speed(gpus, site) <= SECONDS_PER_HOUR * site.target_job_h:
                break
        gpus *= 2
    return best


def speed(gpus: int, site: Site) -> float:
    """Return the FLOP/s that a job is assumed to reach."""
    return gpus * site.gpu_tflops * 1e12 * site.assumed_mfu


def plan_training(
    architecture: Architecture,
    tokens: int,
    batch_size: int,
    site: Site,
    *,
    tokens_per_s: float | None = None,
    tokens_per_s_of_one: float | None = None,
) -> TrainingPlan:
    """Return the GPUs and hours of a training job.

    Args:
        architecture, tokens, batch_size: of the job.
        site: the cluster.
        tokens_per_s: speed of an earlier job of the same run on the same number of GPUs; used first if given.
        tokens_per_s_of_one: benchmarked speed of one GPU, multiplied by the number of GPUs; used before the site's
            `assumed_mfu`.
    """
    flops = float(flops_per_token(architecture) * tokens)
    gpus = gpus_for(flops, batch_size, site)
    if tokens_per_s:
        seconds = tokens / tokens_per_s
    elif tokens_per_s_of_one:
        seconds = tokens / (gpus * tokens_per_s_of_one)
    else:
        seconds = flops / speed(gpus, site)
    return TrainingPlan(flops=flops, gpus=gpus, hours=seconds / SECONDS_PER_HOUR)


def runtime_min(hours: float, attempt: int, site: Site) -> int:
    """Return the walltime to request in minutes, including margin, start and grace; proportional to the attempt."""
    wanted = START_MIN + site.grace_s / 60 + 60 * hours * MARGIN
    return min(site.max_walltime_min, math.ceil(wanted * attempt))


def nodes_for(gpus: int, site: Site) -> int:
    """Return the number of nodes that `gpus` GPUs need."""
    return -(-gpus // site.gpus_per_node)


# Data and checkpoints on a CPU ----------------------------------------------------------------------------------------

#: Bytes of text per second and process: cleaning takes 4e6 to 7e6 (docs/data.md), encoding is that of the slower tokenizer.
_PREPARE_SPEED, _TOKENIZE_SPEED = 4e6, 2e6
#: Memory of a Python process with this library, MB.
_BASE_MB = 2000
#: Assumed bytes of text for a corpus without max_bytes.
_UNKNOWN_BYTES = 50e9


def prepare_mb(max_bytes: int | None) -> int:
    """Return the MB that preparing a corpus needs: document digests and an index of the held-out split (docs/data.md)."""
    return round(_BASE_MB + 42 * (max_bytes or _UNKNOWN_BYTES) / 1e9)


def prepare_min(max_bytes: int | None) -> int:
    """Return the minutes that one process needs to read and clean a corpus."""
    return START_MIN + math.ceil((max_bytes or _UNKNOWN_BYTES) / _PREPARE_SPEED / 60)


def tokenize_min(max_bytes: int | None, workers: int) -> int:
    """Return the minutes that `workers` processes need to encode a corpus."""
    return START_MIN + math.ceil((max_bytes or _UNKNOWN_BYTES) / _TOKENIZE_SPEED / workers / 60)


def convert_mb(payload_bytes: int) -> int:
    """Return the MB needed to convert a checkpoint to one of `payload_bytes`: input, output and a copy."""
    return round(_BASE_MB + 3 * payload_bytes / 1e6)
