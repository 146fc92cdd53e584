"""Draw Figure 4 (left, right), 9, 10 or 11 from a study's fits over sizes; see `twostage.figures.from_fits`."""

import argparse
from pathlib import Path

from twostage.scripting import run_script


def main() -> None:
    """Parse the command line, draw, write PDF, PNG and the plotted numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", required=True, help="figure-4-left, figure-4-right, figure-9, 10 or 11")
    parser.add_argument("--study", type=Path, required=True, help="the study file")
    parser.add_argument(
        "--fits",
        type=Path,
        nargs="+",
        required=True,
        help="the joint fit, then the from-scratch fit if needed",
    )
    parser.add_argument("--png", type=Path, required=True, help="image to write; PDF and CSV go beside it")
    args = parser.parse_args()

    from twostage.figures.from_fits import draw_from_fits
    from twostage.figures.style import save_figure
    from twostage.joint_fit import SizesFit
    from twostage.study import load_study

    study = load_study(args.study)
    fits = [SizesFit.from_json(path.read_text(encoding="utf-8")) for path in args.fits]
    figure, numbers = draw_from_fits(args.figure, *fits, n_final=study.laws.catch_up_n_final)
    save_figure(figure, args.png.with_suffix(""), numbers)


if __name__ == "__main__":
    run_script(main)
