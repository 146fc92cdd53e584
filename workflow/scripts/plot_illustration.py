"""Draw Figure 2 or the DAG picture of a study, from its study file alone; see `twostage.figures`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, draw, write PDF, PNG and what is named in the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", choices=("figure-2", "dag"), required=True)
    parser.add_argument("--study", type=Path, required=True, help="the study file")
    parser.add_argument("--png", type=Path, required=True, help="image to write; PDF and CSV go beside it")
    args = parser.parse_args()

    from twostage.design.design import Design
    from twostage.figures import dag, figure_2
    from twostage.figures.style import save_figure
    from twostage.study import load_study

    draw = {"figure-2": figure_2.draw, "dag": dag.draw}[args.figure]
    study = load_study(args.study)
    figure, table = draw(study, Design(study))
    save_figure(figure, args.png.with_suffix(""), table)


if __name__ == "__main__":
    run_script(main)
