"""Fit and draw the simulated toy model; see `twostage.toy.fit` and `twostage.figures.figure_toy`."""

import argparse
import json
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, fit, draw, write PDF, PNG and the plotted numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=json.loads, required=True, help="fields of toy.model.ToyModel, JSON")
    parser.add_argument("--losses", type=Path, required=True, help="table of simulate_toy_model.py")
    parser.add_argument("--png", type=Path, required=True, help="image to write; PDF and CSV go beside it")
    args = parser.parse_args()

    import pandas as pd

    from twostage.figures import figure_toy
    from twostage.figures.style import save_figure
    from twostage.toy.fit import Theory, fit_toy
    from twostage.toy.model import ToyModel

    table = pd.read_csv(args.losses)
    losses, plain = (table[table["model"] == name] for name in ("splitting", "no splitting"))
    theory = Theory.of(ToyModel(**args.model))
    figure, numbers = figure_toy.draw(losses, fit_toy(losses), fit_toy(plain), theory)
    save_figure(figure, args.png.with_suffix(""), numbers)


if __name__ == "__main__":
    run_script(main)
