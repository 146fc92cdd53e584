"""Grow a base checkpoint in depth or width; see `twostage.methods`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, grow, write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="canonical JSON of a GrowSpec")
    parser.add_argument("--base", type=Path, required=True, help="manifest of the base checkpoint")
    parser.add_argument(
        "--out", type=Path, required=True, help="manifest to write; the weights are written next to it"
    )
    args = parser.parse_args()

    from twostage.design.specs import GrowSpec
    from twostage.training.grow import grow_checkpoint

    grow_checkpoint(GrowSpec.parse(args.spec), base=args.base, out=args.out.parent)


if __name__ == "__main__":
    run_script(main)
