"""The live view of a run as a rich renderable: progress bar, jobs per rule, table of running jobs.

`render` depends only on the state and the time; `LogHandler` displays the result.
"""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .plain import duration, time_left
from .state import Job, Run, short_count


def render(run: Run, now: float, *, max_jobs: int = 20) -> Group:
    """Return the view of a run at time `now`, with at most `max_jobs` running jobs in the table."""
    parts: list[RenderableType] = [_head(run, now), _rules(run)]
    if run.running:
        parts.append(_jobs(run, now, max_jobs))
    return Group(*parts)


def _head(run: Run, now: float) -> Table:
    title = Text("twostage", style="bold")
    if run.study:
        title.append(f" {run.study}", style="bold cyan")
    count = Text(f"{run.done}/{run.total} jobs")
    if run.failed:
        count.append(f"  {run.failed} failed", style="bold red")
    times = Text(duration(now - run.started), style="dim")
    # After a failure Snakemake starts no new jobs without --keep-going.
    if not run.failed or run.keeps_going:
        times.append(f"  left {time_left(run, now)}", style="not dim")
    grid = Table.grid(padding=(0, 2), expand=True)
    for ratio in (None, 1, None, None):
        grid.add_column(ratio=ratio, no_wrap=True)
    grid.add_row(title, ProgressBar(total=max(run.total, 1), completed=run.done), count, times)
    return grid


def _rules(run: Run) -> Text:
    """Return the counts per rule: finished rules in green, rules with running jobs in bold, others dimmed."""
    active = {job.rule for job in run.running.values()}
    text = Text(overflow="fold")
    for rule, planned in run.planned.items():
        done = run.finished[rule]
        style = "green" if done >= planned else "bold" if rule in active else "dim"
        # A non-breaking space keeps a rule and its count on one line.
        text.append(f"{rule}\N{NO-BREAK SPACE}{done}/{planned}", style=style).append("  ")
    text.rstrip()
    return text


def _jobs(run: Run, now: float, max_jobs: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), expand=True, header_style="dim", pad_edge=False)
    # On a cluster, Snakemake does not know whether a submitted job is still in the queue.
    table.add_column("submitted" if run.remote else "running", ratio=1, overflow="fold")
    for name in ("step", "loss", "tokens/s", "elapsed", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    shown = list(run.running.values())[:max_jobs]
    for job in shown:
        table.add_row(
            Text(job.rule, style="bold").append(f" {job.label}", style="not bold"), *_cells(run, job, now)
        )
    if len(run.running) > len(shown):
        table.add_row(Text(f"and {len(run.running) - len(shown)} more", style="dim"))
    return table


def _cells(run: Run, job: Job, now: float) -> tuple[str, ...]:
    step = loss = rate = ""
    if job.progress is not None:
        step = f"{job.progress.step}/{job.progress.steps}"
        loss = "" if job.progress.loss_nats is None else f"{job.progress.loss_nats:.4f}"
        rate = "" if job.progress.tokens_per_s is None else short_count(job.progress.tokens_per_s)
    return step, loss, rate, duration(now - job.started), duration(run.job_left(job, now))
