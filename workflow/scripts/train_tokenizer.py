"""Write the study's tokenizer.json; see `twostage.corpora.tokenizer`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line and train, or copy, the tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="canonical JSON of a TokenizerSpec")
    parser.add_argument(
        "--corpora", type=Path, nargs="*", default=[], help="corpus manifests, in the study's order"
    )
    parser.add_argument("--out", type=Path, required=True, help="tokenizer.json to write")
    args = parser.parse_args()

    from twostage.common.storage import write_atomic
    from twostage.corpora.dataspecs import TokenizerSpec
    from twostage.corpora.tokenizer import make_tokenizer

    write_atomic(args.out, make_tokenizer(TokenizerSpec.parse(args.spec).tokenizer, args.corpora))


if __name__ == "__main__":
    run_script(main)
