"""The training loop: one trunk segment or decay branch, from a checkpoint to a checkpoint.

`train(job)` is all that `workflow/scripts/train.py` calls. It is Megatron-core throughout (model, DDP, optimizer,
pipeline schedule), the same code on CPU and GPU. Identity comes in as a `TrainSpec`; how it is executed (threads,
micro-batch, device) as an `Execution`, which never changes what is computed, only its rounding.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from twostage import checkpoint, provenance
from twostage.architecture import Architecture
from twostage.errors import UserError
from twostage.lease import Lease
from twostage.model import build_model, start_process_group
from twostage.rolling import RollingState, rolling_key
from twostage.samples import SampleStream, TokenSplit
from twostage.specs import TrainSpec
from twostage.storage import canonical_json, read_manifest, write_atomic

log = logging.getLogger(__name__)
_T = TypeVar("_T")

#: A job that was asked to stop has saved its state and wants to be started again (128 + SIGTERM).
EXIT_STOPPED = 143
PROGRESS_EVERY_S = 0.5
_SAVE, _STOP = 1, 2


class DivergedError(UserError):
    """The loss is not a number, or far above that of a uniform guess."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a job runs; affects rounding and speed only."""

    device: str = "cpu"
    threads: int = 1
    micro_batch: int | None = None  # samples per forward pass; None: the whole batch
    save_every_s: float = 600.0  # rolling state


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """One job: its identity, where it reads and where it writes.

    Attributes:
        parent: manifest of the checkpoint to start from; None where `spec.origin` is "init".
        tokens: folder of each corpus of the mixture, in its order.
        out: the job's folder; gets `checkpoint/`, `metrics.json` and `steps.jsonl`.
        rolling: folder of the job's restart state.
    """

    spec: TrainSpec
    parent: Path | None
    tokens: tuple[Path, ...]
    out: Path
    rolling: Path
    execution: Execution = Execution()


def train(job: TrainJob) -> None:
    """Run a job to its end, resuming where an earlier attempt left rolling state.

    Raises:
        UserError: bad or damaged inputs, or a diverged loss; nothing complete is lost.
        SystemExit: code 143 after SIGTERM, with the state saved.
    """
    torch.set_num_threads(job.execution.threads)
    # Before anything else imports Megatron: the data's reader does, without the shim.
    start_process_group(job.execution.device)
    stream = _open_data(job)
    key = _key(job)
    with _ownership(job) as lease:
        if _from_rank_0(_is_done(job.out, key)):
            log.warning("%s: another job has just finished this; nothing left to train", job.out)
            return
        rolling = RollingState(job.rolling / "state", key)
        if lease:
            rolling.discard_others()
        trainer = _Trainer(job.spec, job.execution)
        progress = _load_start(trainer, job, rolling)
        with _StopRequest() as stop:
            _run(trainer, job, stream, progress, rolling, lease, stop)
            if lease:
                lease.check()
            _write_outputs(trainer, job, stream, progress, key)
        if lease:
            rolling.clear()


# Ranks ---------------------------------------------------------------------------------------------------------------


def _ownership(job: TrainJob) -> AbstractContextManager[Lease | None]:
    """Return rank 0's lease on the job; the other ranks own nothing and write nothing but their share of a state."""
    if provenance.rank():
        return nullcontext()
    return Lease(job.rolling / "lease", on_wait=_report_wait)


def _from_rank_0(value: _T) -> _T:
    """Return rank 0's value on all ranks: clocks, signals and shared folders look different from each of them."""
    if provenance.world_size() == 1:
        return value
    box = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


# Inputs --------------------------------------------------------------------------------------------------------------


def _open_data(job: TrainJob) -> SampleStream:
    spec = job.spec
    if len(job.tokens) != len(spec.mixture):
        raise UserError(
            f"--tokens: {len(job.tokens)} folders for the {len(spec.mixture)} corpora of the mixture"
        )
    vocab_size = spec.architecture.vocab_size
    for folder in job.tokens:
        found = read_manifest(folder / "manifest.json")["vocab_size"]
        if found != vocab_size:
            raise UserError(
                f"{folder}: tokenised with a vocabulary of {found}, the model has {vocab_size}; tokenise again"
            )
    splits = [TokenSplit(folder, "train") for folder in job.tokens]
    weights = [weight for _, weight in spec.mixture]
    return SampleStream(
        splits, weights, seed=spec.seed, context=spec.architecture.context, offset=spec.first_sample
    )


