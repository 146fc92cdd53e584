"""Draw a figure, or make a table: call the function that its declaration names; see `twostage.catalogue.lookup`."""

import argparse
from importlib import import_module
from pathlib import Path

from twostage.analysis.sources import Sources
from twostage.common.scripting import run_script
from twostage.study import load_study


def main() -> None:
    """Parse the command line, draw, write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("function", help="module:function, from `draw` of a declaration")
    parser.add_argument(
        "--study", help="the study file, or file:subset; omit it for figures that need no study"
    )
    parser.add_argument(
        "--reads", type=Path, nargs="*", default=[], help="input files, in the order of `reads`; may be empty"
    )
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="files to write")
    args = parser.parse_args()

    module, _, name = args.function.partition(":")
    draw = getattr(import_module(module), name)
    study = load_study(args.study) if args.study else None
    draw(study, Sources(args.reads)).write(args.out)


if __name__ == "__main__":
    run_script(main)
