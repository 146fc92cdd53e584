"""Make Table 1 or 7 of a study, as CSV and as a page for the report; see `twostage.tables`."""

import argparse
from pathlib import Path

from twostage.scripting import run_script


def main() -> None:
    """Parse the command line, make the table, write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", choices=("table-1", "table-7"), required=True)
    parser.add_argument("--study", type=Path, required=True, help="the study file")
    parser.add_argument("--fits", type=Path, nargs="+", required=True, help="fit files, a row each")
    parser.add_argument("--csv", type=Path, required=True, help="numbers to write")
    parser.add_argument("--html", type=Path, required=True, help="page to write")
    args = parser.parse_args()

    from twostage import tables
    from twostage.cells import write_table
    from twostage.method_fit import MethodFit
    from twostage.storage import write_atomic
    from twostage.study import load_study

    make = {"table-1": tables.table_1, "table-7": tables.table_7}[args.table]
    fits = [MethodFit.from_json(path.read_text(encoding="utf-8")) for path in args.fits]
    table = make(fits, load_study(args.study).excluded_cells)
    write_table(table.numbers, args.csv)
    write_atomic(args.html, tables.render_html(table))


if __name__ == "__main__":
    run_script(main)
