"""The training loop: updates until the job's last step, rolling states in between, and a clean stop on SIGTERM.

The loop decides when to save; the caller (`train.py`) decides what is saved and where.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from twostage.cluster.supervise import EXIT_STOPPED, SAVED
from twostage.common import provenance
from twostage.common.errors import UserError
from twostage.corpora.samples import SampleStream
from twostage.design.specs import TrainSpec
from twostage.model.ranks import max_over_ranks
from twostage.training import prefetch
from twostage.training.heldout import TrainingValidation
from twostage.training.progress import Progress
from twostage.training.trainer import Execution, Outcome, Trainer, fetch

log = logging.getLogger(__name__)

PROGRESS_EVERY_S = 0.5
_SAVE, _STOP = 1, 2


class DivergedError(UserError):
    """The loss is not finite, or much larger than that of a uniform distribution over the vocabulary."""


class StopRequest:
    """Records a SIGTERM, so that the current update can finish before the state is saved."""

    requested = False

    def __enter__(self) -> StopRequest:
        self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _note(self, *_: object) -> None:
        self.requested = True


def run_updates(
    trainer: Trainer,
    stream: SampleStream,
    progress: Progress,
    *,
    validation: TrainingValidation | None,
    save: Callable[[bool], None],
    execution: Execution,
    stop: StopRequest,
) -> None:
    """Train from `progress.step` to the spec's last step. Collective: all ranks must call it.

    Args:
        trainer: has the state of step `progress.step`.
        stream: the run's samples.
        progress: updated in place.
        validation: measures the held-out loss during training; None: no measurement.
        save: writes a rolling state; called on all ranks at the same step. With True, the state must be on disk when the
            call returns.
        execution: interval of rolling states, and whether host and device overlap.
        stop: if it is requested, a last rolling state is saved and the process exits with code 143.

    Raises:
        DivergedError: loss or gradient norm is not finite, or the loss is far too large.
        SystemExit: code 143 after SIGTERM; the state is saved.
    """
    spec = trainer.spec
    rank, ranks = provenance.rank(), provenance.world_size()
    share = spec.batch_size // ranks
    fetch_every = execution.fetch_every if execution.overlaps else 1
    started = saved = reported = time.monotonic()
    first = progress.step

    def read(step: int) -> NDArray[np.int64]:
        return stream.batch((step - 1) * spec.batch_size + rank * share, share)

    pending: list[Outcome] = []
    batches = prefetch.batches(read, first + 1, spec.stop_step, trainer.device, ahead=execution.overlaps)
    with closing(batches):
        for step, batch in enumerate(batches, start=first + 1):
            pending.append(trainer.launch(step, batch))
            due = time.monotonic() - saved >= execution.save_every_s and step < spec.stop_step
            action = _STOP if stop.requested else _SAVE if due else 0
            validate = validation is not None and validation.is_due(step)
            fetch_now = step % fetch_every == 0 or step == spec.stop_step or validate
            if ranks > 1:
                # Clocks and signals differ between ranks, but all must save at the same step. They agree only at steps at
                # which they wait for the device anyway.
                action = max_over_ranks(action, trainer.device) if fetch_now else 0
            if not (fetch_now or action):
                continue
            _record(pending, progress, trainer)
            pending.clear()
            if validation and validate:
                progress.lines[-1]["valid_loss"] = _valid_loss(trainer, validation, step)
            now = time.monotonic()
            if now - reported >= PROGRESS_EVERY_S or step == spec.stop_step:
                reported = now
                speed = (step - first) * spec.batch_size * spec.architecture.context / (now - started)
                _print_progress(step, spec, progress.lines[-1]["loss"], speed)
            if action:
                save(action == _STOP)
                saved = now
            if action == _STOP:
                log.warning("stopped by SIGTERM at step %d; %s", step, SAVED)
                sys.exit(EXIT_STOPPED)
    if validation and spec.start_step == spec.stop_step:
        # A branch without steps has no update, so its loss gets a line without one.
        valid_loss = _valid_loss(trainer, validation, progress.step)
        progress.lines = [{"step": progress.step, "valid_loss": valid_loss}]
    progress.seconds = time.monotonic() - started


def _record(outcomes: list[Outcome], progress: Progress, trainer: Trainer) -> None:
    """Wait for the updates after `progress.step`, check them and record them."""
    for loss, grad_norm in fetch(outcomes):
        step = progress.step + 1
        _check_finite(loss, grad_norm, step, trainer.spec)
        progress.record(
            {"loss": loss, "grad_norm": grad_norm, "lr": trainer.schedule.rate(step)}, trainer.spec
        )


def _valid_loss(trainer: Trainer, validation: TrainingValidation, step: int) -> float:
    trainer.gather_parameters()
    loss = validation.loss(trainer.core, batch_size=trainer.micro_batch, device=trainer.device)
    if not math.isfinite(loss):
        raise DivergedError(
            f"the validation loss is {loss} after step {step}: the run has diverged; {_advice(trainer.spec)}"
        )
    return loss


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
    # A gradient that is not finite has already damaged the weights, and there may be no later loss that shows it.
    if not math.isfinite(loss) or not math.isfinite(grad_norm) or loss > 3 * uniform:
        raise DivergedError(
            f"loss is {loss}, gradient norm {grad_norm} at step {step} (uniform predictions have {uniform:.2f}): the run has diverged; {_advice(spec)}"
        )


def _advice(spec: TrainSpec) -> str:
    # The spec of a later segment does not have the stage, but a run with origin "init" is in stage 1.
    stage2 = "" if spec.origin == "init" else "; in stage 2, lower methods.*.peak_lr_fraction instead"
    return (
        f"lower models.*.peak_lr (now {spec.schedule.peak_lr}) or lengthen models.*.warmup_steps (now {spec.schedule.warmup_steps}) "
        f"in the study{stage2}"
    )
