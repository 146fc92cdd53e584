"""Draw Figure 4 (right), 10 or 11 from the published coefficients; see `twostage.figures.published`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, draw, write PDF, PNG and the plotted numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", required=True, choices=("figure-4-right", "figure-10", "figure-11"))
    parser.add_argument("--published", type=Path, required=True, help="folder of the published tables")
    parser.add_argument("--stem", type=Path, required=True, help="files to write, without their ending")
    args = parser.parse_args()

    from twostage.figures.published import draw_published
    from twostage.figures.style import save_figure

    figure, numbers = draw_published(args.figure, args.published)
    save_figure(figure, args.stem, numbers)


if __name__ == "__main__":
    run_script(main)
