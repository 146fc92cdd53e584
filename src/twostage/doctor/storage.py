"""Check the folders that a study writes to: free space, write and fsync speed, and hard links, which leases need.

The check creates, writes to and removes a temporary folder. If a folder does not exist yet, its nearest existing parent
is checked; the folder itself is not created.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from twostage.design.design import Design
from twostage.design.flops import STATE_BYTES_PER_PARAMETER, WEIGHT_BYTES_PER_PARAMETER, total_parameters
from twostage.design.paths import Run
from twostage.doctor.check import Check, Group, human_bytes
from twostage.training.rolling import RollingState

GROUP = Group("storage")
#: A save of the rolling state that takes longer slows training noticeably at the default interval of ten minutes.
_SLOW_SAVE_S = 60.0
_LITTLE_SPACE = 1 << 30
#: Types of filesystems that all nodes of a cluster usually share.
_SHARED = (
    "nfs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "wekafs",
    "glusterfs",
    "panfs",
    "orangefs",
    "smb",
    "cifs",
    "9p",
)
_MIB = 1 << 20


@dataclass(frozen=True)
class FolderFacts:
    """One folder: filesystem, free and used bytes, bytes per second with fsync, and the first error.

    `link_error` is the reason why leases do not work here.
    """

    purpose: str
    path: str
    filesystem: str = "unknown"
    free: int | None = None
    used: int = 0
    bytes_per_s: float | None = None
    error: str | None = None
    link_error: str | None = None


# Need -----------------------------------------------------------------------------------------------------------


def results_need(design: Design) -> int:
    """Return the bytes of all checkpoints of a study if none is released: training states and weights."""
    segments, branches = design.jobs()
    return sum(STATE_BYTES_PER_PARAMETER * _parameters(design, segment.run) for segment in segments) + sum(
        WEIGHT_BYTES_PER_PARAMETER * _parameters(design, branch.run) for branch in branches
    )


def rolling_need(design: Design) -> int:
    """Return the bytes of one job's rolling states for the largest model: those kept, and one being written."""
    return (RollingState.KEEP + 1) * largest_state(design)


def largest_state(design: Design) -> int:
    """Return the bytes of the largest training state of a study."""
    return STATE_BYTES_PER_PARAMETER * max(_parameters(design, run) for run in design.runs())


def _parameters(design: Design, run: Run) -> int:
    return total_parameters(design.architecture(run))


# Gathering ------------------------------------------------------------------------------------------------------


def gather(purpose: str, folder: Path, *, write_bytes: int = 64 * _MIB) -> FolderFacts:
    """Test writing, fsync and hard links in `folder`, or in its nearest existing parent."""
    path = str(folder)
    base = folder.absolute()
    # lexists, because a dangling link is an error here, not a folder that can be created.
    while not os.path.lexists(base):
        base = base.parent
    if not base.is_dir():
        what = "a dangling link" if base.is_symlink() else "a file"
        return FolderFacts(purpose, path, error=f"{base} is {what}, not a folder")
    filesystem = filesystem_of(base)
    try:
        free = shutil.disk_usage(base).free
        probe = Path(tempfile.mkdtemp(prefix=".twostage-doctor-", dir=base))
    except OSError as error:
        return FolderFacts(purpose, path, filesystem, error=f"not writable: {error.strerror}")
    try:
        speed, failure = _write(probe / "data", write_bytes)
        return FolderFacts(purpose, path, filesystem, free, _used(folder), speed, failure, _link(probe))
    finally:
        shutil.rmtree(probe, ignore_errors=True)


