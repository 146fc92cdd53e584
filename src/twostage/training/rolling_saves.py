"""Rolling states of a job in training: copied in the thread that trains, written there or beside it, by all ranks together.

Where states lie and which of them count is `rolling.py`'s business, when one is due `loop.py`'s. A state takes its
final name when every rank has its part on disk; until all ranks know of it, none goes on as if it were saved.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twostage.cluster.lease import Lease
from twostage.model import checkpoint
from twostage.model.checkpoint import Parts
from twostage.model.ranks import group_of_its_own, on_rank_0
from twostage.training import state as training_state
from twostage.training.background import BackgroundWriter
from twostage.training.progress import Progress
from twostage.training.rolling import RollingState
from twostage.training.trainer import Trainer


class RollingSaves:
    """Saves rolling states; all ranks make one, and use it as a context manager.

    Args:
        trainer, progress: what is saved.
        rolling: where to; rank 0's counts.
        lease: rank 0's, on the job.
        background: make only the copy in the thread that trains, and write it beside the next updates.
    """

    def __init__(
        self,
        trainer: Trainer,
        progress: Progress,
        rolling: RollingState,
        lease: Lease | None,
        *,
        background: bool,
    ) -> None:
        self._trainer, self._progress, self._rolling, self._lease = trainer, progress, rolling, lease
        self._writer = BackgroundWriter(trainer.device) if background else None
        # Ranks agree on a state by collective calls, which must not mix with those of training.
        self._group = group_of_its_own() if background else None

    def __enter__(self) -> RollingSaves:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._writer:
            self._writer.__exit__(*error)

    def save(self, on_disk: bool) -> None:
        """Save the state of `progress.step`; all ranks call this at the same step.

        In the background it is on disk when this returns only where `on_disk` asks for that: a job that is stopped says
        that it has saved only when it has. An error of the write before, on whichever rank, is raised on all.
        """
        if self._lease:
            self._lease.check()
        # The state before must be complete, and its memory free, before the next is copied.
        self.wait()
        state = training_state.snapshot_of if self._writer else training_state.parts_of
        write = partial(
            self._write,
            self._progress.step,
            state(self._trainer),
            self._progress.origin(self._trainer.spec),
            self._progress.text(),
        )
        if self._writer is None:
            write()
            return
        self._writer.submit(write)
        if on_disk:
            self.wait()

    def wait(self) -> None:
        """Return once nothing is being written on any rank; raise the error of a write that failed."""
        if self._writer:
            self._writer.wait()

    def _write(self, step: int, parts: Parts, origin: dict[str, Any], steps: str) -> None:
        folder = on_rank_0(partial(self._rolling.begin, step), self._group)
        checkpoint.write_parts(
            folder,
            parts,
            self._trainer.spec.architecture,
            origin,
            beside={"steps.jsonl": steps},
            group=self._group,
        )
        on_rank_0(partial(self._rolling.complete, step), self._group)
