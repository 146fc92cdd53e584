"""Tell how certain alpha3 is, for each method and base model; see `twostage.analysis.alpha3` and `twostage.tables.alpha3`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, resample and refit, write the table and its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, required=True, help="the study file")
    parser.add_argument("--cells", type=Path, required=True, help="cells.csv")
    parser.add_argument(
        "--fits", type=Path, nargs="+", required=True, help="fit files of these cells, a row each"
    )
    parser.add_argument("--csv", type=Path, required=True, help="numbers to write")
    parser.add_argument("--html", type=Path, required=True, help="page to write")
    args = parser.parse_args()

    from twostage.analysis.cells import read_cells, write_table
    from twostage.analysis.method_fit import MethodFit
    from twostage.common.storage import write_atomic
    from twostage.study import load_study
    from twostage.tables.alpha3 import alpha3_table
    from twostage.tables.table import render_html

    fits = [MethodFit.from_json(path.read_text(encoding="utf-8")) for path in args.fits]
    table = alpha3_table(read_cells(args.cells), fits, load_study(args.study).excluded_cells)
    write_table(table.numbers, args.csv)
    write_atomic(args.html, render_html(table))


if __name__ == "__main__":
    run_script(main)
