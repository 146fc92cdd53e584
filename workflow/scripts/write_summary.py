"""Say what a study found, beside what the paper says; see `twostage.tables.summary` and `twostage.analysis.claims`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, read the tables, write the page, and the claims as a table of the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True, help="the study file, and its part")
    parser.add_argument("--cells", type=Path, required=True, help="cells.csv")
    parser.add_argument(
        "--tables", type=Path, nargs="*", default=[], help="other tables of the study, by their file names"
    )
    parser.add_argument("--page", type=Path, required=True, help="Markdown page to write")
    parser.add_argument("--csv", type=Path, required=True, help="claims to write, as numbers")
    parser.add_argument("--html", type=Path, required=True, help="claims to write, as a page")
    args = parser.parse_args()

    import pandas as pd

    from twostage.analysis.cells import read_cells, write_table
    from twostage.common.storage import write_atomic
    from twostage.study import load_study
    from twostage.tables.summary import claims_table, summary
    from twostage.tables.table import render_html

    study = load_study(args.study)
    tables = {"cells": read_cells(args.cells)} | {path.stem: pd.read_csv(path) for path in args.tables}
    claimed = claims_table(tables, study)
    write_table(claimed.numbers, args.csv)
    write_atomic(args.html, render_html(claimed))
    write_atomic(args.page, summary(tables, study))


if __name__ == "__main__":
    run_script(main)
