"""Which attention backend each model of a study gets on this machine, and why."""

from __future__ import annotations

from collections.abc import Collection

from twostage.attention import Requested, resolve
from twostage.doctor.check import Check, Status
from twostage.errors import UserError

GROUP = "attention"


def judge(
    head_dims: dict[str, int], device: str, available: Collection[str], requested: Requested = "sdpa"
) -> list[Check]:
    """One line per model; `requested` is what the trainer will ask for.

    Growth keeps head_dim, so a base model's line holds for what it grows into.
    """
    checks = []
    for model, head_dim in head_dims.items():
        name = f"model {model}"
        try:
            choice = resolve(requested, head_dim, device, available)
        except UserError as error:
            fix = str(error).rpartition("; ")[2]
            checks.append(Check(GROUP, name, str(error), Status.MISSING, fix))
            continue
        found = f"{choice.backend} ({choice.reason})"
        if requested != "auto":
            fastest = resolve("auto", head_dim, device, available)
            if fastest.backend != choice.backend:
                found += f"; auto would take {fastest.backend} ({fastest.reason})"
        checks.append(Check(GROUP, name, found, Status.OK))
    return checks
