"""Fit one law over both stages (appendix D.3) and write its residuals; see `twostage.analysis.unified_fit`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, fit, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="cells.csv")
    parser.add_argument("--base-cells", type=Path, required=True, help="base-cells.csv")
    parser.add_argument("--delta", type=float, required=True, help="of the Huber loss of ln L")
    parser.add_argument("--out", type=Path, required=True, help="table to write")
    args = parser.parse_args()

    import pandas as pd

    from twostage.analysis.cells import read_cells, write_table
    from twostage.analysis.unified_fit import unified_table

    write_table(unified_table(read_cells(args.cells), pd.read_csv(args.base_cells), args.delta), args.out)


if __name__ == "__main__":
    run_script(main)
