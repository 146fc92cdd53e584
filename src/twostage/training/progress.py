"""Progress of a training job: its step, the gradient norms so far, and one line per update for steps.jsonl."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twostage.design.specs import TrainSpec


@dataclass
class Progress:
    """The state of a job without weights and optimizer.

    Attributes:
        step: number of completed updates of the run.
        grad_norm_sum, grad_norm_steps: sum and number of the run's gradient norms (before clipping) after the warmup. A WSD
            decay is left out, because gradient norms depend on its falling learning rate.
        resumed_from: step of the rolling state from which this attempt resumed; None if it did not resume.
        lines: lines of steps.jsonl, one per update of this job.
        seconds: training time of this attempt.
    """

    step: int = 0
    grad_norm_sum: float = 0.0
    grad_norm_steps: int = 0
    resumed_from: int | None = None
    lines: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def after(cls, origin: Mapping[str, Any]) -> Progress:
        """Continue from a checkpoint of the same run, see `origin`."""
        return cls(origin["step"], origin["grad_norm_sum"], origin["grad_norm_steps"])

    @classmethod
    def resumed(cls, origin: Mapping[str, Any], text: str) -> Progress:
        """Continue from a rolling state and its steps.jsonl."""
        progress = cls.after(origin)
        progress.resumed_from = progress.step
        progress.lines = [json.loads(line) for line in text.splitlines()]
        return progress

    def record(self, line: dict[str, float], spec: TrainSpec) -> None:
        """Record the next update. `line` is its line of steps.jsonl, without the step."""
        self.step += 1
        self.lines.append({"step": self.step, **line})
        if spec.schedule.decay_start is None and self.step > spec.schedule.warmup_steps:
            self.grad_norm_sum += line["grad_norm"]
            self.grad_norm_steps += 1

    @property
    def grad_norm_mean(self) -> float | None:
        """Mean gradient norm (before clipping) of the run after its warmup; None during the warmup."""
        return self.grad_norm_sum / self.grad_norm_steps if self.grad_norm_steps else None

    @property
    def final_loss(self) -> float | None:
        """Training loss of the job's last update; None for a branch without steps."""
        return self.lines[-1].get("loss") if self.lines else None

    def origin(self, spec: TrainSpec) -> dict[str, Any]:
        """Return the fields of a checkpoint's manifest: deterministic, and sufficient to continue the run (see `after`)."""
        return {
            "step": self.step,
            "tokens": self.step * spec.batch_size * spec.architecture.context,
            "grad_norm_sum": self.grad_norm_sum,
            "grad_norm_steps": self.grad_norm_steps,
        }

    def text(self) -> str:
        """Return the content of steps.jsonl."""
        return "".join(json.dumps(line) + "\n" for line in self.lines)
