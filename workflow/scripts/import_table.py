"""Take a table of measured losses from elsewhere (`cells_table`), unchanged, once it is complete; see `twostage.analysis.imported`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, check, copy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, required=True, help="the study file")
    parser.add_argument("--kind", choices=("cells", "base_cells", "curves"), required=True)
    parser.add_argument("--table", type=Path, required=True, help="table to take")
    parser.add_argument("--out", type=Path, required=True, help="table to write")
    args = parser.parse_args()

    from twostage.analysis.imported import check_rows
    from twostage.common.storage import write_atomic
    from twostage.study import load_study

    check_rows(load_study(args.study), args.kind, args.table)
    write_atomic(args.out, args.table.read_bytes())


if __name__ == "__main__":
    run_script(main)
