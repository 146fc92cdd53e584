"""The lock that allows one Snakemake process (head) per study, and the jobs that a killed head has left in the queue.

The lock is a lease (see `lease.py`) in the study's rolling folder, so nothing has to be cleaned up after a head is killed. The
run id of the head is recorded next to it; all Slurm jobs of a head have its run id as name. The next head cancels jobs that are
pending (they have not started, or have saved their state) and waits for those that are running.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twostage.cluster.lease import Lease
from twostage.common.errors import UserError
from twostage.common.storage import canonical_json, write_atomic

RUNS_FILE = "runs.json"


def _explain(study: str, owner: dict[str, Any]) -> str:
    return (
        f"study {study}: another snakemake is running it, process {owner.get('pid')} on {owner.get('host')}. Let it "
        "continue, or stop it first: `kill` (SIGTERM) lets its running jobs finish, Ctrl-C cancels them; no progress is lost "
        "in either case. If that machine is down, wait two minutes and start again"
    )


class Head:
    """The lock of a study's head.

    Args:
        folder: folder of the lock, on storage that all login nodes share.
        study: name of the study, for messages.
        report: called with each message to the user, one line of text.
    """

    def __init__(self, folder: str | Path, study: str, report: Callable[[str], None]) -> None:
        self.folder, self.study, self._report = Path(folder), study, report
        self._lease = Lease(self.folder / "lease", on_wait=self._refuse)

    def claim(self) -> None:
        """Take the lock.

        Raises:
            UserError: another head is running; the message has its host and process, and what to do.
        """
        if any((self.folder / "lease").glob("lease-*.json")):
            self._report(
                f"study {self.study}: is locked; checking whether the owner of the lock is running (up to two minutes)"
            )
        self._lease.__enter__()

    def _refuse(self, owner: dict[str, Any]) -> None:
        raise UserError(_explain(self.study, owner))

    def release(self) -> None:
        """Release the lock. All jobs of this head must have ended."""
        self._lease.__exit__()
        (self.folder / RUNS_FILE).unlink(missing_ok=True)

    def earlier_runs(self) -> list[str]:
        """Return the run ids of heads that were killed, oldest first."""
        file = self.folder / RUNS_FILE
        return list(json.loads(file.read_text())) if file.is_file() else []

    def record(self, run_id: str) -> None:
        """Add this head's run id to the recorded ones."""
        write_atomic(self.folder / RUNS_FILE, canonical_json([*self.earlier_runs(), run_id]))

    def settle_earlier_runs(self, poll_s: float = 20.0) -> bool:
        """Cancel pending jobs of killed heads and wait for their running jobs; return whether there were any.

        Raises:
            UserError: squeue fails.
        """
        found = False
        reported: list[str] = []
        runs = self.earlier_runs()
        while runs:
            waiting, running = _jobs(runs)
            if waiting:
                # They would start later, together with this head's jobs for the same outputs.
                subprocess.run(["scancel", "--state=PENDING", *waiting], check=False)
            found = found or bool(waiting or running)
            if not running:
                # If jobs were pending, query once more: one may have been requeued meanwhile.
                if not waiting:
                    break
            elif running != reported:
                reported = running
                self._report(
                    f"study {self.study}: waiting for {len(running)} jobs of an earlier snakemake that was killed: "
                    f"{' '.join(running)}. Their results are used; to stop them instead: scancel {' '.join(running)}"
                )
            time.sleep(poll_s)
        (self.folder / RUNS_FILE).unlink(missing_ok=True)
        return found


def _jobs(runs: list[str]) -> tuple[list[str], list[str]]:
    """Return the ids of the pending and of the running jobs of these runs."""
    done = subprocess.run(
        ["squeue", "-h", "-o", "%A %t", "--name", ",".join(runs)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError(
            f"squeue failed: {done.stderr.strip()}; run snakemake on a machine where Slurm's commands work"
        )
    jobs = [line.split() for line in done.stdout.splitlines()]
    return [job for job, state in jobs if state == "PD"], [job for job, state in jobs if state != "PD"]


def restart_command() -> list[str]:
    """Return the command line of this process."""
    return Path("/proc/self/cmdline").read_bytes().decode().removesuffix("\0").split("\0")


def restart() -> None:
    """Replace this process by a new one with the same command line, which plans from the files that exist now."""
    command = restart_command()
    os.execvp(command[0], command)


def remove_rate_limit(scheduler: Any) -> None:
    """Remove the default limit of 100 jobs per second from Snakemake's scheduler. Other limits are kept.

    With a limit, every check of the queue starts a timer for another check. Each finished job therefore adds one check per
    second until the end of the run (Snakemake 9.27; `benchmarks/head.py`).
    """
    limit = scheduler.job_rate_limiter
    if limit is not None and (limit.max_jobs, limit.timespan) == (100, 1):
        scheduler.job_rate_limiter = None
