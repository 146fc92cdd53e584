"""Run all checks of this machine, in the order of the table."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from twostage.common import attention
from twostage.design.design import Design
from twostage.doctor import backends, container, data, gpu, gpu_facts, limits, packages, slurm, storage
from twostage.doctor.check import Check
from twostage.study import Study

MachineKind = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Examination:
    """The kind of machine, and all checks."""

    machine: MachineKind
    checks: list[Check]


def machine_kind(device: str, *, gpus_seen: bool) -> MachineKind:
    """Return `device`, or for "auto" the kind of machine: "cuda" if there are signs of GPUs."""
    if device in get_args(MachineKind):
        return "cuda" if device == "cuda" else "cpu"
    return "cuda" if gpus_seen else "cpu"


def gpus_seen() -> bool:
    """Return whether this machine seems to have NVIDIA GPUs, even if they do not work."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
    return (
        shutil.which("nvidia-smi") is not None or Path("/dev/nvidia0").exists() or visible not in ("", "-1")
    )


def examine(study: Study | None, *, device: str, root: Path, lock: Path | None = None) -> Examination:
    """Run all checks on this machine.

    Args:
        study: the study to run here; None: skip the checks that depend on it.
        device: "cpu" or "cuda"; "auto": detect.
        root: the repository's root, which contains results, rolling state, lock files and the container image.
        lock: file of exact package versions; default: the one for this kind of machine.
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
