"""Exclusive ownership of a folder: a second process waits for the owner, and takes over if the owner is dead.

A lease is a file `lease-<generation>.json` in the folder. Its modification time is the owner's heartbeat. To take over a dead
lease, a process creates the file of the next generation, which only one process can do. An owner that was wrongly taken for
dead sees the higher generation and stops. A waiting process watches for changes of the heartbeat and measures time with its
own clock, so the clocks of two nodes may differ.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEARTBEAT_S = 10.0
#: An owner on another machine is dead if its heartbeat does not change for this long, seconds.
STALE_S = 120.0


class LeaseLostError(RuntimeError):
    """Another process has taken over the lease, so this one must not write any more."""


class Lease:
    """Exclusive ownership of a folder; use as a context manager.

    Args:
        folder: the folder to own; created if missing.
        on_wait: called once with the owner's record if another process owns the lease.
        poll_s: seconds between checks of another owner.
        heartbeat_s: seconds between heartbeats.
        stale_s: see `STALE_S`.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        on_wait: Callable[[dict[str, Any]], None] = lambda owner: None,
        poll_s: float = 0.5,
        heartbeat_s: float = HEARTBEAT_S,
        stale_s: float = STALE_S,
    ) -> None:
        self.folder = Path(folder)
        self._on_wait = on_wait
        self._poll_s, self._heartbeat_s, self._stale_s = poll_s, heartbeat_s, stale_s
        self._nonce = uuid.uuid4().hex
        self._path: Path | None = None
        self._generation = 0
        self._stop = threading.Event()

    def __enter__(self) -> Lease:
        waited = False
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            generation, holder = self._newest()
            if holder is None or self._is_dead(holder):
                if self._claim(generation + 1):
                    break
            elif not waited:
                waited = True
                self._on_wait(_read(holder))
            time.sleep(self._poll_s)
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._path is not None and _read(self._path).get("nonce") == self._nonce:
            # Lower generations are of dead owners; a higher one is of a process that took over. Delete this one last, so that
            # a waiting process never sees a dead one as the newest.
            for path in sorted(self.folder.glob("lease-*.json"), key=_generation):
                if _generation(path) <= self._generation:
                    path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise `LeaseLostError` if this process is no longer the owner. Call before every write of results."""
        generation, path = self._newest()
        if path is None or generation != self._generation or _read(path).get("nonce") != self._nonce:
            raise LeaseLostError(
                f"{self.folder}: another process has taken over this job; stopping without writing"
            )

    def _newest(self) -> tuple[int, Path | None]:
        leases = sorted(self.folder.glob("lease-*.json"), key=_generation)
        return (_generation(leases[-1]), leases[-1]) if leases else (0, None)

    def _claim(self, generation: int) -> bool:
        path = self.folder / f"lease-{generation}.json"
        owner = {"nonce": self._nonce, **_this_process()}
        temporary = self.folder / f".claim-{self._nonce}"
        temporary.write_text(json.dumps(owner))
        try:
            # A hard link is created atomically, also on NFS, where O_EXCL may not be.
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        self._path, self._generation = path, generation
        return True

    def _is_dead(self, path: Path) -> bool:
        owner = _read(path)
        if not owner:
            return False  # just released; the caller checks again
        here = _this_process()
        if all(owner.get(key) == here[key] for key in ("host", "boot", "pid_namespace")):
            return bool(_start_time(owner["pid"]) != owner["start_time"])
        before = _mtime(path)
        deadline = time.monotonic() + self._stale_s
        while time.monotonic() < deadline:
            time.sleep(self._poll_s)
            if _mtime(path) != before:
                return False
        return True

    def _beat(self) -> None:
        while not self._stop.wait(self._heartbeat_s):
            # After a takeover the file may belong to another process, which sends its own heartbeat.
            if self._path is None or _read(self._path).get("nonce") != self._nonce:
                return
            with contextlib.suppress(FileNotFoundError):
                os.utime(self._path)


def live_owner(folder: str | Path) -> dict[str, Any] | None:
    """Return the record of the process that owns a folder's lease, or None; an estimate for display only.

    A process on this machine is looked up. One on another machine is alive if its heartbeat is younger than `STALE_S` by this
    machine's clock, which may differ, so this must not be used to take over a lease.
    """
    leases = sorted(Path(folder).glob("lease-*.json"), key=_generation)
    owner = _read(leases[-1]) if leases else {}
    if not owner:
        return None
    here = _this_process()
    if all(owner.get(key) == here[key] for key in ("host", "boot", "pid_namespace")):
        return owner if _start_time(owner["pid"]) == owner["start_time"] else None
    beat = _mtime(leases[-1])
    return owner if beat is not None and time.time() - beat / 1e9 < STALE_S else None


def _generation(path: Path) -> int:
    match = re.fullmatch(r"lease-(\d+)\.json", path.name)
    return int(match[1]) if match else 0


def _read(path: Path) -> dict[str, Any]:
    try:
        owner: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return owner


def _mtime(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "pid_namespace": Path("/proc/self/ns/pid").readlink().name,
        "pid": pid,
        "start_time": _start_time(pid),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def _start_time(pid: int) -> str | None:
    """Return the start time of a process of this machine in kernel ticks, which tells apart reuses of a pid; None if not running."""
    try:
        # The second field, the command's name in brackets, may contain spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else fields[19]
