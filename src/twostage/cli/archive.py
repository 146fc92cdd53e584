"""`twostage archive STUDY.yaml --out DIR`: copy a study's results to a folder that is small enough for git."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "archive",
        help="copy a study's results to a folder small enough for git",
        description="Copy a study's tables, fits, figures and the records of its jobs, and write a manifest of their origin. "
        "A study with `cells_table` can redraw all figures and tables from this folder.",
    )
    parser.add_argument("study", metavar="STUDY.yaml", help="the study; it may be unfinished")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        help="folder that contains <study>/ (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the archive and print how many training jobs it contains."""
    from twostage.planning.archive import archive_study

    manifest = archive_study(args.study, args.out, args.results)
    jobs = manifest["training_jobs"]
    sys.stdout.write(
        f"Written: {args.out} ({len(manifest['files'])} files; {jobs['measured']} of {jobs['planned']} training jobs measured, "
        f"{manifest['training_core_hours']:g} core-hours)\n"
    )
    return 0
