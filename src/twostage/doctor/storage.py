"""Folders that a study writes to: space against need, write and fsync speed, and what leases rely on (hard links).

The look is a real one: a temporary folder is made, written to, linked in, and removed. The folders themselves are not
created; where they do not exist yet, the nearest existing parent is tried.
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
from twostage.doctor.check import Check, Status, human_bytes
from twostage.training.rolling import RollingState

GROUP = "storage"
#: Bytes per parameter on disk in fp32: weights alone; weights and Adam's two moments.
_WEIGHTS, _TRAINING_STATE = 4, 12
#: A rolling save that takes longer than this stalls training noticeably at the default interval of ten minutes.
_SLOW_SAVE_S = 60.0
_LITTLE_SPACE = 1 << 30
#: Seen by all nodes, as far as a name can tell.
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
    """One folder: filesystem, bytes free and already used, bytes per second with fsync, and what failed first.

    `link_error` is why hard links cannot serve as leases.
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
    """Bytes of all checkpoints of a study, none released: full states of segments, weights of branches."""
    segments, branches = design.jobs()
    return sum(_TRAINING_STATE * _parameters(design, segment.run) for segment in segments) + sum(
        _WEIGHTS * _parameters(design, branch.run) for branch in branches
    )


def rolling_need(design: Design) -> int:
    """Bytes of the rolling state of the largest model's job: the states kept, and the one being written."""
    return (RollingState.KEEP + 1) * largest_state(design)


def largest_state(design: Design) -> int:
    """Bytes of the largest training state of a study."""
    return _TRAINING_STATE * max(_parameters(design, run) for run in design.runs())


def _parameters(design: Design, run: object) -> int:
    architecture = design.architecture(run)  # type: ignore[arg-type]
    return architecture.n_params + architecture.n_embedding_params


# Gathering ------------------------------------------------------------------------------------------------------


def gather(purpose: str, folder: Path, *, write_bytes: int = 64 * _MIB) -> FolderFacts:
    """Write, sync, link and remove below `folder`, or below its nearest existing parent."""
    path = str(folder)
    base = folder.absolute()
    # lexists: a dangling link is something that stands in the way, not an absent folder.
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
    """Bytes of the files below a folder."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # a running job may remove what was listed
                total += (Path(parent) / name).lstat().st_size
    return total


def _write(path: Path, count: int) -> tuple[float | None, str | None]:
    """Write incompressible bytes and fsync; return (bytes per second, None) or (None, what failed)."""
    block = os.urandom(min(count, _MIB))
    start = time.monotonic()
    try:
        with path.open("wb", buffering=0) as stream:
            for _ in range(-(-count // len(block))):
                # An almost full disk takes part of a block, and says so only at the next write.
                if (written := stream.write(block)) != len(block):
                    stream.write(block[written:])
            os.fsync(stream.fileno())
    except OSError as error:
        return None, f"writing {human_bytes(count)} failed: {error.strerror}"
    finally:
        path.unlink(missing_ok=True)
    return count / max(time.monotonic() - start, 1e-9), None


def _link(probe: Path) -> str | None:
    """Try what a lease does: link a complete file to a name once, refuse a second time, and beat its heart."""
    claim, lease = probe / "claim", probe / "lease"
    try:
        claim.touch()
        lease.hardlink_to(claim)
        with contextlib.suppress(FileExistsError):
            lease.hardlink_to(claim)
            return "a second hard link to one name was not refused"
        os.utime(lease, ns=(10**18, 10**18))
        if lease.stat().st_mtime_ns != 10**18:
            return "modification times cannot be set"
    except OSError as error:
        return f"hard links fail: {error.strerror}"
    return None


def filesystem_of(path: Path) -> str:
    """Type of the filesystem that holds a path, as the kernel names it."""
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
    """Verdicts on one folder.

    Args:
        facts: of the folder.
        need: bytes that the folder will hold, where known.
        state: bytes of one save, to judge the speed by.
        leases: jobs hold leases here.
        across_nodes: jobs of several nodes must see this folder.
    """
    name = facts.purpose
    if facts.error:
        fix = f"free space, mend the permissions, or make {facts.path} a link to a folder on a larger disk"
        return [Check(GROUP, name, f"{facts.path}: {facts.error}", Status.MISSING, fix)]
    checks = [_space(facts, need), _speed(facts, state)]
    if leases:
        checks.append(_leases(facts))
    if across_nodes and not facts.filesystem.startswith(_SHARED):
        checks.append(
            Check(
                GROUP,
                f"{name}, seen by all nodes",
                f"{facts.filesystem} is usually local to one node",
                Status.WARN,
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
            f", {human_bytes(facts.used)} there" if facts.used else ""
        )
        if free < missing:
            fix = f"free {human_bytes(missing - free)}, or make {facts.path} a link to a folder on a larger disk"
            return Check(GROUP, name, found, Status.MISSING, fix)
    elif free < _LITTLE_SPACE:
        return Check(GROUP, name, found, Status.WARN, "name a study to learn what it needs; free some space")
    return Check(GROUP, name, found, Status.OK)


def _speed(facts: FolderFacts, state: int | None) -> Check:
    name, speed = f"{facts.purpose}, write and fsync", facts.bytes_per_s or 0.0
    found = f"{human_bytes(speed)} per second"
    if state is not None and speed > 0:
        found += f"; the largest save, {human_bytes(state)}, takes {state / speed:.2g} s"
        if state / speed > _SLOW_SAVE_S:
            fix = "use a faster filesystem, or save less often (resource save_every_s)"
            return Check(GROUP, name, found, Status.WARN, fix)
    return Check(GROUP, name, found, Status.OK)


def _leases(facts: FolderFacts) -> Check:
    name = f"{facts.purpose}, leases"
    if facts.link_error:
        fix = f"put {facts.path} on a filesystem with hard links: without them no training job can take its lease"
        return Check(GROUP, name, facts.link_error, Status.MISSING, fix)
    return Check(GROUP, name, "hard links are exclusive, times can be set", Status.OK)
