"""The training job: trains one trunk segment or decay branch, and writes its checkpoint.

`workflow/scripts/train.py` calls `train(job)`. It opens the inputs, acquires the job's lease (`cluster.lease`), resumes from a
rolling state (`training.rolling`), trains (`training.loop`, `training.trainer`) and writes the outputs. A `TrainSpec` is the
job's identity. An `Execution` says how it runs (threads, micro-batch, device), which affects only speed and rounding.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from twostage.cluster.lease import Lease
from twostage.common import provenance
from twostage.common.architecture import Architecture
from twostage.common.errors import UserError
from twostage.common.storage import canonical_json, json_digest, read_manifest, write_atomic
from twostage.corpora.samples import SampleStream, TokenSplit
from twostage.design.specs import TrainSpec
from twostage.model import checkpoint
from twostage.model.build import start_process_group
from twostage.model.ranks import from_rank_0
from twostage.training import layout
from twostage.training import state as training_state
from twostage.training.heldout import TrainingValidation
from twostage.training.loop import StopRequest, run_updates
from twostage.training.metrics import training_metrics
from twostage.training.progress import Progress
from twostage.training.rolling import RollingState
from twostage.training.rolling_saves import RollingSaves
from twostage.training.trainer import Execution, Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """One training job.

    Attributes:
        spec: identity of the job.
        parent: manifest of the checkpoint to start from; None if `spec.origin` is "init".
        tokens: token folder of each corpus of the mixture, in its order.
        out: output folder of `checkpoint/`, `metrics.json` and `steps.jsonl`.
        rolling: folder of the job's rolling states and lease.
        execution: how the job runs.
    """

    spec: TrainSpec
    parent: Path | None
    tokens: tuple[Path, ...]
    out: Path
    rolling: Path
    execution: Execution = field(default_factory=Execution)


def train(job: TrainJob) -> None:
    """Run a job to its end, from the rolling state of an earlier attempt if there is one.

    Raises:
        UserError: invalid or damaged inputs, or a diverged loss.
        SystemExit: code 143 after SIGTERM; the state is saved.
    """
    if job.spec.recipe.precision == "bf16" and job.execution.device != "cuda":
        raise UserError(
            "recipe.precision: bf16 needs CUDA; use a profile with GPUs (device: cuda), or precision: fp32"
        )
    if job.execution.deterministic:
        # cuBLAS and transformer-engine read these at their first use.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        os.environ.setdefault("NVTE_ALLOW_NONDETERMINISTIC_ALGO", "0")
        torch.use_deterministic_algorithms(True)
    torch.set_num_threads(job.execution.threads)
    # Before TokenSplit imports Megatron, which must be patched first on a CPU.
    start_process_group(job.execution.device)
    stream = _open_data(job)
    job = replace(
        job, execution=replace(job.execution, micro_batch=layout.micro_batch(job.spec, job.execution))
    )
    validation = TrainingValidation(job.spec, job.tokens) if job.spec.validation else None
    key = _key(job)
    with _ownership(job) as lease:
        if from_rank_0(_is_done(job.out, key)):
            log.warning("%s: another process has just finished this job; nothing left to train", job.out)
            return
        rolling = RollingState(job.rolling / "state", key, layout.layout(job.spec, job.execution))
        if lease:
            rolling.discard_others()
        trainer = Trainer(job.spec, job.execution)
        progress = _load_start(trainer, job, rolling)
        saves = RollingSaves(trainer, progress, rolling, lease, background=job.execution.overlaps)
        with StopRequest() as stop, saves:
            run_updates(
                trainer,
                stream,
                progress,
                validation=validation,
                save=saves.save,
                execution=job.execution,
                stop=stop,
            )
            saves.wait()
            if lease:
                lease.check()
            _write_outputs(trainer, job, stream, progress, key, rolling.layouts)
        if lease:
            rolling.clear()


def _ownership(job: TrainJob) -> AbstractContextManager[Lease | None]:
    """Return the lease of the job on rank 0, and an empty context on other ranks."""
    if provenance.rank():
        return nullcontext()
    return Lease(job.rolling / "lease", on_wait=_report_wait)


def _report_wait(owner: dict[str, Any]) -> None:
    log.warning(
        "waiting: the same job is already running on %s as process %s", owner.get("host"), owner.get("pid")
    )


# Inputs --------------------------------------------------------------------------------------------------------------


def _open_data(job: TrainJob) -> SampleStream:
    spec = job.spec
    if len(job.tokens) != len(spec.mixture):
        raise UserError(
            f"--data: {len(job.tokens)} manifests for the {len(spec.mixture)} corpora of the mixture; give one for each"
        )
    vocab_size = spec.architecture.vocab_size
    for folder in job.tokens:
        found = read_manifest(folder / "manifest.json")["vocab_size"]
        if found != vocab_size:
            raise UserError(
                f"{folder}: tokenised with a vocabulary of {found}, but the model has {vocab_size}; tokenise again"
            )
    splits = [TokenSplit(folder, "train") for folder in job.tokens]
    weights = [weight for _, weight in spec.mixture]
    return SampleStream(
        splits, weights, seed=spec.seed, context=spec.architecture.context, offset=spec.first_sample
    )


def _key(job: TrainJob) -> str:
    """Return the digest of the job's identity."""
    return json_digest(
        spec=job.spec.canonical(),
        parent=read_manifest(job.parent) if job.parent else None,
        data=[read_manifest(folder / "manifest.json") for folder in job.tokens],
    )


