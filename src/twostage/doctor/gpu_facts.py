"""Gather facts about GPUs, driver, PyTorch's CUDA build, nccl, transformer-engine and flash-attn, for `gpu`.

Each library is imported in a separate process, because a broken build may crash the process that imports it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from packaging.requirements import Requirement

from twostage.doctor.check import Answer, ask

_IMPORT_TIMEOUT_S = 180.0

_TORCH_PROBE = """
import json, torch
cuda = torch.version.cuda
usable = bool(cuda) and torch.cuda.is_available()
fact = {"version": torch.__version__, "cuda": cuda, "usable": usable, "devices": 0, "capability": None,
        "architectures": torch.cuda.get_arch_list() if cuda else [], "nccl": None, "error": None}
if cuda:
    try:
        torch.cuda.init()
        fact["devices"] = torch.cuda.device_count()
        fact["capability"] = torch.cuda.get_device_capability()
        fact["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
    except Exception as error:
        fact["error"] = str(error).splitlines()[0]
print(json.dumps(fact))
"""


@dataclass(frozen=True)
class Device:
    """One GPU as reported by the driver; memory in MiB."""

    name: str
    driver: str
    memory_mib: int
    capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class TorchFacts:
    """The installed PyTorch; `version` is None if it cannot be imported, `cuda` is None for a CPU build."""

    version: str | None
    cuda: str | None = None
    usable: bool = False
    devices: int = 0
    capability: tuple[int, int] | None = None
    architectures: tuple[str, ...] = ()
    nccl: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class LibraryFacts:
    """An optional library: `version` is None if it is absent, `error` is the reason why its import fails."""

    version: str | None = None
    error: str | None = None

    @property
    def importable(self) -> bool:
        """Whether it is installed and its import succeeds."""
        return self.version is not None and self.error is None


@dataclass(frozen=True)
class GpuFacts:
    """All facts for `gpu.judge`; `driver_cuda` is the newest CUDA version that the driver supports."""

    torch: TorchFacts
    devices: tuple[Device, ...] = ()
    driver_cuda: str | None = None
    smi_error: str | None = None
    te: LibraryFacts = field(default_factory=LibraryFacts)
    flash: LibraryFacts = field(default_factory=LibraryFacts)
    te_range: str | None = None


def gather() -> GpuFacts:
    """Run nvidia-smi, and import each library in a separate process."""
    query = [
        "nvidia-smi",
        "--query-gpu=name,driver_version,memory.total,compute_cap",
        "--format=csv,noheader,nounits",
    ]
    listing = ask(query, timeout_s=60)
    return GpuFacts(
        torch=torch_facts(ask([sys.executable, "-c", _TORCH_PROBE], timeout_s=_IMPORT_TIMEOUT_S)),
        devices=parse_devices(listing.output) if listing.ok else (),
        driver_cuda=parse_driver_cuda(ask(["nvidia-smi"], timeout_s=60).output) if listing.ok else None,
        smi_error=None if listing.ok else listing.complaint,
        te=_library("transformer-engine", "transformer_engine.pytorch"),
        flash=_library("flash-attn", "flash_attn"),
        te_range=megatron_te_range(),
    )


def parse_devices(listing: str) -> tuple[Device, ...]:
    """Parse nvidia-smi's CSV: name, driver, MiB, compute capability."""
    devices = []
    for line in listing.strip().splitlines():
        name, driver, memory, capability = (part.strip() for part in line.rsplit(",", 3))
        devices.append(Device(name, driver, int(memory) if memory.isdigit() else 0, _capability(capability)))
    return tuple(devices)


def _capability(text: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def parse_driver_cuda(screen: str) -> str | None:
    """Find the CUDA version in the header that nvidia-smi prints."""
    match = re.search(r"CUDA[^|\n]*Version\s*:\s*(\d+\.\d+)", screen)
    return match[1] if match else None


def torch_facts(answer: Answer) -> TorchFacts:
    """Parse the output of the PyTorch probe, or its error if it crashed or could not import PyTorch."""
    if not answer.ok:
        return TorchFacts(None, error=answer.complaint)
    fact: Mapping[str, Any] = json.loads(answer.output.strip().splitlines()[-1])
    capability = fact["capability"]
    return TorchFacts(
        **{
            **fact,
            "capability": tuple(capability) if capability else None,
            "architectures": tuple(fact["architectures"]),
        }
    )


def _library(distribution: str, module: str) -> LibraryFacts:
    try:
        found = version(distribution)
    except PackageNotFoundError:
        return LibraryFacts()
    answer = ask([sys.executable, "-c", f"import {module}"], timeout_s=_IMPORT_TIMEOUT_S)
    return LibraryFacts(found, None if answer.ok else answer.complaint)


def megatron_te_range() -> str | None:
    """Return the transformer-engine releases that megatron-core declares (extra `dev`), or None if unknown."""
    try:
        lines = requires("megatron-core") or []
    except PackageNotFoundError:
        return None
    for line in lines:
        requirement = Requirement(line)
        if requirement.name == "transformer-engine":
            return str(requirement.specifier)
    return None
