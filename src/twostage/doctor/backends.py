"""Which attention backend each model of a study gets on this machine, and why."""

from __future__ import annotations

from collections.abc import Collection

from twostage.common.errors import UserError
from twostage.doctor.check import Check, Status
from twostage.study.attention import PACKAGES, Precision, Requested, candidates, choose

GROUP = "attention"


def judge(
    head_dims: dict[str, int],
    device: str,
    usable: Collection[str],
    requested: Requested = "sdpa",
    precision: Precision = "bf16",
    *,
    installed: Collection[str] | None = None,
) -> list[Check]:
    """One line per model, with the very choice that its jobs make (`attention.choose` among what is installed).

    Growth keeps head_dim, so a base model's line holds for what it grows into.

    Args:
        head_dims: of all the study's models, by name.
        device: "cpu" or "cuda".
        usable: backends that were seen to work here.
        requested, precision: the study's.
        installed: backends that jobs find here, broken ones too; None: the usable ones.
    """
    installed = usable if installed is None else installed
    checks = []
    if precision == "bf16" and device != "cuda":
        fix = "train where there are GPUs (device: cuda), or precision: fp32"
        checks.append(Check(GROUP, "precision", "bf16 trains on CUDA only", Status.WARN, fix))
    allowed, every = candidates(requested, head_dims.values()), candidates("auto", head_dims.values())
    for model, head_dim in head_dims.items():
        name = f"model {model}"
        try:
            choice = choose(allowed, head_dim, device, installed, precision)
        except UserError as error:
            fix = str(error).rpartition("; ")[2]
            checks.append(Check(GROUP, name, str(error), Status.MISSING, fix))
            continue
        if choice.backend not in usable:
            package = PACKAGES[choice.backend]
            found = f"{choice.backend}, since {package} is installed; but it is not usable here (lines above)"
            checks.append(Check(GROUP, name, found, Status.MISSING, f"mend {package}, or uninstall it"))
            continue
        found = f"{choice.backend} ({choice.reason})"
        if requested != "auto":
            fastest = choose(every, head_dim, device, installed, precision)
            if fastest.backend != choice.backend:
                found += f"; auto would take {fastest.backend} ({fastest.reason})"
        checks.append(Check(GROUP, name, found, Status.OK))
    return checks
