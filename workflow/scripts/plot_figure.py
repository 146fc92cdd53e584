"""Draw Figure 1 or 3 of a study from its cells and fits; see `twostage.figures`."""

import argparse
from pathlib import Path

from twostage.scripting import run_script


def main() -> None:
    """Parse the command line, draw, write PDF, PNG and the plotted numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", choices=("figure-1", "figure-3"), required=True)
    parser.add_argument("--study", type=Path, required=True, help="the study file")
    parser.add_argument("--cells", type=Path, required=True, help="cells.csv")
    parser.add_argument("--fits", type=Path, nargs="+", required=True, help="fit files, a row or panel each")
    parser.add_argument("--png", type=Path, required=True, help="image to write; PDF and CSV go beside it")
    args = parser.parse_args()

    from twostage.cells import read_cells
    from twostage.figures import figure_1, figure_3
    from twostage.figures.style import save_figure
    from twostage.method_fit import MethodFit
    from twostage.presentation import method_title
    from twostage.study import load_study

    draw = {"figure-1": figure_1.draw, "figure-3": figure_3.draw}[args.figure]
    study = load_study(args.study)
    fits = [MethodFit.from_json(path.read_text(encoding="utf-8")) for path in args.fits]
    titled = {method_title(study, fit.method): fit for fit in fits}
    figure, numbers = draw(read_cells(args.cells), titled)
    save_figure(figure, args.png.with_suffix(""), numbers)


if __name__ == "__main__":
    run_script(main)
