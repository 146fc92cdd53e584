"""Measure how fast this machine trains the models of a study: a few seconds of real updates on random tokens."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from twostage.common import provenance
from twostage.common.errors import UserError
from twostage.design.flops import flops_per_token
from twostage.design.specs import TrainSpec
from twostage.model.build import start_process_group
from twostage.planning.throughput import Throughput
from twostage.training import layout
from twostage.training.trainer import Execution, Trainer

#: An update is measured on at most this many tokens, so that a large batch does not take minutes.
_MAX_TOKENS = 8192
_WARMUP_UPDATES = 2
# Weights, gradients and Adam's moments in fp32, and the activations of one sample.
_BYTES_PER_PARAMETER = 20


def calibrate(specs: list[TrainSpec], seconds: float = 10.0) -> Throughput:
    """Return the speed of this machine for the smallest and the largest model among `specs`.

    A job uses one CPU thread, as in `profiles/local`, or a GPU if there is one. Sizes between are interpolated.

    Args:
        specs: specs of the study's jobs.
        seconds: time of all measurements together, without the start.

    Raises:
        UserError: the study trains in bf16 and there is no GPU, or the largest model does not fit into the memory.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = specs[0].recipe.precision
    if precision == "bf16" and device == "cpu":
        raise UserError(
            "--calibrate: recipe.precision: bf16 needs CUDA, and this machine has no CUDA device; run it on the machine that trains"
        )
    execution = Execution(device=device)
    torch.set_num_threads(execution.threads)
    start_process_group(device)
    by_size = sorted(
        {spec.architecture: spec for spec in specs}.values(), key=lambda spec: spec.architecture.n_params
    )
    chosen = list({spec.architecture: spec for spec in (by_size[0], by_size[-1])}.values())
    points = [
        (
            spec.architecture.n_params,
            _tokens_per_s(spec, execution, seconds / len(chosen)) * flops_per_token(spec.architecture),
        )
        for spec in chosen
    ]
    return Throughput(provenance.device_kind(device), 0.0, precision, tuple(points))


def _tokens_per_s(spec: TrainSpec, execution: Execution, seconds: float) -> float:
    context = spec.architecture.context
    samples = max(1, min(spec.batch_size, _MAX_TOKENS // context))
    spec = spec.model_copy(update={"batch_size": samples})
    _check_memory(spec, execution.device)
    execution = Execution(device=execution.device, micro_batch=layout.micro_batch(spec, execution))
    trainer = Trainer(spec, execution)
    generator = torch.Generator().manual_seed(0)
    batch = torch.randint(spec.architecture.vocab_size, (samples, context + 1), generator=generator).to(
        execution.device
    )
    for step in range(1, _WARMUP_UPDATES + 1):
        trainer.update(step, batch)
    updates, started = 0, time.monotonic()
    while updates == 0 or time.monotonic() - started < seconds:
        updates += 1
        trainer.update(_WARMUP_UPDATES + updates, batch)
    return updates * samples * context / (time.monotonic() - started)


def _check_memory(spec: TrainSpec, device: str) -> None:
    shape = spec.architecture
    needed = _BYTES_PER_PARAMETER * (shape.n_params + shape.n_embedding_params)
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else _available_memory()
    if needed > free:
        raise UserError(
            f"--calibrate: a model of {shape.n_params:,} parameters needs about {needed / 1e9:.0f} GB, and "
            f"{free / 1e9:.0f} GB are free; run it on the machine that trains, or give --tflops"
        )


def _available_memory() -> int:
    """Return the bytes of memory that processes can still get."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024
