"""`twostage status STUDY.yaml[:part]`: show which cells and jobs are done, outdated, running, failed or missing."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from twostage.planning.status import StudyStatus

_COLOURS = {"done": "green", "outdated": "yellow", "running": "cyan", "failed": "red", "missing": "dim"}


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "status",
        help="show which cells and jobs of a study are done, outdated, running, failed or missing",
        description="Show the state of every cell and job, from the files in results/ and rolling/ of the working directory.",
    )
    parser.add_argument(
        "study", metavar="STUDY.yaml[:part]", help="a study, or a named subset of it (or :full)"
    )
    parser.add_argument("--cells", action="store_true", help="list every cell")
    parser.add_argument("--jobs", action="store_true", help="list every job")
    parser.add_argument(
        "--state", choices=tuple(_COLOURS), help="with --cells or --jobs: list only those in this state"
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON (every cell and job) instead of tables"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the status."""
    from twostage.catalogue.lookup import load_checked
    from twostage.planning.status import study_status

    if args.state and not (args.cells or args.jobs):
        raise ValueError("--state: needs --cells or --jobs; add one of them")
    status = study_status(load_checked(args.study))
    if args.json:
        from twostage.laws.jsonio import dumps

        print(dumps(_record(status)))
        return 0
    from twostage.cli.console import make_console

    _show(make_console(), status, args)
    return 0


def _record(status: StudyStatus) -> dict[str, Any]:
    return {
        "study": status.study,
        "cells": [asdict(cell) for cell in status.cells],
        "jobs": [asdict(job) for job in status.jobs],
        "totals": {kind: dict(sum(status.count(kind).values(), Counter())) for kind in ("cells", "jobs")},
    }


def _show(console: Console, status: StudyStatus, args: argparse.Namespace) -> None:
    from rich.markup import escape

    _summary(console, status)
    _outdated(console, status)
    for job in status.jobs:
        if job.state == "running" and not args.jobs:
            console.print(f"[cyan]running[/cyan] {escape(job.output)}: {escape(job.detail)}", highlight=False)
        if job.state == "failed" and not args.jobs:
            console.print(f"[red]failed[/red] {escape(job.output)}: {escape(job.detail)}", highlight=False)
            console.print(f"       log: {escape(job.log)}", highlight=False, soft_wrap=True)
    lists: list[tuple[str, str, str]] = []
    if args.cells:
        lists += [(cell.state, cell.path, cell.detail) for cell in status.cells]
    if args.jobs:
        lists += [(job.state, job.output, job.detail) for job in status.jobs]
    for state, path, detail in lists:
        if args.state in (None, state):
            colour = _COLOURS[state]
            note = f"  {escape(detail)}" if detail else ""
            console.print(
                f"[{colour}]{state:8}[/{colour}]{escape(path)}{note}", highlight=False, soft_wrap=True
            )


def _outdated(console: Console, status: StudyStatus) -> None:
    """Print how many jobs are outdated for which reason, and the checkpoints whose files were deleted."""
    from rich.markup import escape

    reasons = Counter(job.detail for job in status.jobs if job.state == "outdated")
    for reason, count in reasons.most_common():
        console.print(f"[yellow]outdated[/yellow] {count:,} jobs: {escape(reason)}", highlight=False)
    deleted = [job for job in status.jobs if job.detail.startswith("deleted: ")]
    if deleted:
        console.print(
            f"[yellow]deleted[/yellow] files of {len(deleted):,} checkpoints, e.g. {escape(deleted[0].output)}: jobs that are not "
            "done yet may need them",
            highlight=False,
        )


def _summary(console: Console, status: StudyStatus) -> None:
    from rich.table import Table

    from twostage.planning.status import STATES

    table = Table(title=f"Study {status.study}", title_justify="left", title_style="bold")
    table.add_column("method", no_wrap=True)
    table.add_column("base model", no_wrap=True)
    for kind in ("cells", "jobs"):
        for state in STATES:
            table.add_column(f"{kind}\n{state}", justify="right")
    cells, jobs = status.count("cells"), status.count("jobs")
    for method, model in jobs:
        counts = [cells.get((method, model), Counter()), jobs[method, model]]
        table.add_row(method, model, *(_shown(count[state]) for count in counts for state in STATES))
    table.add_section()
    totals = [sum(counts.values(), Counter()) for counts in (cells, jobs)]
    table.add_row("all", "", *(_shown(total[state]) for total in totals for state in STATES))
    console.print(table)


def _shown(count: int) -> str:
    return f"{count:,}" if count else "·"
