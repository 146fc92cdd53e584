"""Saves rolling states during training: copies the state in the training thread, and writes it there or in a second thread.

`rolling.py` has the folders of the states, and `loop.py` decides when to save. A state gets its final name when the parts of
all ranks are on disk, and no rank regards it as saved before.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twostage.cluster.lease import Lease
from twostage.model import checkpoint
from twostage.model.checkpoint import Parts
from twostage.model.ranks import on_rank_0, separate_group
from twostage.training import state as training_state
from twostage.training.background import BackgroundWriter
from twostage.training.progress import Progress
from twostage.training.rolling import RollingState
from twostage.training.trainer import Trainer


class RollingSaves:
    """Saves rolling states; use as a context manager, on all ranks.

    Args:
        trainer, progress: the state to save.
        rolling: folder of the states; that of rank 0 is used.
        lease: the job's lease on rank 0, else None.
        background: write in a second thread, during the next updates. The training thread only makes the copy.
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
        # The collective calls of the second thread must not mix with those of training.
        self._group = separate_group() if background else None

    def __enter__(self) -> RollingSaves:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._writer:
            self._writer.__exit__(*error)

    def save(self, on_disk: bool) -> None:
        """Save the state of `progress.step`. Collective: all ranks must call it at the same step.

        With `on_disk`, the state is on disk when this returns, also with `background`. If the previous write failed on any rank,
        an error is raised on all ranks.
        """
        if self._lease:
            self._lease.check()
        # The previous state must be complete, and its memory free, before the next one is copied.
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
        """Wait for the current write. Raises its error, if any."""
        if self._writer:
            self._writer.wait()

    def _write(self, step: int, parts: Parts, origin: dict[str, Any], steps: str) -> None:
        folder = on_rank_0(partial(self._rolling.begin, step), self._group)
        checkpoint.write_parts(
            folder,
            parts,
            self._trainer.spec.architecture,
            origin,
            extra_files={"steps.jsonl": steps},
            group=self._group,
        )
        on_rank_0(partial(self._rolling.complete, step), self._group)
