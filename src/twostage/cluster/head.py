"""One Snakemake head per study: its lock, and what an earlier head that died has left in the queue.

The lock is a lease (see `lease.py`) in the study's rolling folder, so a head that was killed leaves nothing to clean
up. It records the head's run id, which is the name of all its Slurm jobs: the next head cancels those that still wait
(they have done nothing, or have saved their state) and waits for those that run.
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
        f"study {study}: another snakemake already drives it, process {owner.get('pid')} on {owner.get('host')}. "
        "Two of them would submit the same jobs. Let it go on, or stop it there first: `kill` (SIGTERM) lets its running "
        "jobs finish, Ctrl-C cancels them; both lose nothing. If that machine is gone, wait two minutes and start again"
    )


class Head:
    """The lock of one study's head.

    Args:
        folder: where the lock lives, on storage that all login nodes share.
        study: name, for messages.
        say: called with one line of text when there is something to tell.
    """

    def __init__(self, folder: str | Path, study: str, say: Callable[[str], None]) -> None:
        self.folder, self.study, self._say = Path(folder), study, say
        self._lease = Lease(self.folder / "lease", on_wait=self._refuse)

    def claim(self) -> None:
        """Take the lock.

        Raises:
            UserError: another head lives; says which, and what to do.
        """
        held = list((self.folder / "lease").glob("lease-*.json"))
        if held:
            self._say(
                f"study {self.study}: a lock is there; looking whether its owner lives (up to two minutes)"
            )
        self._lease.__enter__()

    def _refuse(self, owner: dict[str, Any]) -> None:
        raise UserError(_explain(self.study, owner))

    def release(self) -> None:
        """Give the lock back; all of this head's jobs have ended."""
        self._lease.__exit__()
        (self.folder / RUNS_FILE).unlink(missing_ok=True)

    def earlier_runs(self) -> list[str]:
        """Return the run ids of heads that died, oldest first."""
        file = self.folder / RUNS_FILE
        return list(json.loads(file.read_text())) if file.is_file() else []

    def record(self, run_id: str) -> None:
        """Add this head's run id to those that may have jobs in the queue."""
        write_atomic(self.folder / RUNS_FILE, canonical_json([*self.earlier_runs(), run_id]))

    def settle_earlier_runs(self, poll_s: float = 20.0) -> bool:
        """Cancel what dead heads have waiting in the queue, wait for what runs; tell whether there was anything.

        Raises:
            UserError: squeue does not answer.
        """
        found = False
        told: list[str] = []
        runs = self.earlier_runs()
        while runs:
            waiting, running = _jobs(runs)
            if waiting:
                # In the queue they would start later, beside this run's own jobs for the same outputs.
                subprocess.run(["scancel", "--state=PENDING", *waiting], check=False)
            found = found or bool(waiting or running)
            if not running:
                # Only now: a job that went back to the queue meanwhile is in the next look.
                if not waiting:
                    break
            elif running != told:
                told = running
                self._say(
                    f"study {self.study}: waiting for {len(running)} jobs of an earlier snakemake that was killed: "
                    f"{' '.join(running)}. Nothing is trained twice; to stop them instead: scancel {' '.join(running)}"
                )
            time.sleep(poll_s)
        (self.folder / RUNS_FILE).unlink(missing_ok=True)
        return found


def _jobs(runs: list[str]) -> tuple[list[str], list[str]]:
    """Return the ids of waiting and of running jobs of these runs."""
    done = subprocess.run(
        ["squeue", "-h", "-o", "%A %t", "--name", ",".join(runs)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError(
            f"squeue does not answer: {done.stderr.strip()}; run snakemake where Slurm's commands work"
        )
    jobs = [line.split() for line in done.stdout.splitlines()]
    return [job for job, state in jobs if state == "PD"], [job for job, state in jobs if state != "PD"]


def restart_command() -> list[str]:
    """Return the command line of this very process, to plan anew from what is on disk now."""
    return Path("/proc/self/cmdline").read_bytes().decode().removesuffix("\0").split("\0")


def restart() -> None:
    """Replace this process by a fresh start of itself."""
    command = restart_command()
    os.execvp(command[0], command)


def stop_alarms(scheduler: Any) -> None:
    """Take Snakemake's default limit of 100 jobs a second away from its scheduler; one that somebody sets stays.

    With a limit, every look at the queue arms a timer that brings the next look, so that each job that ends adds one
    look a second until the end of the run (Snakemake 9.27; `benchmarks/head.py`).
    """
    limit = scheduler.job_rate_limiter
    if limit is not None and (limit.max_jobs, limit.timespan) == (100, 1):
        scheduler.job_rate_limiter = None
