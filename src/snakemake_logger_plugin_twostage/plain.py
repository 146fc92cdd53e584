"""Text lines about a run, for output that is not a terminal and for errors everywhere; no rich, no state, no output."""

from __future__ import annotations

from collections.abc import Sequence

from . import logs
from .state import Job, Run, short_count


def duration(seconds: float | None) -> str:
    """Format seconds as 0:07, 12:34, 3:21:00 or 2d 04:00; None as '…'."""
    if seconds is None:
        return "…"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24}d {hours % 24:02d}:{minutes:02d}"
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def time_left(run: Run, now: float) -> str:
    """Format the estimated time left: '~ 3:20', '≥ 3:20' (lower bound: some rules have not run yet), '…' (unknown).

    After a failure it is always '~', because the jobs that depend on the failed job will not run.
    """
    seconds, complete = run.run_left(now)
    return "…" if seconds is None else f"{'~' if complete or run.failed else '≥'} {duration(seconds)}"


def start_line(run: Run) -> str:
    """Return the line with the study and the number of jobs of each rule."""
    study = f" study {run.study}:" if run.study else ""
    rules = ", ".join(f"{count} {rule}" for rule, count in run.planned.items())
    return f"twostage:{study} {run.total} job{'s' if run.total != 1 else ''} to run ({rules})"


def finished_line(run: Run, job: Job | None, now: float) -> str:
    """Return the line of a finished job: count, name, last loss, duration."""
    if job is None:
        return f"[{run.done}/{run.total}]"
    parts = [f"[{run.done}/{run.total}] {job.name}"]
    if job.progress is not None and job.progress.loss_nats is not None:
        parts.append(f"loss {job.progress.loss_nats:.4f}")
    if job.progress is not None and job.progress.tokens_per_s is not None:
        parts.append(f"{short_count(job.progress.tokens_per_s)} tokens/s")
    return "  ".join([*parts, duration(now - job.started)])


def end_line(run: Run, now: float, snakemake_log: str | None = None) -> str:
    """Return the line that says how the run ended."""
    if run.done >= run.total:
        return f"twostage: finished {run.done} of {run.total} jobs in {duration(now - run.started)}"
    failed = f", {run.failed} failed" if run.failed else ""
    where = f"; complete log: {snakemake_log}" if snakemake_log else ""
    return (
        f"twostage: stopped after {run.done} of {run.total} jobs{failed}, {duration(now - run.started)}{where}\n"
        "twostage: finished jobs are kept; run the same command again to continue"
    )


def log_tail(paths: Sequence[str], count: int = 20) -> str:
    """Return the last lines of the logs of a failed job, with their paths."""
    blocks = []
    for path in paths:
        lines = logs.last_lines(path, count)
        head = f"last {len(lines)} lines of {path}:" if lines else f"{path} is missing or has no messages"
        blocks.append("\n".join([head, *(f"  | {line}" for line in lines)]))
    return "\n".join(blocks)
