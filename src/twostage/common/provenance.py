"""Where a result was computed: device, ranks, package versions, git commit. For `metrics.json`; never part of a spec."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def rank() -> int:
    """Rank of this process, from the variable RANK; 0 if it is not set."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Number of data-parallel ranks, from the variable WORLD_SIZE; 1 if it is not set."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def device_kind(device: str) -> str:
    """Name of the processor or GPU model. Rounding may differ between two models, but not between two chips of one model."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def peak_memory_bytes(device: str) -> int:
    """Peak resident memory of this process (CPU), or peak allocated GPU memory (CUDA)."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@cache
def git_commit() -> str | None:
    """Commit of this checkout, followed by `+` if there are uncommitted changes; None outside a git checkout."""
    root = Path(__file__).resolve().parents[3]
    git = ["git", "-C", str(root)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        status = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if status.stdout.strip() else "")


def environment(device: str) -> dict[str, Any]:
    """Return the device, ranks, versions and commit that `metrics.json` records."""
    return {
        "device": device_kind(device),
        "ranks": world_size(),
        "git_commit": git_commit(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "megatron-core", "numpy", "tokenizers")},
        },
    }
