"""`twostage pin STUDY.yaml`: look up the commit of every `revision: PIN_ME` and write it into the study."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "pin",
        help="fix the revisions of a study's Hugging Face repositories",
        description=(
            "Ask the Hugging Face Hub for the newest commit of every repository whose revision is PIN_ME, and write "
            "it into the study. Nothing else in the file changes; nothing is downloaded."
        ),
    )
    parser.add_argument("study", type=Path, metavar="STUDY.yaml")
    parser.add_argument("--dry-run", action="store_true", help="show the commits, leave the file as it is")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look up, write, print."""
    from rich.console import Console
    from rich.table import Table

    from twostage.pinning import find_unpinned, resolve, write_commits
    from twostage.storage import write_atomic
    from twostage.study import load_study

    load_study(args.study)
    console = Console()
    # Bytes: reading as text would change the file's line ends.
    text = args.study.read_bytes().decode("utf-8")
    places = find_unpinned(text)
    if not places:
        console.print(f"{args.study}: nothing to pin: no revision is PIN_ME", highlight=False, soft_wrap=True)
        return 0
    commits = [resolve(place) for place in places]
    pinned = write_commits(text, places, commits)
    if not args.dry_run:
        write_atomic(args.study.resolve(), pinned)  # through a link, not over it
    table = Table(title=f"Revisions of {args.study}", title_justify="left")
    for heading in ("key", "repository", "commit"):
        table.add_column(heading, overflow="fold")
    for place, commit in zip(places, commits, strict=True):
        table.add_row(place.key, f"{place.kind} {place.repository}", commit)
    console.print(table)
    if args.dry_run:
        console.print("Dry run: the study is unchanged.")
    return 0
