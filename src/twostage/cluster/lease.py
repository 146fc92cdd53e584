"""One owner per rolling folder: a duplicate of a running job waits for it, and a dead owner is replaced.

A lease is a file `lease-<generation>.json` in the folder, made with O_EXCL, whose modification time is its heartbeat.
Taking over a dead lease means making the next generation, which only one process can do; an owner that was wrongly
thought dead sees the higher generation and stops. Liveness is judged by watching the heartbeat on the watcher's own
clock, so the clocks of two nodes need not agree.
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
#: A heartbeat unchanged for this long is dead (unless its process is seen to be alive or dead on this machine).
STALE_S = 120.0


class LeaseLostError(RuntimeError):
    """Another process has taken over: this one was thought dead and must write nothing more."""


class Lease:
    """Exclusive ownership of a folder; use as a context manager.

    Args:
        folder: the folder to own; created if missing.
        on_wait: called once with the owner's description if somebody else holds the lease.
        poll_s, heartbeat_s, stale_s: timing, seconds.
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
            # Older generations belong to the dead, a newer one to whoever took this job over. This one goes last, or a
            # waiter could see a dead one as the newest.
            for path in sorted(self.folder.glob("lease-*.json"), key=_generation):
                if _generation(path) <= self._generation:
                    path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise `LeaseLostError` where this process is no longer the owner; call before every durable write."""
        generation, path = self._newest()
        if path is None or generation != self._generation or _read(path).get("nonce") != self._nonce:
            raise LeaseLostError(
                f"{self.folder}: another process took this job over; stopping without writing"
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
            # A hard link is made complete or not at all, also on NFS, where O_EXCL was long unreliable.
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
            return False  # just released; the next look decides
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
            # After a takeover the name may be in use again, by somebody whose heart must beat by itself.
            if self._path is None or _read(self._path).get("nonce") != self._nonce:
                return
            with contextlib.suppress(FileNotFoundError):
                os.utime(self._path)


def live_owner(folder: str | Path) -> dict[str, Any] | None:
    """Return who holds a folder's lease, at a glance and for display only; None where nobody does.

    On this machine the process itself is looked up. Elsewhere a heartbeat younger than `STALE_S` counts, by this
    machine's clock: good enough to show, never to take a job over by.
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
    """Return when a process of this machine started, in kernel ticks; None where there is none (a reused pid differs)."""
    try:
        # The second field, the command's name, may hold spaces and brackets; what follows the last one is regular.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else fields[19]
