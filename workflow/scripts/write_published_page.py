"""Write docs/published.md, what the published coefficients reproduce; see `twostage.paper.reproduction`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, compute, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    args = parser.parse_args()

    from twostage.common.storage import write_atomic
    from twostage.paper.reproduction_page import reproduction_page

    write_atomic(args.out, reproduction_page())


if __name__ == "__main__":
    run_script(main)
