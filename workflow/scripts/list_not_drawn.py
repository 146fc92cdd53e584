"""List the figures and tables that a study does not get, and why; see `twostage.exhibits.catalogue`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, write the table and its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, required=True, help="the study file")
    parser.add_argument("--csv", type=Path, required=True, help="table to write")
    parser.add_argument("--html", type=Path, required=True, help="page to write")
    args = parser.parse_args()

    from twostage.analysis.cells import write_table
    from twostage.common.storage import write_atomic
    from twostage.study import load_study
    from twostage.tables.not_drawn import not_drawn_table
    from twostage.tables.table import render_html

    table = not_drawn_table(load_study(args.study))
    write_table(table.numbers, args.csv)
    write_atomic(args.html, render_html(table))


if __name__ == "__main__":
    run_script(main)
