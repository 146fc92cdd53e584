"""The command `twostage`, for everything that is not an output file of the workflow.

Each subcommand is a module with `add_parser(subparsers)` and `run(args) -> int`. Modules that are slow to import, or that
need an extra, are imported inside `run`. User errors are printed as one message with exit code 2; other errors keep their
traceback.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from twostage import __version__
from twostage.common.extras import missing_extras_named
from twostage.common.scripting import EXIT_BAD_INPUT, disk_full, is_disk_full

# In the order of `twostage --help`.
COMMANDS = (
    "new",
    "pin",
    "plan",
    "status",
    "figures",
    "archive",
    "data",
    "doctor",
    "fit",
    "compare",
    "predict",
    "advise",
    "worth",
    "export",
    "import_hf",
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands; `args.run` is the function of the chosen one."""
    parser = argparse.ArgumentParser(
        prog="twostage",
        description="Measure when a pretrained language model is worth training again, and fit scaling laws to losses.",
    )
    parser.add_argument("--version", action="version", version=f"twostage {__version__}")
    subparsers = parser.add_subparsers(metavar="command", required=True)
    for name in COMMANDS:
        import_module(f"twostage.cli.{name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (0: success, 2: invalid input; for `doctor`, 1: not ready).

    `argv`: arguments without the program name; default: `sys.argv[1:]`.
    """
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as stop:  # argparse has printed its message (or help)
        return stop.code if isinstance(stop.code, int) else EXIT_BAD_INPUT
    try:
        with missing_extras_named():
            return int(args.run(args))
    except (ValueError, OSError) as error:
        message = disk_full(error) if isinstance(error, OSError) and is_disk_full(error) else error
        sys.stderr.write(f"twostage: error: {message}\n")
        return EXIT_BAD_INPUT
