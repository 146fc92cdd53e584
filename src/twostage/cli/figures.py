"""`twostage figures STUDY.yaml`: every figure and table of the paper, and what the study lacks for it."""

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
        help="list figures and tables that a study gets, and why not the others",
        description="List every figure and table: drawn, to be drawn, or what the study lacks for it.",
    )
    parser.add_argument("study", metavar="STUDY", help="the study file, or file.yaml:subset")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of all results (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List and print."""
    from twostage.exhibits.catalogue import load_checked

    study = load_checked(args.study)
    rows = listing(study, args.results / study.name)
    if args.json:
        from twostage.laws.jsonio import dumps

        print(dumps({"study": study.name, "entries": rows}))
        return 0
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=f"Figures and tables of study {study.name}", title_justify="left")
    for heading in ("name", "shows", "state", "file, or reason"):
        shown.add_column(heading, overflow="fold")
    for row in rows:
        shown.add_row(row["name"], row["shows"], row["state"], row["reason"] or row["path"])
    Console().print(shown)
    return 0


def listing(study: Study, results: Path) -> list[dict[str, str]]:
    """Return name, shows, state (`drawn`, `to draw`, `not drawn`), path of the main file and reason of each entry.

    Args:
        results: the study's results folder.
    """
    from twostage.exhibits.catalogue import FIGURES, TABLES, not_drawn

    reasons = dict(not_drawn(study))
    rows = []
    for entries, folder, kind in ((FIGURES, "figures", "pdf"), (TABLES, "tables", "csv")):
        for name, entry in entries.items():
            path = results / folder / f"{name}.{kind}"
            reason = reasons.get(name, "")
            state = "not drawn" if reason else "drawn" if path.is_file() else "to draw"
            rows.append(
                {"name": name, "shows": entry.shows, "state": state, "path": str(path), "reason": reason}
            )
    return rows
