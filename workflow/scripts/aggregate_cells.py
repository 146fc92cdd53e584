"""Write tables of measured losses (all, or of one method at one size) or of loss curves, or import a table."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, gather, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True, help="the study file, or file:subset")
    tables = parser.add_subparsers(dest="table", required=True)
    cells = tables.add_parser("cells", help="one row per evaluation; see `twostage.analysis.cells`")
    cells.add_argument("--results", type=Path, required=True, help="folder of the study's results")
    cells.add_argument("--only", nargs=2, metavar=("METHOD", "MODEL"), help="this method at this base model")
    cells.add_argument(
        "--cells", type=Path, required=True, help="table of stage-2 and from-scratch cells to write"
    )
    cells.add_argument("--base-cells", type=Path, help="table of base checkpoints at D2 = 0 to write")
    curves = tables.add_parser("curves", help="losses during training; see `twostage.analysis.curves_table`")
    curves.add_argument("--results", type=Path, required=True, help="folder of the study's results")
    curves.add_argument(
        "--wanted", nargs="+", required=True, help="folders of decay branches, relative to the results"
    )
    curves.add_argument("--out", type=Path, required=True, help="table to write")
    given = tables.add_parser("given", help="check a table of `cells_table` and write it as CSV")
    given.add_argument("--kind", choices=("cells", "base_cells", "curves"), required=True)
    given.add_argument("--from", dest="source", type=Path, required=True, help="table to import")
    given.add_argument("--out", type=Path, required=True, help="table to write")
    args = parser.parse_args()

    from twostage.analysis.cells import aggregate_cells, write_table
    from twostage.analysis.curves_table import gather_curves, parse_branch
    from twostage.analysis.imported import import_table
    from twostage.common.storage import write_atomic
    from twostage.design.design import Design
    from twostage.study import load_study

    study = load_study(args.study)
    if args.table == "cells":
        only = tuple(args.only) if args.only else None
        gathered = aggregate_cells(Design(study), args.results, only=only)
        write_table(gathered.cells, args.cells)
        if args.base_cells:
            write_table(gathered.base_cells, args.base_cells)
    elif args.table == "curves":
        wanted = [parse_branch(folder) for folder in args.wanted]
        write_table(gather_curves(Design(study), args.results, wanted), args.out)
    else:
        write_atomic(args.out, import_table(study, args.kind, args.source))


if __name__ == "__main__":
    run_script(main)
