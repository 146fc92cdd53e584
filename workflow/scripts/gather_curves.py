"""Gather the loss curves of some decay branches into one table; see `twostage.analysis.curves_table`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, gather, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True, help="the study file, or file:subset")
    parser.add_argument("--results", type=Path, required=True, help="folder of the study's results")
    parser.add_argument(
        "--wanted",
        nargs="+",
        required=True,
        help="folders of the branches that the curves lead to, relative to the results",
    )
    parser.add_argument("--out", type=Path, required=True, help="table to write (csv)")
    args = parser.parse_args()

    from twostage.analysis.cells import write_table
    from twostage.analysis.curves_table import gather_curves, parse_branch
    from twostage.design.design import Design
    from twostage.study import load_study

    design = Design(load_study(args.study))
    wanted = [parse_branch(folder) for folder in args.wanted]
    write_table(gather_curves(design, args.results, wanted), args.out)


if __name__ == "__main__":
    run_script(main)
