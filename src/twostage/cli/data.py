"""`twostage data [NAME]`: the losses measured by others that the package holds, as CSV."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twostage.measured.bundled import DataSet


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "data",
        help="list or write the measured losses that the package holds",
        description="Without a name, list the tables of losses that others measured, with origin, licence and citation. "
        "With a name, write that table as CSV; `twostage fit` and a study's `cells_table` read it.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="a data set; default: list all")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the CSV here; default: standard output"
    )
    parser.add_argument(
        "--sources", action="store_true", help="print origin, licence, columns and changes instead of the CSV"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List the data sets, describe one, or write one."""
    from twostage.common.storage import write_atomic
    from twostage.measured.bundled import data_set, data_sets

    if args.name is None:
        if args.out or args.sources:
            raise ValueError(
                f"NAME: --out and --sources need a data set; choose from {', '.join(data_sets())}"
            )
        sys.stdout.write("\n".join(_summary(one) for one in data_sets().values()))
        return 0
    chosen = data_set(args.name)
    if args.sources:
        sys.stdout.write(_summary(chosen) + _details(chosen))
    elif args.out:
        write_atomic(args.out, chosen.text)
        sys.stdout.write(f"Written: {args.out} ({_rows(chosen)} rows). Please cite: {chosen.citation}\n")
    else:
        sys.stdout.write(chosen.text)
    return 0


def _rows(data: DataSet) -> int:
    return data.text.count("\n") - 1


def _summary(data: DataSet) -> str:
    return f"{data.name}: {data.title} ({_rows(data)} rows)\n  licence: {data.licence}\n  cite: {data.citation}\n"


def _details(data: DataSet) -> str:
    columns = "".join(f"    {name}: {meaning}\n" for name, meaning in data.columns.items())
    return f"  origin: {data.origin}\n  changes: {data.changes}\n  columns:\n{columns}"
