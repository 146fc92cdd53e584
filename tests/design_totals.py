"""Totals and identities of a design that several tests compare."""

from __future__ import annotations

from typing import Any

from twostage.design.design import Design
from twostage.design.specs import TrainSpec


def planned_tokens(design: Design) -> int:
    """Tokens that all segments and branches of a design train on."""
    segments, branches = design.jobs()
    return sum(map(design.job_tokens, (*segments, *branches)))


def run_identity(spec: TrainSpec) -> dict[str, Any]:
    """The part of a spec that all jobs of a run share. The two arms of an ablation differ in one key of it."""
    identity = spec.model_dump(mode="json", exclude={"start_step", "stop_step", "origin"})
    for key in ("decay_start", "total_steps"):
        del identity["schedule"][key]
    return identity
