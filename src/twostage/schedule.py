"""Learning rates as pure functions of the optimizer step.

Steps count from 1: `rate(s)` is the rate used *in* update s. A trunk knows nothing of where it will be cut, so the
same trunk serves every decay branch (WSD: warmup, stable, decay; paper, B.3).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WsdSchedule:
    """Linear warmup to `peak_lr`, constant, then (in a decay branch only) linear decay.

    Attributes:
        peak_lr: the stable rate.
        warmup_steps: update `warmup_steps` is the first at the peak; 0 starts at the peak.
        decay_start: last update of the stable part, or None for a trunk.
        decay_steps: length of the decay; its last update runs at `final_fraction * peak_lr`.
    """

    peak_lr: float
    warmup_steps: int
    decay_start: int | None = None
    decay_steps: int = 0
    final_fraction: float = 0.1

    def rate(self, step: int) -> float:
        """Return the learning rate of update `step` (from 1)."""
        if step < 1:
            raise ValueError(f"step: {step} must be at least 1 (steps count from 1)")
        if step < self.warmup_steps:
            return self.peak_lr * step / self.warmup_steps
        if self.decay_start is None or step <= self.decay_start:
            return self.peak_lr
        done = step - self.decay_start
        if done > self.decay_steps:
            raise ValueError(
                f"step: {step} lies beyond the decay's end {self.decay_start + self.decay_steps}"
            )
        # Counted from the end, so that the last value is exact in floating point.
        end = self.final_fraction * self.peak_lr
        return end + (self.peak_lr - end) * (self.decay_steps - done) / self.decay_steps