def _key(job: TrainJob) -> str:
    return rolling_key(
        spec=job.spec.canonical(),
        parent=read_manifest(job.parent) if job.parent else None,
        data=[read_manifest(folder / "manifest.json") for folder in job.tokens],
        threads=job.execution.threads,
        micro_batch=job.execution.micro_batch or job.spec.batch_size // provenance.world_size(),
        ranks=provenance.world_size(),
        device=provenance.device_kind(job.execution.device),
    )


def _is_done(out: Path, key: str) -> bool:
    """Tell whether a duplicate of this very job has put its outputs in place (the manifest comes last)."""
    metrics = out / "metrics.json"
    if not (out / "checkpoint/manifest.json").is_file() or not metrics.is_file():
        return False
    return bool(json.loads(metrics.read_text())["key"] == key)


def _report_wait(owner: dict[str, Any]) -> None:
    log.warning("waiting: the same job already runs on %s as process %s", owner.get("host"), owner.get("pid"))


# Progress of a run ---------------------------------------------------------------------------------------------------


@dataclass
class _Progress:
    """Where a job stands; what a checkpoint's `origin` records."""

    step: int
    grad_norm_sum: float = 0.0  # pre-clip, over the run's updates after the warmup, trunk only
    grad_norm_steps: int = 0
    resumed_from: int | None = None
    lines: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    def origin(self, spec: TrainSpec) -> dict[str, Any]:
        """What goes into a checkpoint's manifest: deterministic, and enough to go on from."""
        return {
            "step": self.step,
            "tokens": self.step * spec.batch_size * spec.architecture.context,
            "grad_norm_sum": self.grad_norm_sum,
            "grad_norm_steps": self.grad_norm_steps,
        }


def _load_start(trainer: _Trainer, job: TrainJob, rolling: RollingState) -> _Progress:
    spec = job.spec
    if newest := _from_rank_0(None if provenance.rank() else rolling.newest()):
        origin = checkpoint.load_training_state(newest / "manifest.json", trainer.core, trainer.optimizer)
        lines = [json.loads(line) for line in (newest / "steps.jsonl").read_text().splitlines()]
        step = origin["step"]
        log.warning("resuming at step %d of %d from %s", step, spec.stop_step, newest)
        return _Progress(step, origin["grad_norm_sum"], origin["grad_norm_steps"], step, lines)
    if spec.origin == "init":
        return _Progress(0)
    if job.parent is None:
        raise UserError(f"--parent: a job with origin {spec.origin!r} needs the manifest of a checkpoint")
    if spec.origin == "weights":
        state, architecture = checkpoint.load_weights(job.parent)
        _check_shape(job.parent, architecture, spec)
        checkpoint.load_into(trainer.core, state, architecture)
        return _Progress(0)
    _check_shape(job.parent, Architecture.from_json(read_manifest(job.parent)["architecture"]), spec)
    origin = checkpoint.load_training_state(job.parent, trainer.core, trainer.optimizer)
    if origin["step"] != spec.start_step:
        raise UserError(f"{job.parent}: stands at step {origin['step']}, the job starts at {spec.start_step}")
    return _Progress(origin["step"], origin["grad_norm_sum"], origin["grad_norm_steps"])


def _check_shape(parent: Path, found: Architecture, spec: TrainSpec) -> None:
    if found != spec.architecture:
        raise UserError(f"{parent}: a model of shape {found}, the job trains {spec.architecture}")


# The loop ------------------------------------------------------------------------------------------------------------


