"""`twostage pin STUDY.yaml`: replace every `revision: PIN_ME` of a study by a commit."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "pin",
        help="pin the revisions of a study's Hugging Face repositories",
        description=(
            "Get the newest commit of every repository whose revision is PIN_ME from the Hugging Face Hub, and write it "
            "to the file that contains the key: the study, or a file that it extends. Nothing else is changed or "
            "downloaded."
        ),
    )
    parser.add_argument("study", type=Path, metavar="STUDY.yaml")
    parser.add_argument("--dry-run", action="store_true", help="show the commits without changing the file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look up the commits, write and print them."""
    from rich.table import Table

    from twostage.cli.console import make_console
    from twostage.common.storage import write_atomic
    from twostage.corpora.pinning import find_unpinned, resolve, write_commits
    from twostage.study import load_study, read_layers, study_file

    load_study(args.study)
    console = make_console()
    layers = read_layers(study_file(args.study))
    # Read bytes, because reading text would change the line endings.
    texts = {file: file.read_bytes().decode("utf-8") for file in layers.files}
    places = {
        file: find_unpinned(text, [key for key, origin in layers.origin.items() if origin == file])
        for file, text in texts.items()
    }
    if not any(places.values()):
        console.print(f"{args.study}: nothing to pin: no revision is PIN_ME", highlight=False, soft_wrap=True)
        return 0
    commits = {file: [resolve(place) for place in found] for file, found in places.items() if found}
    pinned = {file: write_commits(texts[file], places[file], found) for file, found in commits.items()}
    if not args.dry_run:
        for file, text in pinned.items():
            write_atomic(file.resolve(), text)  # resolved, so that a link is not replaced
    for file, found in commits.items():
        console.print(f"Revisions of {file}", highlight=False, soft_wrap=True)
        table = Table()
        for heading in ("key", "repository", "commit"):
            table.add_column(heading, overflow="fold")
        for place, commit in zip(places[file], found, strict=True):
            table.add_row(place.key, f"{place.kind} {place.repository}", commit)
        console.print(table)
    if args.dry_run:
        console.print("Dry run: the study is unchanged.")
    return 0
