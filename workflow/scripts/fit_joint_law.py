"""Fit a law over model sizes: a method's joint law, or models from scratch on a corpus; see `twostage.analysis.joint_fit`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, fit, write the fit file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="cells.csv")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--method", help="fit the joint law (Eq. 7) of this method")
    which.add_argument("--scratch", metavar="CORPUS", help="fit models trained from scratch on this corpus")
    parser.add_argument("--delta", type=float, required=True, help="of the Huber loss of ln L")
    parser.add_argument("--out", type=Path, required=True, help="fit file to write")
    args = parser.parse_args()

    from twostage.analysis.cells import read_cells
    from twostage.analysis.joint_fit import fit_joint, fit_scratch
    from twostage.common.storage import write_atomic

    cells = read_cells(args.cells)
    if args.scratch:
        fit = fit_scratch(cells, args.scratch, delta=args.delta)
    else:
        fit = fit_joint(cells, args.method, delta=args.delta)
    write_atomic(args.out, fit.to_json())


if __name__ == "__main__":
    run_script(main)
