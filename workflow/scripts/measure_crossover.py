"""Compare reuse with models trained from scratch; see `twostage.tables.crossover`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, compare, write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="cells.csv")
    parser.add_argument("--study", type=Path, required=True, help="the study file")
    parser.add_argument("--csv", type=Path, required=True, help="numbers to write")
    parser.add_argument("--html", type=Path, required=True, help="page to write")
    args = parser.parse_args()

    from twostage.analysis.cells import read_cells, write_table
    from twostage.common.storage import write_atomic
    from twostage.study import load_study
    from twostage.tables.crossover import crossover_table
    from twostage.tables.table import render_html

    study = load_study(args.study)
    table = crossover_table(read_cells(args.cells), study.laws.huber_delta, study.excluded_cells)
    write_table(table.numbers, args.csv)
    write_atomic(args.html, render_html(table))


if __name__ == "__main__":
    run_script(main)
