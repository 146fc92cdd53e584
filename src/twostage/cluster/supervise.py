"""Run one job's command and decide, from its exit code, what the cluster should do with the job next.

Stopped by SIGTERM with its state saved: back into the queue under the same job id, where there is a Slurm. Bad input:
a marker beside the log, at which `rules/cluster.smk` submits no further attempt. Anything else is a real error and left
to Snakemake's `retries`. The command writes to the log; this module adds a line when it acts, and keeps the logs of
earlier starts in `<log>.earlier`.
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

#: What `twostage.training.loop` exits with after SIGTERM, once its state is saved (128 + 15).
EXIT_STOPPED = 143
#: What the trainer says then; a process that SIGTERM ended before it could save has the same code, not these words.
SAVED = "the state is saved"
#: How the supervisor's own lines in a job's log begin, and how the one about another start ends.
REMARK, REQUEUED = "twostage: ", "goes back to the queue"
#: How long Slurm may take to end a job that has gone back to the queue, seconds.
REQUEUE_PATIENCE_S = 600.0


def bad_input_marker(log: str | Path) -> Path:
    """Return the file that says: this job failed by its input, trying again is pointless."""
    return Path(f"{log}.bad-input")


def supervise(command: Sequence[str], log: Path) -> int:
    """Run `command` with its output in `log`; return the exit code for Snakemake.

    A SIGTERM (Slurm sends it to every process of a step) or Ctrl-C is the command's affair; this process outlives it.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which the command would inherit
    bad_input_marker(log).unlink(missing_ok=True)
    job = os.environ.get("SLURM_JOB_ID")
    with _open_log(log, job) as stream:
        code = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
        # A process that died of a signal, as a shell would tell it.
        code = 128 - code if code < 0 else code
        if code == EXIT_BAD_INPUT:
            bad_input_marker(log).touch()
            stream.write(f"{REMARK}bad input; this job is not tried again\n")
        elif code == EXIT_STOPPED and job and shutil.which("scontrol") is None:
            stream.write(f"{REMARK}no scontrol here (a container?), so one of Snakemake's retries goes on\n")
        elif code == EXIT_STOPPED and job and _has_saved(log) and _is_running(job):
            stream.write(f"{REMARK}stopped in time; job {job} {REQUEUED}\n")
            stream.flush()
            _requeue(job)
        elif code == 0:
            _second_name(log).unlink(missing_ok=True)
    return code


def earlier_log(log: str | Path) -> Path:
    """Return the file that keeps the logs of a job's earlier starts, which Snakemake removes with each new one."""
    return Path(f"{log}.earlier")


def _open_log(log: Path, job: str | None) -> TextIO:
    """Open the log of a new start; what earlier ones of the same job have written is kept beside it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _second_name(log)
    if unfinished.exists():
        with earlier_log(log).open("a") as kept:
            kept.write(unfinished.read_text(errors="replace"))
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
    # Snakemake knows only the first name; this one is there until the job has succeeded.
    return log.with_name(f".{log.name}.unfinished")


def _has_saved(log: Path) -> bool:
    return SAVED in log.read_text(errors="replace")


def _is_running(job: str) -> bool:
    """Tell whether this job is Slurm's to go on with; not one that somebody cancelled, or that is requeued already."""
    state = subprocess.run(
        ["squeue", "-h", "-j", job, "-o", "%T"], capture_output=True, text=True, check=False
    )
    return state.stdout.strip() == "RUNNING"


def _requeue(job: str) -> None:
    """Put this very job back into the queue and wait to be ended; return where Slurm will not have it."""
    if subprocess.run(["scontrol", "requeue", job], capture_output=True, check=False).returncode == 0:
        time.sleep(REQUEUE_PATIENCE_S)
