"""Fit laws to the cells: of one method and size, over sizes, of models from scratch, or over both stages."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, fit, write the fit file (for both stages a table)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="cells.csv")
    parser.add_argument("--delta", type=float, required=True, help="threshold of the Huber loss of ln L")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    laws = parser.add_subparsers(dest="law", required=True)
    method = laws.add_parser("method", help="all laws and curves of one method and base model")
    method.add_argument("method")
    method.add_argument("model", help="the base model")
    method.add_argument(
        "--forms", nargs="+", required=True, help="laws to fit; names as in `laws.forms` of a study"
    )
    joint = laws.add_parser("joint", help="a method's joint law over model sizes (Eq. 7)")
    joint.add_argument("method")
    scratch = laws.add_parser("scratch", help="the law of models trained from scratch on a corpus")
    scratch.add_argument("corpus")
    unified = laws.add_parser("unified", help="one law over both stages (appendix D.3), and its residuals")
    unified.add_argument("base_cells", type=Path, help="base-cells.csv")
    args = parser.parse_args()

    import pandas as pd

    from twostage.analysis.cells import read_cells, write_table
    from twostage.analysis.joint_fit import fit_joint, fit_scratch
    from twostage.analysis.method_fit import fit_method
    from twostage.analysis.unified_fit import unified_table
    from twostage.common.storage import write_atomic

    cells = read_cells(args.cells)
    if args.law == "unified":
        write_table(unified_table(cells, pd.read_csv(args.base_cells), args.delta), args.out)
        return
    if args.law == "method":
        fit = fit_method(cells, args.method, args.model, forms=args.forms, delta=args.delta)
    elif args.law == "joint":
        fit = fit_joint(cells, args.method, delta=args.delta)
    else:
        fit = fit_scratch(cells, args.corpus, delta=args.delta)
    write_atomic(args.out, fit.to_json())


if __name__ == "__main__":
    run_script(main)
