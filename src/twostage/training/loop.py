"""Update after update until the job's last step, with rolling states on the way and a clean stop on SIGTERM.

Knows how to go on and when to save; what is saved where is the caller's business (`train.py`).
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

from twostage.common import provenance
from twostage.common.errors import UserError
from twostage.corpora.samples import SampleStream
from twostage.design.specs import TrainSpec
from twostage.model.ranks import largest
from twostage.training import prefetch
from twostage.training.heldout import TrainingValidation
from twostage.training.progress import Progress
from twostage.training.trainer import Execution, Outcome, Trainer, fetch

log = logging.getLogger(__name__)

#: A job that was asked to stop has saved its state and wants to be started again (128 + SIGTERM).
EXIT_STOPPED = 143
PROGRESS_EVERY_S = 0.5
_SAVE, _STOP = 1, 2


class DivergedError(UserError):
    """The loss is not a number, or far above that of a uniform guess."""


class StopRequest:
    """Remembers a SIGTERM, so that the update in progress can finish before the state is saved."""

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
    """Train from `progress.step` to the spec's last step; all ranks call this.

    Args:
        trainer: holds the state of step `progress.step`.
        stream: the run's samples.
        progress: advanced in place.
        validation: held-out losses on the way, if the study wants any.
        save: writes a rolling state; called on all ranks at the same step. True: it is on disk when the call returns.
        execution: how often to save, and whether to run ahead of the losses.
        stop: asks for a last rolling state and exit code 143.

    Raises:
        DivergedError: loss or gradient norm is not finite, or the loss is absurd.
        SystemExit: code 143 after SIGTERM, with the state saved.
    """
    spec = trainer.spec
    rank, ranks = provenance.rank(), provenance.world_size()
    share = spec.batch_size // ranks
    fetch_every = execution.fetch_every if execution.overlaps else 1
    started = saved = reported = time.monotonic()
    first = progress.step

    def read(step: int) -> NDArray[np.int64]:
        return stream.batch((step - 1) * spec.batch_size + rank * share, share)

    waiting: list[Outcome] = []
    batches = prefetch.batches(read, first + 1, spec.stop_step, trainer.device, ahead=execution.overlaps)
    with closing(batches):
        for step, batch in enumerate(batches, start=first + 1):
            waiting.append(trainer.launch(step, batch))
            due = time.monotonic() - saved >= execution.save_every_s and step < spec.stop_step
            demand = _STOP if stop.requested else _SAVE if due else 0
            validate = validation is not None and validation.is_due(step)
            look = step % fetch_every == 0 or step == spec.stop_step or validate
            if ranks > 1:
                # Each rank has its own clock and gets its own signal; all must save at once. They agree when they wait
                # for the device anyway.
                demand = largest(demand, trainer.device) if look else 0
            if not (look or demand):
                continue
            _record(waiting, progress, trainer)
            waiting.clear()
            if validation and validate:
                progress.lines[-1]["valid_loss"] = _valid_loss(trainer, validation, step)
            now = time.monotonic()
            if now - reported >= PROGRESS_EVERY_S or step == spec.stop_step:
                reported = now
                speed = (step - first) * spec.batch_size * spec.architecture.context / (now - started)
                _print_progress(step, spec, progress.lines[-1]["loss"], speed)
            if demand:
                save(demand == _STOP)
                saved = now
            if demand == _STOP:
                log.warning("stopped by SIGTERM at step %d; the state is saved", step)
                sys.exit(EXIT_STOPPED)
    if validation and spec.start_step == spec.stop_step:
        # A branch of no steps has no update to put its loss beside.
        valid_loss = _valid_loss(trainer, validation, progress.step)
        progress.lines = [{"step": progress.step, "valid_loss": valid_loss}]
    progress.seconds = time.monotonic() - started


def _record(outcomes: list[Outcome], progress: Progress, trainer: Trainer) -> None:
    """Wait for the updates that follow `progress.step`, check them and note them."""
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
            f"the validation loss is {loss} after step {step}: the run diverged; {_advice(trainer.spec)}"
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
    # A gradient that is not finite has spoiled the weights already, though no later loss may be there to show it.
    if not math.isfinite(loss) or not math.isfinite(grad_norm) or loss > 3 * uniform:
        raise DivergedError(
            f"loss is {loss}, gradient norm {grad_norm} at step {step} (a uniform guess has {uniform:.2f}): the run diverged; {_advice(spec)}"
        )


def _advice(spec: TrainSpec) -> str:
    # Later segments do not know their stage, but a run that starts from drawn weights is in the first.
    stage2 = (
        "" if spec.origin == "init" else "; if this is stage 2: methods.*.peak_lr_fraction scales its peak"
    )
    return (
        f"lower models.*.peak_lr (now {spec.schedule.peak_lr}) or lengthen models.*.warmup_steps (now {spec.schedule.warmup_steps}) "
        f"in the study{stage2}"
    )
