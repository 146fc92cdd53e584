"""Runs the command of one job, and requeues the job or prevents retries, depending on the exit code.

- Stopped by SIGTERM after its state was saved: Slurm requeues the job under the same job id.
- Invalid input: a marker file is written next to the log, and `rules/cluster.smk` submits no further attempt.
- Any other error: Snakemake's `retries` apply.

The command writes to the log. This module adds a line for each action, and keeps the logs of earlier starts in `<log>.earlier`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from twostage.common.scripting import EXIT_BAD_INPUT

#: Exit code of a training job that has saved its state after SIGTERM (128 + SIGTERM) and can be started again.
EXIT_STOPPED = 143
#: Part of the log message of such a job. A process that SIGTERM ends before it can save has the same exit code.
SAVED = "the state is saved"
#: Prefix of the supervisor's lines in a job's log, and the end of its line about a requeue.
REMARK, REQUEUED = "twostage: ", "goes back to the queue"
#: How long to wait for Slurm to end a requeued job, seconds.
REQUEUE_PATIENCE_S = 600.0


def bad_input_marker(log: str | Path) -> Path:
    """Return the path of the marker file of a job that failed because of invalid input."""
    return Path(f"{log}.bad-input")


def supervise(command: Sequence[str], log: Path) -> int:
    """Run `command` with its output in `log`; return the exit code for Snakemake.

    SIGTERM (Slurm sends it to every process of a step) and Ctrl-C are handled by the command; this process ignores them.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, because the command would inherit it
    bad_input_marker(log).unlink(missing_ok=True)
    job = os.environ.get("SLURM_JOB_ID")
    with _open_log(log, job) as stream:
        code = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
        # Exit code of a process ended by a signal, as in a shell.
        code = 128 - code if code < 0 else code
        if code == EXIT_BAD_INPUT:
            bad_input_marker(log).touch()
            stream.write(f"{REMARK}invalid input; this job is not retried\n")
        elif code == EXIT_STOPPED and job and shutil.which("scontrol") is None:
            stream.write(
                f"{REMARK}scontrol not found (in a container?); one of Snakemake's retries continues this job\n"
            )
        elif code == EXIT_STOPPED and job and _has_saved(log) and _is_running(job):
            stream.write(f"{REMARK}stopped, state saved; job {job} {REQUEUED}\n")
            stream.flush()
            _requeue(job)
        elif code == 0:
            _second_name(log).unlink(missing_ok=True)
    return code


def earlier_log(log: str | Path) -> Path:
    """Return the path of the logs of a job's earlier starts. Snakemake itself deletes a log at each new start."""
    return Path(f"{log}.earlier")


def _open_log(log: Path, job: str | None) -> TextIO:
    """Open the log of a new start; append the log of the previous start of the same job to `earlier_log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _second_name(log)
    if unfinished.exists():
        with earlier_log(log).open("a") as earlier:
            earlier.write(unfinished.read_text(errors="replace"))
        unfinished.unlink()
    else:
        earlier_log(log).unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    stream = log.open("w")
    unfinished.hardlink_to(log)
    if job:
        stream.write(f"{REMARK}Slurm job {job}\n")
        stream.flush()
    return stream


def _second_name(log: Path) -> Path:
    # A hard link that Snakemake does not know and cannot delete; it exists until the job succeeds.
    return log.with_name(f".{log.name}.unfinished")


def _has_saved(log: Path) -> bool:
    return SAVED in log.read_text(errors="replace")


def _is_running(job: str) -> bool:
    """Return whether the job is running, and not cancelled or already requeued."""
    state = subprocess.run(
        ["squeue", "-h", "-j", job, "-o", "%T"], capture_output=True, text=True, check=False
    )
    return state.stdout.strip() == "RUNNING"


def _requeue(job: str) -> None:
    """Requeue this job and wait until Slurm ends it. Returns if Slurm rejects the request."""
    if subprocess.run(["scontrol", "requeue", job], capture_output=True, check=False).returncode == 0:
        time.sleep(REQUEUE_PATIENCE_S)
