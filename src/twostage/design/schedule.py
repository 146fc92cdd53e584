"""Learning rate schedules as functions of the optimizer step.

Steps count from 1: `rate(s)` is the learning rate of update s. A trunk's schedule does not depend on where decay branches
start, so all decay branches share one trunk (WSD: warmup, stable, decay; paper, B.3).
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Schedule(BaseModel):
    """Linear warmup to `peak_lr`, followed by the schedule `kind`.

    wsd: constant; in a decay branch, linear decay after update `decay_start`. constant: constant. cosine: half a
    cosine from the end of the warmup. Decays reach `final_fraction * peak_lr` exactly in update `total_steps`.

    Attributes:
        kind: "wsd", "constant" or "cosine".
        peak_lr: the maximum learning rate.
        warmup_steps: the first update at the peak rate; 0: no warmup.
        final_fraction: learning rate of the last update of a decay, as a fraction of the peak.
        decay_start: the last update before the decay of a wsd branch; None in a trunk.
        total_steps: the last update of a wsd branch or a cosine run; None in a trunk and for constant.
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
            raise ValueError(f"step: {step} is after the end of the schedule, {self.total_steps}")
        if step < self.warmup_steps:
            return self.peak_lr * step / self.warmup_steps
        end = self.final_fraction * self.peak_lr
        if self.kind == "cosine":
            assert self.total_steps is not None
            top = max(self.warmup_steps, 1)
            # Return exact values at both ends, without rounding.
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
        # Count from the end, so that the last value is exact.
        return end + (self.peak_lr - end) * (self.total_steps - step) / (self.total_steps - self.decay_start)