def _used(folder: Path) -> int:
    """Return the bytes of all files in a folder and its subfolders."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # a running job may have removed the file
                total += (Path(parent) / name).lstat().st_size
    return total


def _write(path: Path, count: int) -> tuple[float | None, str | None]:
    """Write random bytes and fsync; return (bytes per second, None) or (None, error)."""
    block = os.urandom(min(count, _MIB))
    start = time.monotonic()
    try:
        with path.open("wb", buffering=0) as stream:
            for _ in range(-(-count // len(block))):
                # An almost full disk writes part of a block; only the next write fails.
                if (written := stream.write(block)) != len(block):
                    stream.write(block[written:])
            os.fsync(stream.fileno())
    except OSError as error:
        return None, f"writing {human_bytes(count)} failed: {error.strerror}"
    finally:
        path.unlink(missing_ok=True)
    return count / max(time.monotonic() - start, 1e-9), None


def _link(probe: Path) -> str | None:
    """Test what a lease needs: exclusive hard links, and setting modification times. Return the error or None."""
    claim, lease = probe / "claim", probe / "lease"
    try:
        claim.touch()
        lease.hardlink_to(claim)
        with contextlib.suppress(FileExistsError):
            lease.hardlink_to(claim)
            return "a second hard link with the same name did not fail"
        os.utime(lease, ns=(10**18, 10**18))
        if lease.stat().st_mtime_ns != 10**18:
            return "modification times cannot be set"
    except OSError as error:
        return f"hard links fail: {error.strerror}"
    return None


def filesystem_of(path: Path) -> str:
    """Return the type of the filesystem that contains a path, as named by the kernel."""
    best, kind = "", "unknown"
    real = f"{path.resolve()}/"
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, name = line.split()[:3]
        mount = mount.encode().decode("unicode_escape").rstrip("/") + "/"
        if real.startswith(mount) and len(mount) >= len(best):
            best, kind = mount, name
    return kind


# Judging --------------------------------------------------------------------------------------------------------


def judge(
    facts: FolderFacts,
    *,
    need: int | None = None,
    state: int | None = None,
    leases: bool = False,
    across_nodes: bool = False,
) -> list[Check]:
    """Return the checks of one folder.

    Args:
        facts: of the folder.
        need: bytes that the folder will contain, if known.
        state: bytes of the largest save, to check the speed.
        leases: whether jobs have leases in this folder.
        across_nodes: whether all nodes must share this folder.
    """
    name = facts.purpose
    if facts.error:
        fix = f"free space, correct the permissions, or make {facts.path} a link to a folder on a larger disk"
        return [GROUP.missing(name, f"{facts.path}: {facts.error}", fix)]
    checks = [_space(facts, need), _speed(facts, state)]
    if leases:
        checks.append(_leases(facts))
    if across_nodes and not facts.filesystem.startswith(_SHARED):
        checks.append(
            GROUP.warn(
                f"{name}, shared by all nodes",
                f"{facts.filesystem} is usually local to one node",
                f"make {facts.path} a link to a folder of the cluster's shared filesystem",
            )
        )
    return checks


def _space(facts: FolderFacts, need: int | None) -> Check:
    free = facts.free or 0
    found = f"{facts.path} ({facts.filesystem}): {human_bytes(free)} free"
    name = f"{facts.purpose}, space"
    if need is not None:
        missing = need - facts.used
        found += f", {human_bytes(need)} needed" + (
            f", {human_bytes(facts.used)} used already" if facts.used else ""
        )
        if free < missing:
            fix = f"free {human_bytes(missing - free)}, or make {facts.path} a link to a folder on a larger disk"
            return GROUP.missing(name, found, fix)
    elif free < _LITTLE_SPACE:
        return GROUP.warn(name, found, "free some space; give a study to see how much it needs")
    return GROUP.ok(name, found)


def _speed(facts: FolderFacts, state: int | None) -> Check:
    name, speed = f"{facts.purpose}, write and fsync", facts.bytes_per_s or 0.0
    found = f"{human_bytes(speed)} per second"
    if state is not None and speed > 0:
        found += f"; the largest save, {human_bytes(state)}, takes {state / speed:.2g} s"
        if state / speed > _SLOW_SAVE_S:
            fix = "use a faster filesystem, or save less often (resource save_every_s)"
            return GROUP.warn(name, found, fix)
    return GROUP.ok(name, found)


def _leases(facts: FolderFacts) -> Check:
    name = f"{facts.purpose}, leases"
    if facts.link_error:
        fix = f"put {facts.path} on a filesystem with hard links: training jobs need them for their leases"
        return GROUP.missing(name, facts.link_error, fix)
    return GROUP.ok(name, "hard links and modification times work")
