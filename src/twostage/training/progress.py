"""Where a training job stands: the step, the gradient norms so far, and one line per update for steps.jsonl."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twostage.design.specs import TrainSpec


@dataclass
class Progress:
    """The state of a job beside weights and optimizer.

    Attributes:
        step: updates of the run that are done.
        grad_norm_sum, grad_norm_steps: of the run's pre-clip gradient norms after the warmup; a WSD decay, whose falling
            rates go with other norms, does not count.
        resumed_from: step of the rolling state that this attempt began with.
        lines: of this job's updates, as they go into steps.jsonl.
        seconds: of training, in this attempt.
    """

    step: int = 0
    grad_norm_sum: float = 0.0
    grad_norm_steps: int = 0
    resumed_from: int | None = None
    lines: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def after(cls, origin: Mapping[str, Any]) -> Progress:
        """Go on from a checkpoint of the same run, see `origin`."""
        return cls(origin["step"], origin["grad_norm_sum"], origin["grad_norm_steps"])

    @classmethod
    def resumed(cls, origin: Mapping[str, Any], text: str) -> Progress:
        """Go on from a rolling state and its steps.jsonl."""
        progress = cls.after(origin)
        progress.resumed_from = progress.step
        progress.lines = [json.loads(line) for line in text.splitlines()]
        return progress

    def record(self, line: dict[str, float], spec: TrainSpec) -> None:
        """Note the next update; `line` goes into steps.jsonl."""
        self.step += 1
        self.lines.append({"step": self.step, **line})
        if spec.schedule.decay_start is None and self.step > spec.schedule.warmup_steps:
            self.grad_norm_sum += line["grad_norm"]
            self.grad_norm_steps += 1

    @property
    def grad_norm_mean(self) -> float | None:
        """Mean pre-clip gradient norm of the run after its warmup; None before the warmup's end."""
        return self.grad_norm_sum / self.grad_norm_steps if self.grad_norm_steps else None

    @property
    def final_loss(self) -> float | None:
        """Training loss of the job's last update; None in a branch of no steps."""
        return self.lines[-1].get("loss") if self.lines else None

    def origin(self, spec: TrainSpec) -> dict[str, Any]:
        """What goes into a checkpoint's manifest: deterministic, and enough to go on from."""
        return {
            "step": self.step,
            "tokens": self.step * spec.batch_size * spec.architecture.context,
            "grad_norm_sum": self.grad_norm_sum,
            "grad_norm_steps": self.grad_norm_steps,
        }

    def text(self) -> str:
        """Return the content of steps.jsonl."""
        return "".join(json.dumps(line) + "\n" for line in self.lines)
