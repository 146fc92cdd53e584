"""Learning rates as pure functions of the optimizer step.

Steps count from 1: `rate(s)` is the rate used *in* update s. A trunk knows nothing of where it will be cut, so the
same trunk serves every decay branch (WSD: warmup, stable, decay; paper, B.3).
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Schedule(BaseModel):
    """Linear warmup to `peak_lr`, then what `kind` says.

    wsd: constant, and in a decay branch a linear decay after update `decay_start`. constant: constant. cosine: half a
    cosine from the end of the warmup. Decays end at `final_fraction * peak_lr`, in update `total_steps` exactly.

    Attributes:
        kind: "wsd", "constant" or "cosine".
        peak_lr: the highest rate.
        warmup_steps: update `warmup_steps` is the first at the peak; 0 starts at the peak.
        final_fraction: last rate of a decay over the peak.
        decay_start: wsd: last update of the stable part; None in a trunk.
        total_steps: wsd branch and cosine: the last update; None in a trunk and under constant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["wsd", "constant", "cosine"] = "wsd"
    peak_lr: float
    warmup_steps: int
    final_fraction: float = 0.1
    decay_start: int | None = None
    total_steps: int | None = None

    def rate(self, step: int) -> float:
        """Return the learning rate of update `step` (from 1)."""
        if step < 1:
            raise ValueError(f"step: {step} must be at least 1 (steps count from 1)")
        if self.total_steps is not None and step > self.total_steps:
            raise ValueError(f"step: {step} lies beyond the schedule's end {self.total_steps}")
        if step < self.warmup_steps:
            return self.peak_lr * step / self.warmup_steps
        end = self.final_fraction * self.peak_lr
        if self.kind == "cosine":
            assert self.total_steps is not None
            top = max(self.warmup_steps, 1)
            # Both ends are exact in floating point.
            if step == self.total_steps:
                return end
            if step <= top:
                return self.peak_lr
            return (
                end
                + (self.peak_lr - end) * (1 + math.cos(math.pi * (step - top) / (self.total_steps - top))) / 2
            )
        if self.decay_start is None or step <= self.decay_start:
            return self.peak_lr
        assert self.total_steps is not None
        # Counted from the end, so that the last value is exact in floating point.
        return end + (self.peak_lr - end) * (self.total_steps - step) / (self.total_steps - self.decay_start)
