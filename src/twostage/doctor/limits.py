"""Check the process limits: open files, processes, file size, locked memory, shared memory, cores."""

from __future__ import annotations

import os
import resource
import shutil
from dataclasses import dataclass

from twostage.doctor.check import Check, Group, human_bytes

GROUP = Group("limits")
#: More than Snakemake, the data readers and nccl's sockets need; a common soft limit is 1,024.
_FILES = 1024
_PROCESSES = 512
_SHARED_MEMORY = 1 << 30


@dataclass(frozen=True)
class LimitFacts:
    """Soft limits (None: unlimited), bytes of /dev/shm (None: absent), and cores that this process may use."""

    open_files: int | None
    processes: int | None
    file_bytes: int | None
    locked_bytes: int | None
    shared_memory: int | None
    cores: int


def gather() -> LimitFacts:
    """Read the limits of this process."""

    def soft(kind: int) -> int | None:
        value = resource.getrlimit(kind)[0]
        return None if value == resource.RLIM_INFINITY else value

    try:
        shared_memory = shutil.disk_usage("/dev/shm").total
    except OSError:
        shared_memory = None
    return LimitFacts(
        soft(resource.RLIMIT_NOFILE),
        soft(resource.RLIMIT_NPROC),
        soft(resource.RLIMIT_FSIZE),
        soft(resource.RLIMIT_MEMLOCK),
        shared_memory,
        len(os.sched_getaffinity(0)),
    )


def judge(facts: LimitFacts, machine: str, *, largest_file: int | None = None) -> list[Check]:
    """Return the checks for a "cpu" or "cuda" machine; `largest_file`: bytes of the largest file that the study writes."""
    checks = [
        GROUP.ok("cores", str(facts.cores)),
        _at_least("open files", facts.open_files, _FILES, "ulimit -n 4096"),
        _at_least("processes", facts.processes, _PROCESSES, "ulimit -u 4096, or ask the site"),
        _file_size(facts.file_bytes, largest_file),
    ]
    if machine == "cuda":
        checks += [_locked(facts.locked_bytes), _shared(facts.shared_memory)]
    return checks


def _at_least(name: str, found: int | None, wanted: int, fix: str) -> Check:
    if found is None:
        return GROUP.ok(name, "unlimited")
    if found < wanted:
        return GROUP.warn(name, f"{found}, below {wanted}", fix)
    return GROUP.ok(name, str(found))


def _file_size(found: int | None, largest: int | None) -> Check:
    if found is None:
        return GROUP.ok("file size", "unlimited")
    text, fix = f"at most {human_bytes(found)}", "ulimit -f unlimited"
    if largest is not None and found < largest:
        need = f"{text}, but the largest checkpoint has {human_bytes(largest)}"
        return GROUP.missing("file size", need, fix)
    return GROUP.warn("file size", text, fix)


def _locked(found: int | None) -> Check:
    if found is None:
        return GROUP.ok("locked memory", "unlimited")
    fix = "InfiniBand needs `ulimit -l unlimited` on the nodes (Slurm: PropagateResourceLimitsExcept=MEMLOCK)"
    return GROUP.warn("locked memory", human_bytes(found), fix)


def _shared(found: int | None) -> Check:
    if found is None or found < _SHARED_MEMORY:
        text = "no /dev/shm" if found is None else f"/dev/shm of {human_bytes(found)}"
        fix = "nccl uses it between GPUs of one node: make it larger (containers: --shm-size=8g, --ipc=host)"
        return GROUP.warn("shared memory", text, fix)
    return GROUP.ok("shared memory", f"/dev/shm of {human_bytes(found)}")
