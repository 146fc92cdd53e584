"""Gather, clean and split the documents of one corpus; see `twostage.corpus`."""

import argparse
from pathlib import Path

from twostage.scripting import run_script


def main() -> None:
    """Parse the command line and prepare the corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the corpus's name in the study")
    parser.add_argument("--spec", required=True, help="canonical JSON of a CorpusSpec")
    parser.add_argument(
        "--out", type=Path, required=True, help="manifest to write; the documents go beside it"
    )
    args = parser.parse_args()

    from twostage.corpus import prepare_corpus
    from twostage.specs import CorpusSpec

    spec = CorpusSpec.parse(args.spec)
    spec.check_environment()
    prepare_corpus(args.name, spec.corpus, args.out.parent)


if __name__ == "__main__":
    run_script(main)
