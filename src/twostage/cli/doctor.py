"""`twostage doctor [STUDY.yaml]`: check whether this machine is ready for a study, with a fix for each problem."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twostage.doctor import Examination

EXIT_NOT_READY = 1
_COLOURS = {"ok": "green", "warn": "yellow", "missing": "red", "not applicable": "dim"}


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "doctor",
        help="check this machine: environment, GPUs, disks, data, Slurm",
        description="Check this machine. The exit code is 1 if something that this kind of machine needs is missing. "
        "On a cluster, run it on a login node and in a GPU job.",
    )
    parser.add_argument(
        "study", type=Path, nargs="?", metavar="STUDY.yaml", help="also check what this study needs"
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="kind of machine to check for; auto: cuda if there are signs of a GPU (default: %(default)s)",
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(),
        help="folder that contains results/, rolling/ and envs/ (default: the current folder)",
    )
    parser.add_argument(
        "--lock",
        type=Path,
        metavar="FILE",
        help="file of exact package versions to compare with (default: envs/cpu.txt or envs/gpu.txt)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the checks and print them."""
    from twostage.catalogue.lookup import load_checked
    from twostage.doctor import examine, failed

    for option, path, exists in (("--root", args.root, Path.is_dir), ("--lock", args.lock, Path.is_file)):
        if path is not None and not exists(path):
            raise ValueError(
                f"{option}: {path} does not exist; in the repository's root the option is not needed"
            )
    study = load_checked(args.study) if args.study else None
    examination = examine(study, device=args.device, root=args.root, lock=args.lock)
    code = EXIT_NOT_READY if failed(examination.checks) else 0
    if args.json:
        lines = [asdict(check) for check in examination.checks]
        print(json.dumps({"machine": examination.machine, "ready": code == 0, "checks": lines}, indent=1))
    else:
        _print_table(examination, ready=code == 0)
    return code


def _print_table(examination: Examination, *, ready: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from twostage.cli.console import make_console

    table = Table(
        title=f"twostage doctor: this machine as a {examination.machine} machine", title_justify="left"
    )
    for heading in ("check", "found", "status", "fix"):
        table.add_column(heading, no_wrap=heading == "status", overflow="fold")
    group = ""
    for check in examination.checks:
        if check.group != group:
            if group:
                table.add_section()
            group = check.group
        # Text, not markup, because messages may contain square brackets.
        status = Text(check.status.value, style=_COLOURS[check.status.value])
        table.add_row(Text(f"{group}: {check.name}"), Text(check.found), status, Text(check.fix))
    console = make_console(piped_width=160)
    console.print(table)
    console.print("Ready." if ready else "Not ready: fix the lines marked missing.", highlight=False)
