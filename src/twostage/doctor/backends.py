"""Check which attention backend each model of a study uses on this machine."""

from __future__ import annotations

from collections.abc import Collection

from twostage.common.attention import BACKEND_PACKAGES, Precision, Requested, candidates, choose
from twostage.common.errors import UserError
from twostage.doctor.check import Check, Group

GROUP = Group("attention")


def judge(
    head_dims: dict[str, int],
    device: str,
    usable: Collection[str],
    requested: Requested = "sdpa",
    precision: Precision = "bf16",
    *,
    installed: Collection[str] | None = None,
) -> list[Check]:
    """Return one check per model, with the backend that its jobs choose (`attention.choose`).

    Growth keeps head_dim, so the check of a base model also applies to its grown models.

    Args:
        head_dims: model name -> head_dim, for all models of the study.
        device: "cpu" or "cuda".
        usable: backends that work on this machine.
        requested, precision: of the study.
        installed: backends that are installed, even if they do not work; default: `usable`.
    """
    installed = usable if installed is None else installed
    checks = []
    if precision == "bf16" and device != "cuda":
        fix = "train on a machine with GPUs (device: cuda), or set recipe.precision: fp32"
        checks.append(GROUP.warn("precision", "bf16 trains on CUDA only", fix))
    allowed, every = candidates(requested, head_dims.values()), candidates("auto", head_dims.values())
    for model, head_dim in head_dims.items():
        name = f"model {model}"
        try:
            choice = choose(allowed, head_dim, device, installed, precision)
        except UserError as error:
            fix = str(error).rpartition("; ")[2]
            checks.append(GROUP.missing(name, str(error), fix))
            continue
        if choice.backend not in usable:
            package = BACKEND_PACKAGES[choice.backend]
            found = f"{choice.backend}, because {package} is installed, but it does not work here (see above)"
            checks.append(GROUP.missing(name, found, f"repair {package}, or uninstall it"))
            continue
        found = f"{choice.backend} ({choice.reason})"
        if requested != "auto":
            fastest = choose(every, head_dim, device, installed, precision)
            if fastest.backend != choice.backend:
                found += f"; auto would choose {fastest.backend} ({fastest.reason})"
        checks.append(GROUP.ok(name, found))
    return checks