def _is_done(out: Path, key: str) -> bool:
    """Return whether another process has completed this job (the manifest is written last)."""
    metrics = out / "metrics.json"
    if not (out / "checkpoint/manifest.json").is_file() or not metrics.is_file():
        return False
    return bool(json.loads(metrics.read_text())["key"] == key)


def _load_start(trainer: Trainer, job: TrainJob, rolling: RollingState) -> Progress:
    """Load the state from which the job starts: its newest rolling state, or the one of `spec.origin`."""
    spec = job.spec
    if newest := from_rank_0(None if provenance.rank() else rolling.newest()):
        origin = training_state.load_training_state(trainer, newest / "manifest.json")
        log.warning("resuming at step %d of %d from %s", origin["step"], spec.stop_step, newest)
        return Progress.resumed(origin, (newest / "steps.jsonl").read_text())
    if spec.origin == "init":
        return Progress()
    if job.parent is None:
        raise UserError(
            f"--parent: missing; a job with origin {spec.origin!r} needs the manifest of a checkpoint"
        )
    if spec.origin == "weights":
        state, architecture = checkpoint.load_weights(job.parent)
        _check_shape(job.parent, architecture, spec)
        training_state.load_canonical(trainer, state)
        return Progress()
    _check_shape(job.parent, Architecture.from_json(read_manifest(job.parent)["architecture"]), spec)
    origin = training_state.load_training_state(trainer, job.parent)
    if spec.origin == "carried":
        # Weights and Adam state (with its step count) are of another run; this run counts its steps from 0.
        return Progress()
    if origin.get("step") != spec.start_step:
        raise UserError(
            f"{job.parent}: is at step {origin.get('step')}, but the job starts at step {spec.start_step}"
        )
    return Progress.after(origin)


def _check_shape(parent: Path, found: Architecture, spec: TrainSpec) -> None:
    if found != spec.architecture:
        raise UserError(f"{parent}: has architecture {found}, but the job trains {spec.architecture}")


# Outputs -------------------------------------------------------------------------------------------------------------


def _write_outputs(
    trainer: Trainer,
    job: TrainJob,
    stream: SampleStream,
    progress: Progress,
    key: str,
    layouts: list[dict[str, Any]],
) -> None:
    spec, out = job.spec, job.out
    folder = out / "checkpoint"
    if provenance.rank() == 0:
        # Otherwise an older checkpoint with the new metrics would look complete.
        (folder / "manifest.json").unlink(missing_ok=True)
        write_atomic(out / "steps.jsonl", progress.text())
        metrics = training_metrics(trainer, job.execution, stream, progress, key) | {"layouts": layouts}
        write_atomic(out / "metrics.json", canonical_json(metrics))
    if spec.is_trunk:
        training_state.save_training_state(trainer, folder, progress.origin(spec))
        return
    weights = training_state.canonical_weights(trainer)
    if provenance.rank() == 0:
        checkpoint.save_weights(folder, weights, spec.architecture, progress.origin(spec))
