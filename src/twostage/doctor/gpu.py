"""Check GPUs, driver, PyTorch's CUDA build, nccl, transformer-engine and flash-attn, from `gpu_facts`."""

from __future__ import annotations

import re

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from twostage.doctor.check import Check, Group
from twostage.doctor.gpu_facts import GpuFacts

GROUP = Group("gpu")
#: Compute capability of Ampere, the first generation with bf16 tensor cores; FlashAttention 2 also needs it.
_OLDEST_CAPABILITY = (8, 0)
#: Releases that transformer-engine 2.11.0 uses (its attention/dot_product_attention/utils.py); it ignores others.
FLASH_RANGE = SpecifierSet(">=2.1.1,<=2.8.3")
_INSTALL = "bash envs/install-gpu.sh, or a container (envs/README.md)"


def available_backends(facts: GpuFacts) -> frozenset[str]:
    """Return the attention backends whose packages work on this machine."""
    backends = {"sdpa"} if facts.torch.version else set()
    if facts.torch.usable and (facts.torch.capability or (0, 0)) >= _OLDEST_CAPABILITY:
        if facts.flash.importable:
            backends.add("flash")
        if facts.te.importable and _within(facts.te.version, facts.te_range):
            backends.add("te")
    return frozenset(backends)


def judge(facts: GpuFacts, machine: str) -> list[Check]:
    """Return the checks for a "cpu" or "cuda" machine."""
    if machine == "cpu":
        found = facts.torch.version or f"not importable: {facts.torch.error}"
        torch = (
            GROUP.ok("PyTorch", f"{found}, on the CPU")
            if facts.torch.version
            else GROUP.missing("PyTorch", found, "pip install -r envs/cpu.txt")
        )
        absent = "not checked on a CPU machine (use --device cuda to check)"
        return [torch, GROUP.not_applicable("GPU, driver, nccl", absent)]
    return [_devices(facts), _build(facts), _usable(facts), _nccl(facts), _te(facts), _flash(facts)]


def _devices(facts: GpuFacts) -> Check:
    if not facts.devices:
        why = facts.smi_error or "nvidia-smi lists none"
        return GROUP.missing(
            "GPU",
            f"none: {why}",
            "run the doctor on a GPU node, in a job that requests GPUs (srun --gpus=1 ...)",
        )
    first = facts.devices[0]
    names = sorted({device.name for device in facts.devices})
    found = (
        f"{len(facts.devices)} x {' and '.join(names)}, {first.memory_mib / 1024:.0f} GiB, driver {first.driver}"
        f" (CUDA {facts.driver_cuda or 'unknown'})"
    )
    if first.capability is not None and first.capability < _OLDEST_CAPABILITY:
        return GROUP.warn(
            "GPU", found, "bf16 is slow on GPUs older than Ampere (A100): request another GPU type"
        )
    if len(names) > 1:
        return GROUP.warn(
            "GPU", found, "bitwise reproducible resumes need equal GPUs: restrict the jobs to one type"
        )
    return GROUP.ok("GPU", found)


def _build(facts: GpuFacts) -> Check:
    torch, name = facts.torch, "PyTorch and CUDA"
    if torch.version is None:
        return GROUP.missing(name, f"PyTorch not importable: {torch.error}", _INSTALL)
    if torch.cuda is None:
        return GROUP.missing(name, f"{torch.version} is a CPU build", f"install the CUDA build: {_INSTALL}")
    found = f"{torch.version}, built for CUDA {torch.cuda}"
    if facts.driver_cuda is not None and _major(torch.cuda) > _major(facts.driver_cuda):
        return GROUP.missing(
            name,
            f"{found}; the driver supports up to CUDA {facts.driver_cuda}",
            (
                f"use nodes whose driver supports CUDA {_major(torch.cuda)}, or an environment built for CUDA "
                f"{_major(facts.driver_cuda)}"
            ),
        )
    if torch.capability and torch.architectures and not _compiled_for(torch.capability, torch.architectures):
        built = ", ".join(torch.architectures)
        return GROUP.missing(
            name,
            f"{found}, for {built}; this GPU is sm_{torch.capability[0]}{torch.capability[1]}",
            "install a PyTorch build that includes this GPU's architecture",
        )
    return GROUP.ok(name, found)


def _usable(facts: GpuFacts) -> Check:
    torch = facts.torch
    if not torch.usable or torch.error:
        found = torch.error or "torch.cuda.is_available() is false"
        return GROUP.missing(
            "GPU from PyTorch",
            found,
            "fix the lines above first; then check CUDA_VISIBLE_DEVICES and, in a container, --nv",
        )
    found = f"{torch.devices} visible"
    if torch.devices != len(facts.devices):
        found = f"{found}, but nvidia-smi lists {len(facts.devices)}"
        return GROUP.warn(
            "GPU from PyTorch",
            found,
            "correct if the job requested only some of the node's GPUs; otherwise unset CUDA_VISIBLE_DEVICES",
        )
    return GROUP.ok("GPU from PyTorch", found)


def _nccl(facts: GpuFacts) -> Check:
    if facts.torch.nccl:
        return GROUP.ok("nccl", facts.torch.nccl)
    return GROUP.missing("nccl", "not reported by PyTorch", f"training on several GPUs needs it: {_INSTALL}")


def _te(facts: GpuFacts) -> Check:
    te, name = facts.te, "transformer-engine"
    if te.version is None:
        return GROUP.warn(name, "absent", f"optional, for backend te: {_INSTALL}")
    if te.error:
        return GROUP.warn(
            name,
            f"{te.version}, import fails: {te.error}",
            "rebuild transformer_engine_torch against the installed torch (last step of envs/install-gpu.sh)",
        )
    if not _within(te.version, facts.te_range):
        return GROUP.warn(
            name,
            f"{te.version}, outside megatron-core's range {facts.te_range or '(not declared)'}",
            "install the release of envs/gpu.txt; until then backend te is not used",
        )
    return GROUP.ok(name, f"{te.version}, within megatron-core's range {facts.te_range}")


def _flash(facts: GpuFacts) -> Check:
    flash, name = facts.flash, "flash-attn"
    if flash.version is None:
        return GROUP.warn(name, "absent", f"optional, for backend flash: {_INSTALL}")
    if flash.error:
        return GROUP.warn(
            name,
            f"{flash.version}, import fails: {flash.error}",
            "rebuild flash_attn against the installed torch (last step of envs/install-gpu.sh)",
        )
    if facts.te.importable and Version(flash.version) not in FLASH_RANGE:
        return GROUP.warn(
            name,
            f"{flash.version}; transformer-engine uses {FLASH_RANGE} only",
            "install the release of envs/gpu.txt; until then transformer-engine does not use flash-attn",
        )
    return GROUP.ok(name, flash.version)


def _within(found: str | None, declared: str | None) -> bool:
    return bool(found and declared) and SpecifierSet(declared or "").contains(found or "", prereleases=True)


def _major(cuda: str) -> int:
    return int(cuda.split(".")[0])


def _compiled_for(capability: tuple[int, int], architectures: tuple[str, ...]) -> bool:
    """Return whether a build supports a GPU: `sm_` code needs the same major and at least its minor version, PTX (`compute_`) any later one."""
    for kind, digits in re.findall(r"(sm|compute)_(\d+)", " ".join(architectures)):
        built = (int(digits[:-1]), int(digits[-1]))
        if built <= capability and (kind == "compute" or built[0] == capability[0]):
            return True
    return False
