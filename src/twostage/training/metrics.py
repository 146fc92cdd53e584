"""The content of a training job's metrics.json: spec, speed, memory, environment."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from twostage.cluster.device_peaks import peak_tflops
from twostage.common import provenance
from twostage.corpora.samples import SampleStream
from twostage.design.flops import flops_per_token
from twostage.training.progress import Progress
from twostage.training.trainer import Execution, Trainer


def training_metrics(
    trainer: Trainer, execution: Execution, stream: SampleStream, progress: Progress, key: str
) -> dict[str, Any]:
    """Return the record of a finished job. `key` is the job's digest, see `storage.json_digest`."""
    spec = trainer.spec
    steps = progress.step - (progress.resumed_from or spec.start_step)
    tokens = steps * spec.batch_size * spec.architecture.context
    speed = tokens / progress.seconds if tokens else None
    epochs = stream.epochs(progress.step * spec.batch_size)
    return {
        "key": key,
        "spec": spec.model_dump(mode="json"),
        "execution": asdict(execution),
        "final_loss_nats": progress.final_loss,
        "grad_norm_mean": progress.grad_norm_mean,
        "epochs": dict(zip((name for name, _ in spec.mixture), epochs, strict=True)),
        "tokens_per_s": speed,
        "model_flops_utilisation": _utilisation(trainer, speed) if speed else None,
        "train_seconds": progress.seconds,
        "resumed_from_step": progress.resumed_from,
        "attention_backend": trainer.attention.backend,
        "attention_reason": trainer.attention.reason,
        "peak_memory_bytes": provenance.peak_memory_bytes(execution.device),
        **provenance.environment(execution.device),
    }


def _utilisation(trainer: Trainer, tokens_per_s: float) -> float | None:
    """Return model FLOPs per second divided by the GPUs' dense bf16 peak; None on a CPU, in fp32, or if the peak is unknown."""
    if trainer.device != "cuda" or trainer.masters is None:
        return None
    peak = peak_tflops(provenance.device_kind("cuda"))
    if peak is None:
        return None
    flops = flops_per_token(trainer.spec.architecture) * tokens_per_s
    return flops / (peak * 1e12 * provenance.world_size())
