"""Which attention backend each model of a study gets on this machine, and why."""

from __future__ import annotations

from collections.abc import Collection

from twostage.attention import Precision, Requested, candidates, choose
from twostage.doctor.check import Check, Status
from twostage.errors import UserError

GROUP = "attention"


def judge(
    head_dims: dict[str, int],
    device: str,
    available: Collection[str],
    requested: Requested = "sdpa",
    precision: Precision = "bf16",
) -> list[Check]:
    """One line per model; `requested` and `precision` are the study's, `head_dims` those of all its models.

    Growth keeps head_dim, so a base model's line holds for what it grows into.
    """
    checks = []
    allowed, every = candidates(requested, head_dims.values()), candidates("auto", head_dims.values())
    for model, head_dim in head_dims.items():
        name = f"model {model}"
        try:
            choice = choose(allowed, head_dim, device, available, precision)
        except UserError as error:
            fix = str(error).rpartition("; ")[2]
            checks.append(Check(GROUP, name, str(error), Status.MISSING, fix))
            continue
        found = f"{choice.backend} ({choice.reason})"
        if requested != "auto":
            fastest = choose(every, head_dim, device, available, precision)
            if fastest.backend != choice.backend:
                found += f"; auto would take {fastest.backend} ({fastest.reason})"
        checks.append(Check(GROUP, name, found, Status.OK))
    return checks
