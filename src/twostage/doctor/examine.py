"""All checks of one machine, in the order of the table."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from twostage.design.design import Design
from twostage.doctor import backends, container, data, gpu, gpu_facts, limits, packages, slurm, storage
from twostage.doctor.check import Check
from twostage.study import Study, attention

Machine = Literal["cpu", "cuda"]
DEVICES = ("auto", *get_args(Machine))


@dataclass(frozen=True)
class Examination:
    """The kind of machine that was examined, and every line of the table."""

    machine: Machine
    checks: list[Check]


def machine_kind(device: str, *, gpus_seen: bool) -> Machine:
    """`auto` is "cuda" where a driver or the environment speaks of GPUs; else what the user insists on."""
    if device in get_args(Machine):
        return "cuda" if device == "cuda" else "cpu"
    return "cuda" if gpus_seen else "cpu"


def gpus_seen() -> bool:
    """Tell whether this machine seems to have NVIDIA GPUs, working or not."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
    return (
        shutil.which("nvidia-smi") is not None or Path("/dev/nvidia0").exists() or visible not in ("", "-1")
    )


def examine(study: Study | None, *, device: str, root: Path, lock: Path | None = None) -> Examination:
    """Look at this machine and judge it.

    Args:
        study: what is to run here; None leaves out what depends on it.
        device: "auto", or "cpu" or "cuda" to insist.
        root: the repository's root; results, rolling state, locks and image lie below.
        lock: the exact versions to compare with; None takes the one of this kind of machine.
    """
    machine = machine_kind(device, gpus_seen=gpus_seen())
    design = None if study is None else Design(study)
    lock = lock or root / "envs" / ("gpu.txt" if machine == "cuda" else "cpu.txt")
    gpus, slurm_facts = gpu_facts.gather(), slurm.gather()
    checks = [*packages.judge(packages.gather(lock)), *gpu.judge(gpus, machine)]
    if study is not None:
        head_dims = {name: study.architecture(name).head_dim for name in study.models}
        checks += backends.judge(
            head_dims,
            machine,
            gpu.available_backends(gpus),
            study.recipe.attention_backend,
            study.recipe.precision,
            installed=attention.installed(),
        )
    checks += _storage(design, root, across_nodes=slurm_facts.present)
    if study is not None:
        checks += [data.judge(fact) for fact in data.gather(study)]
    checks += slurm.judge(slurm_facts)
    state = None if design is None else storage.largest_state(design)
    checks += limits.judge(limits.gather(), machine, largest_file=state)
    checks.append(container.judge(container.gather(root)))
    return Examination(machine, checks)


def _storage(design: Design | None, root: Path, *, across_nodes: bool) -> list[Check]:
    name = "" if design is None else design.study.name
    results = rolling = state = None
    if design is not None:
        results, rolling = storage.results_need(design), storage.rolling_need(design)
        state = storage.largest_state(design)
    return [
        *storage.judge(
            storage.gather("results", root / "results" / name),
            need=results,
            state=state,
            across_nodes=across_nodes,
        ),
        *storage.judge(
            storage.gather("rolling state", root / "rolling" / name),
            need=rolling,
            state=state,
            leases=True,
            across_nodes=across_nodes,
        ),
        *storage.judge(storage.gather("scratch", Path(tempfile.gettempdir()))),
    ]
