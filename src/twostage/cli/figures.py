"""`twostage figures [STUDY.yaml]`: every figure and table, and what it needs, or what the study lacks for it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twostage.study import Study


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "figures",
        help="list the figures and tables of a study, and the reason if one is not drawn",
        description="List every figure and table: drawn, to be drawn, or what the study lacks for it.",
    )
    parser.add_argument(
        "study",
        metavar="STUDY",
        nargs="?",
        help="the study file, or file.yaml:subset; default: list what each figure and table needs",
    )
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of all results (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List and print."""
    from twostage.catalogue.lookup import load_checked

    if args.study is None:
        name, rows = None, requirements()
    else:
        study = load_checked(args.study)
        name, rows = study.name, listing(study, args.results / study.analysis_folder)
    if args.json:
        from twostage.laws.jsonio import dumps

        print(dumps({"study": name, "entries": rows}))
        return 0
    from rich.table import Table

    from twostage.cli.console import make_console

    shown = Table(title=f"Figures and tables of study {name}" if name else "Figures and tables")
    headings = ("name", "shows", "state", "file, or reason") if name else ("name", "shows", "needs")
    for heading in headings:
        shown.add_column(heading, overflow="fold")
    for row in rows:
        last = [row["state"], row["reason"] or row["path"]] if name else [row["needs"]]
        shown.add_row(row["name"], row["shows"], *last)
    make_console().print(shown)
    return 0


def requirements() -> list[dict[str, str]]:
    """Return name, shows and needs (what a study must have) of each entry."""
    from twostage.catalogue.figure_entries import FIGURES
    from twostage.catalogue.table_entries import TABLES

    entries = [*FIGURES.values(), *TABLES.values()]
    return [{"name": one.name, "shows": one.shows, "needs": one.needs or "nothing"} for one in entries]


def listing(study: Study, results: Path) -> list[dict[str, str]]:
    """Return name, shows, state (`drawn`, `to draw`, `not drawn`), path of the main file and reason of each entry.

    Args:
        results: the study's results folder.
    """
    from twostage.catalogue.figure_entries import FIGURES
    from twostage.catalogue.lookup import not_drawn
    from twostage.catalogue.table_entries import TABLES

    reasons = dict(not_drawn(study))
    rows = []
    for entry in (*FIGURES.values(), *TABLES.values()):
        path = results / next(iter(entry.files.values()))
        reason = reasons.get(entry.name, "")
        state = "not drawn" if reason else "drawn" if path.is_file() else "to draw"
        rows.append(
            {"name": entry.name, "shows": entry.shows, "state": state, "path": str(path), "reason": reason}
        )
    return rows