class _Trainer:
    """Model, optimizer and one update; knows nothing of files."""

    def __init__(self, spec: TrainSpec, execution: Execution) -> None:
        from megatron.core.distributed import (
            DistributedDataParallel,
            DistributedDataParallelConfig,
            finalize_model_grads,
        )
        from megatron.core.optimizer import (
            OptimizerConfig,
            get_megatron_optimizer,
            get_standard_config_overrides,
        )
        from megatron.core.pipeline_parallel import get_forward_backward_func

        self.spec, self.device = spec, execution.device
        self.schedule = spec.schedule
        ranks = provenance.world_size()
        self.micro_batch = execution.micro_batch or max(1, spec.batch_size // ranks)
        if spec.batch_size % (self.micro_batch * ranks):
            raise UserError(
                f"--micro-batch: {self.micro_batch} samples on {ranks} ranks do not divide the batch of {spec.batch_size}"
            )
        self.core = build_model(
            spec.architecture,
            init_std=spec.init_std,
            scaled_output_init=spec.recipe.scaled_output_init,
            seed=spec.seed,
            device=execution.device,
        )
        self.core.config.finalize_model_grads_func = finalize_model_grads
        self.model = DistributedDataParallel(self.core.config, DistributedDataParallelConfig(), self.core)
        config = OptimizerConfig(
            optimizer="adam",
            lr=spec.schedule.peak_lr,
            weight_decay=spec.recipe.weight_decay,
            adam_beta1=spec.recipe.adam_beta1,
            adam_beta2=spec.recipe.adam_beta2,
            adam_eps=spec.recipe.adam_eps,
            clip_grad=spec.recipe.grad_clip,
        )
        self.optimizer = get_megatron_optimizer(
            config, [self.model], config_overrides=get_standard_config_overrides(config)
        )
        self.forward_backward = get_forward_backward_func()

    def update(self, step: int, batch: torch.Tensor) -> tuple[float, float]:
        """Do update `step` (from 1) on a batch [samples, context + 1] of this rank; return loss and gradient norm."""
        rate = self.schedule.rate(step)
        for group in self.optimizer.param_groups:
            # The groups' own rates (max_lr, saved with the optimizer) would otherwise win over the schedule.
            group["lr"] = rate * group["lr_mult"]
            group["weight_decay"] = self.spec.recipe.weight_decay * group["wd_mult"]
        self.model.zero_grad_buffer()
        self.optimizer.zero_grad()
        reduced = self.forward_backward(
            forward_step_func=_forward,
            data_iterator=iter(torch.split(batch, self.micro_batch)),
            model=self.model,
            num_microbatches=len(batch) // self.micro_batch,
            seq_length=self.spec.architecture.context,
            micro_batch_size=self.micro_batch,
            forward_only=False,
        )
        loss = torch.stack([part["loss"] for part in reduced]).mean()
        if provenance.world_size() > 1:
            torch.distributed.all_reduce(loss, op=torch.distributed.ReduceOp.SUM)
        _, grad_norm, _ = self.optimizer.step()
        return loss.item() / provenance.world_size(), float(grad_norm)


def _forward(samples: Iterator[torch.Tensor], model: Any) -> tuple[torch.Tensor, Any]:
    batch = next(samples)
    positions = torch.arange(batch.shape[1] - 1, device=batch.device).expand(len(batch), -1)
    losses = model(batch[:, :-1], positions, None, labels=batch[:, 1:].contiguous())
    return losses, _mean_loss


def _mean_loss(losses: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    loss = losses.mean()
    # A copy: Megatron divides the loss itself by the number of micro-batches, in place.
    return loss, {"loss": loss.detach().clone()}


def _run(
    trainer: _Trainer,
    job: TrainJob,
    stream: SampleStream,
    progress: _Progress,
    rolling: RollingState,
    lease: Lease | None,
    stop: _StopRequest,
) -> None:
    spec = job.spec
    rank, ranks = provenance.rank(), provenance.world_size()
    share = spec.batch_size // ranks
    started = saved = reported = time.monotonic()
    first = progress.step
    while progress.step < spec.stop_step:
        step = progress.step + 1
        samples = stream.batch(progress.step * spec.batch_size + rank * share, share)
        loss, grad_norm = trainer.update(step, torch.from_numpy(samples).to(trainer.device))
        _check_finite(loss, grad_norm, step, spec)
        progress.step = step
        progress.lines.append(
            {"step": step, "loss": loss, "grad_norm": grad_norm, "lr": trainer.schedule.rate(step)}
        )
        if spec.is_trunk and step > spec.schedule.warmup_steps:
            progress.grad_norm_sum += grad_norm
            progress.grad_norm_steps += 1
        now = time.monotonic()
        if now - reported >= PROGRESS_EVERY_S or step == spec.stop_step:
            reported = now
            speed = (step - first) * spec.batch_size * spec.architecture.context / (now - started)
            _print_progress(step, spec, loss, speed)
        due = now - saved >= job.execution.save_every_s and step < spec.stop_step
        demand = _agree(_STOP if stop.requested else _SAVE if due else 0, trainer.device)
        if demand:
            write = partial(_save_rolling, trainer=trainer, spec=spec, progress=progress)
            if lease:
                lease.check()
                rolling.save(step, write)
            else:
                write(None)
            saved = now
            if demand == _STOP:
                log.warning("stopped by SIGTERM at step %d; the state is saved", step)
                sys.exit(EXIT_STOPPED)
    progress.seconds = time.monotonic() - started


def _agree(demand: int, device: str) -> int:
    """Return the largest demand of all ranks: each has its own clock and gets its own signal, all must save at once."""
    if provenance.world_size() == 1:
        return demand
    largest = torch.tensor(demand, device=device)
    torch.distributed.all_reduce(largest, op=torch.distributed.ReduceOp.MAX)
    return int(largest)


def _print_progress(step: int, spec: TrainSpec, loss: float, tokens_per_s: float) -> None:
    if provenance.rank() == 0:
        done, total = step - spec.start_step, spec.stop_step - spec.start_step
        fields = {
            "step": done,
            "steps": total,
            "loss": round(loss, 4),
            "tokens_per_s": round(tokens_per_s, 1),
        }
        sys.stdout.write(json.dumps({"progress": fields}) + "\n")
        sys.stdout.flush()


def _check_finite(loss: float, grad_norm: float, step: int, spec: TrainSpec) -> None:
    uniform = math.log(spec.architecture.vocab_size)
    # A gradient that is not finite has spoiled the weights already, though no later loss may be there to show it.
    if not math.isfinite(loss) or not math.isfinite(grad_norm) or loss > 3 * uniform:
        raise DivergedError(
            f"loss is {loss}, gradient norm {grad_norm} at step {step} (a uniform guess has {uniform:.2f}): the run diverged; lower models.*.peak_lr "
            f"(now {spec.schedule.peak_lr}) or lengthen models.*.warmup_steps (now {spec.schedule.warmup_steps}) in the study"
        )


class _StopRequest:
    """Remembers a SIGTERM, so that the update in progress can finish before the state is saved."""

    requested = False

    def __enter__(self) -> _StopRequest:
        self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _note(self, *_: object) -> None:
        self.requested = True


# Outputs -------------------------------------------------------------------------------------------------------------


def _save_rolling(folder: Path | None, *, trainer: _Trainer, spec: TrainSpec, progress: _Progress) -> None:
    """Write the state to rank 0's `folder`; all ranks call this, the others without a folder of their own."""
    folder = _from_rank_0(folder)
    assert folder is not None
    checkpoint.save_training_state(
        folder, trainer.core, trainer.optimizer, spec.architecture, progress.origin(spec)
    )
    if provenance.rank() == 0:
        write_atomic(folder / "steps.jsonl", _lines(progress))


def _lines(progress: _Progress) -> str:
    return "".join(json.dumps(line) + "\n" for line in progress.lines)


def _write_outputs(
    trainer: _Trainer, job: TrainJob, stream: SampleStream, progress: _Progress, key: str
) -> None:
    spec, out = job.spec, job.out
    folder = out / "checkpoint"
    if provenance.rank() == 0:
        # An older checkpoint beside the new metrics would pass for the new one.
        (folder / "manifest.json").unlink(missing_ok=True)
        write_atomic(out / "steps.jsonl", _lines(progress))
        write_atomic(out / "metrics.json", canonical_json(_metrics(job, stream, progress, key)))
    if spec.is_trunk:
        checkpoint.save_training_state(
            folder, trainer.core, trainer.optimizer, spec.architecture, progress.origin(spec)
        )
    elif provenance.rank() == 0:
        weights = checkpoint.to_canonical(trainer.core.state_dict(), spec.architecture)
        checkpoint.save_weights(folder, weights, spec.architecture, progress.origin(spec))


def _metrics(job: TrainJob, stream: SampleStream, progress: _Progress, key: str) -> dict[str, Any]:
    spec = job.spec
    tokens = (
        (progress.step - (progress.resumed_from or spec.start_step))
        * spec.batch_size
        * spec.architecture.context
    )
    return {
        "key": key,
        "spec": spec.model_dump(mode="json"),
        "execution": asdict(job.execution),
        "final_loss_nats": progress.lines[-1]["loss"],
        "grad_norm_mean": progress.grad_norm_sum / progress.grad_norm_steps
        if progress.grad_norm_steps
        else None,
        "epochs": dict(
            zip(
                (name for name, _ in spec.mixture),
                stream.epochs(progress.step * spec.batch_size),
                strict=True,
            )
        ),
        "tokens_per_s": tokens / progress.seconds if progress.seconds else None,
        "train_seconds": progress.seconds,
        "resumed_from_step": progress.resumed_from,
        "peak_memory_bytes": provenance.peak_memory_bytes(job.execution.device),
        **provenance.environment(job.execution.device),
    }
