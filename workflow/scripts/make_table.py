"""Make a table of a study, as CSV and as a page for the report; see `twostage.tables`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, make the table, write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", required=True, help="a table's name, e.g. table-1")
    parser.add_argument("--study", type=Path, required=True, help="the study file")
    # "*": Tables 3 to 5 come from the study alone.
    parser.add_argument("--fits", type=Path, nargs="*", default=[], help="fit files, a row each")
    parser.add_argument("--csv", type=Path, required=True, help="numbers to write")
    parser.add_argument("--html", type=Path, required=True, help="page to write")
    args = parser.parse_args()

    from twostage.analysis.cells import write_table
    from twostage.common.storage import write_atomic
    from twostage.study import load_study
    from twostage.tables.maker import make_table
    from twostage.tables.table import render_html

    fits = [path.read_text(encoding="utf-8") for path in args.fits]
    table = make_table(args.table, load_study(args.study), fits)
    write_table(table.numbers, args.csv)
    write_atomic(args.html, render_html(table))


if __name__ == "__main__":
    run_script(main)
