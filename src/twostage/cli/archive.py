"""`twostage archive STUDY.yaml --out DIR`: what a study measured, small enough for git, and enough to redraw it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "archive",
        help="keep what a study measured, in a folder small enough for git",
        description="Copy a study's tables, fits and figures, the records of its jobs, and a manifest of where they come from. "
        "A study with `cells_table` redraws everything from such a folder.",
    )
    parser.add_argument("study", metavar="STUDY.yaml", help="the study; of its parts, whatever is there")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        help="folder that holds <study>/ (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Archive, and say how much of the study it holds."""
    from twostage.planning.archive import archive_study

    manifest = archive_study(args.study, args.out, args.results)
    jobs = manifest["training_jobs"]
    sys.stdout.write(
        f"Written: {args.out} ({len(manifest['files'])} files; {jobs['measured']} of {jobs['planned']} training jobs measured, "
        f"{manifest['training_core_hours']:g} core-hours)\n"
    )
    return 0
