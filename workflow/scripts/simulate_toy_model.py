"""Simulate the toy model of feature-space expansion, and its control without splitting; see `twostage.toy.model`."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, simulate, write one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=json.loads, required=True, help="fields of toy.model.ToyModel, JSON")
    parser.add_argument("--d1-samples", type=int, nargs="+", required=True, help="samples of the first stage")
    parser.add_argument(
        "--d2-samples", type=int, nargs="+", required=True, help="samples of the second stage"
    )
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True, help="table of losses to write (CSV)")
    args = parser.parse_args()

    import pandas as pd

    from twostage.analysis.cells import write_table
    from twostage.toy.model import ToyModel, simulate

    model = ToyModel(**args.model)
    models = {"splitting": model, "no splitting": replace(model, split_probability=0.0)}
    grid = (args.d1_samples, args.d2_samples, args.seeds)
    tables = [simulate(own, *grid).assign(model=name) for name, own in models.items()]
    write_table(pd.concat(tables), args.out)


if __name__ == "__main__":
    run_script(main)
