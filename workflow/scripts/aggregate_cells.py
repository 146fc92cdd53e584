"""Gather the evaluations of a study, or of one method at one size, into tables; see `twostage.analysis.cells`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, aggregate, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, required=True, help="the study file")
    parser.add_argument("--results", type=Path, required=True, help="folder of the study's results")
    parser.add_argument("--method", help="only this method; needs --model")
    parser.add_argument("--model", help="only this base model; needs --method")
    parser.add_argument(
        "--cells", type=Path, required=True, help="table of second-stage and from-scratch cells to write"
    )
    parser.add_argument("--base-cells", type=Path, help="table of base checkpoints at D2 = 0 to write")
    args = parser.parse_args()
    if (args.method is None) != (args.model is None):
        parser.error("--method and --model go together")

    from twostage.analysis.cells import aggregate_cells, write_table
    from twostage.design.design import Design
    from twostage.study import load_study

    only = (args.method, args.model) if args.method else None
    tables = aggregate_cells(Design(load_study(args.study)), args.results, only=only)
    write_table(tables.cells, args.cells)
    if args.base_cells:
        write_table(tables.base_cells, args.base_cells)


if __name__ == "__main__":
    run_script(main)
