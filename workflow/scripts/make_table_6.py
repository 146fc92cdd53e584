"""Make Table 6 of a study, as CSV and as a page for the report; see `twostage.tables.downstream`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, make the table, write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, required=True, help="the study file")
    parser.add_argument("--results", type=Path, required=True, help="folder results/<study>")
    parser.add_argument("--csv", type=Path, required=True, help="numbers to write")
    parser.add_argument("--html", type=Path, required=True, help="page to write")
    args = parser.parse_args()

    from twostage.analysis.cells import write_table
    from twostage.common.storage import write_atomic
    from twostage.design.design import Design
    from twostage.study import load_study
    from twostage.tables.downstream import read_scores, table_6
    from twostage.tables.table import render_html

    table = table_6(read_scores(Design(load_study(args.study)), args.results))
    write_table(table.numbers, args.csv)
    write_atomic(args.html, render_html(table))


if __name__ == "__main__":
    run_script(main)
