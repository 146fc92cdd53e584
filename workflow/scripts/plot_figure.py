"""Draw a figure of a study from its cells, loss curves and fits; see `twostage.figures.drawing`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, draw, write PDF, PNG and the plotted numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", required=True, help="a figure's name, e.g. figure-1")
    parser.add_argument("--study", type=Path, required=True, help="the study file")
    # "*": a rule passes nothing where its figure needs none.
    parser.add_argument("--cells", type=Path, nargs="*", default=[], help="cells.csv")
    parser.add_argument("--curves", type=Path, nargs="*", default=[], help="curves.csv")
    parser.add_argument("--fits", type=Path, nargs="*", default=[], help="fit files, in the figure's order")
    parser.add_argument("--png", type=Path, required=True, help="image to write; PDF and CSV go beside it")
    args = parser.parse_args()

    from twostage.figures.drawing import Sources, draw_figure
    from twostage.figures.style import save_figure
    from twostage.study import load_study

    sources = Sources(
        cells=next(iter(args.cells), None), curves=next(iter(args.curves), None), fits=args.fits
    )
    figure, numbers = draw_figure(args.figure, load_study(args.study), sources)
    save_figure(figure, args.png.with_suffix(""), numbers)


if __name__ == "__main__":
    run_script(main)
