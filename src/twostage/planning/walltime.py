"""What a job asks for: GPUs, minutes and memory from planned FLOPs, bytes and speed, as pure functions.

The number of GPUs of a training job depends on the job and the site alone, never on an attempt or a measurement, since another number
of ranks rounds differently. Minutes may grow with the attempt; they are capped at the site's longest walltime, at which
a job saves its state and goes back to the queue by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from twostage.cluster.site import Site
from twostage.common.architecture import Architecture
from twostage.design.flops import SECONDS_PER_HOUR, flops_per_token

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


def gpus_for(flops: float, batch_size: int, site: Site) -> int:
    """Return the smallest number of GPUs that meets the site's target time.

    A power of two that divides the batch; beyond one node, whole nodes; at most `max_gpus_per_job`.
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
    """FLOPs per second that a job is assumed to reach."""
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
    """Return GPUs and hours of a job.

    Args:
        architecture, tokens, batch_size: of the job.
        site: where it runs.
        tokens_per_s: what a job of the same run reached on as many GPUs; stronger than all else.
        tokens_per_s_of_one: what one GPU reaches by a benchmark, several that many times as much; stronger than
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
    """Return the walltime to ask for, whole minutes: margin, start and grace included, growing with the attempt."""
    wanted = START_MIN + site.grace_s / 60 + 60 * hours * MARGIN
    return min(site.max_walltime_min, math.ceil(wanted * attempt))


def nodes_for(gpus: int, site: Site) -> int:
    """Return the number of nodes that hold `gpus`."""
    return -(-gpus // site.gpus_per_node)


# Data and checkpoints on a CPU ----------------------------------------------------------------------------------------

#: Bytes of text per second and process: cleaning 4 to 7e6 (docs/data.md), encoding by the slower of our tokenizers.
_PREPARE_SPEED, _TOKENIZE_SPEED = 4e6, 2e6
#: What an interpreter with this library takes, MB.
_BASE_MB = 2000
#: Text of a corpus without max_bytes, of which nothing is known: enough for what a first attempt should manage.
_UNKNOWN_BYTES = 50e9


def prepare_mb(max_bytes: int | None) -> int:
    """Return MB to prepare a corpus: digests of its documents and an index of what is held out (docs/data.md)."""
    return round(_BASE_MB + 42 * (max_bytes or _UNKNOWN_BYTES) / 1e9)


def prepare_min(max_bytes: int | None) -> int:
    """Return the minutes that one process takes to read and clean a corpus."""
    return START_MIN + math.ceil((max_bytes or _UNKNOWN_BYTES) / _PREPARE_SPEED / 60)


def tokenize_min(max_bytes: int | None, workers: int) -> int:
    """Return the minutes that so many processes take to encode a corpus."""
    return START_MIN + math.ceil((max_bytes or _UNKNOWN_BYTES) / _TOKENIZE_SPEED / workers / 60)


def convert_mb(payload_bytes: int) -> int:
    """Return MB to read a checkpoint, change it and write so many bytes: what is read, what is made, and a copy of it."""
    return round(_BASE_MB + 3 * payload_bytes / 1e6)
