"""Simulate the toy model of feature-space expansion, and its control without splitting; see `twostage.toy.model`."""

import argparse
from dataclasses import replace
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, simulate, write one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="table of losses to write (CSV)")
    args = parser.parse_args()

    import pandas as pd

    from twostage.analysis.cells import write_table
    from twostage.toy.model import simulate
    from twostage.toy.setting import D1_SAMPLES, D2_SAMPLES, MODEL, SEEDS

    models = {"splitting": MODEL, "no splitting": replace(MODEL, split_probability=0.0)}
    grid = (D1_SAMPLES, D2_SAMPLES, SEEDS)
    tables = [simulate(own, *grid).assign(model=name) for name, own in models.items()]
    write_table(pd.concat(tables), args.out)


if __name__ == "__main__":
    run_script(main)
