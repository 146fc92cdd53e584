"""Fit all laws and curves of one method and base model; see `twostage.analysis.method_fit`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, fit, write the fit file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="cells.csv")
    parser.add_argument("--method", required=True)
    parser.add_argument("--model", required=True, help="the base model")
    parser.add_argument("--forms", nargs="+", required=True, help="laws to fit: mul, mul0, add, hyb")
    parser.add_argument("--delta", type=float, required=True, help="of the Huber loss of ln L")
    parser.add_argument("--out", type=Path, required=True, help="fit file to write")
    args = parser.parse_args()

    from twostage.analysis.cells import read_cells
    from twostage.analysis.method_fit import fit_method
    from twostage.common.storage import write_atomic

    fit = fit_method(read_cells(args.cells), args.method, args.model, forms=args.forms, delta=args.delta)
    write_atomic(args.out, fit.to_json())


if __name__ == "__main__":
    run_script(main)
