"""Gather the evaluations of a study into cells.csv and base-cells.csv; see `twostage.cells`."""

import argparse
from pathlib import Path

from twostage.scripting import run_script


def main() -> None:
    """Parse the command line, aggregate, write both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, required=True, help="the study file")
    parser.add_argument("--results", type=Path, required=True, help="folder of the study's results")
    parser.add_argument(
        "--cells", type=Path, required=True, help="table of second-stage and from-scratch cells to write"
    )
    parser.add_argument(
        "--base-cells", type=Path, required=True, help="table of base checkpoints at D2 = 0 to write"
    )
    args = parser.parse_args()

    from twostage.cells import aggregate_cells, write_table
    from twostage.design import Design
    from twostage.study import load_study

    tables = aggregate_cells(Design(load_study(args.study)), args.results)
    write_table(tables.cells, args.cells)
    write_table(tables.base_cells, args.base_cells)


if __name__ == "__main__":
    run_script(main)
