"""The command `twostage`: everything that is not a file in the workflow.

Every subcommand is a module with `add_parser(subparsers)` and `run(args) -> int`. Slow imports, and those of an extra,
are inside `run`. A user's mistake is one line on stderr and exit code 2; any other error keeps its traceback.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from twostage import __version__
from twostage.common.extras import missing_extras_named
from twostage.common.scripting import EXIT_BAD_INPUT

# In the order of `twostage --help`.
COMMANDS = (
    "new",
    "pin",
    "plan",
    "status",
    "figures",
    "archive",
    "doctor",
    "fit",
    "compare",
    "predict",
    "advise",
    "export",
    "import_hf",
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands; `args.run` is the chosen one's function."""
    parser = argparse.ArgumentParser(
        prog="twostage", description="How much is a pretrained base model worth, once you train it again?"
    )
    parser.add_argument("--version", action="version", version=f"twostage {__version__}")
    subparsers = parser.add_subparsers(metavar="command", required=True)
    for name in COMMANDS:
        import_module(f"twostage.cli.{name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (0 fine, 2 bad input; `doctor`: 1 not ready).

    `argv` without the program name; None takes the process's own.
    """
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as stop:  # argparse has printed its message (or help)
        return stop.code if isinstance(stop.code, int) else EXIT_BAD_INPUT
    try:
        with missing_extras_named():
            return int(args.run(args))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"twostage: error: {error}\n")
        return EXIT_BAD_INPUT
