"""Turn the documents of one corpus into Megatron's .bin/.idx; see `twostage.tokens`."""

import argparse
from pathlib import Path

from twostage.scripting import run_script


def main() -> None:
    """Parse the command line and tokenise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="manifest of the prepared corpus")
    parser.add_argument("--tokenizer", type=Path, required=True, help="the study's tokenizer.json")
    parser.add_argument("--out", type=Path, required=True, help="manifest to write; the tokens go beside it")
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that encode; the result is the same"
    )
    args = parser.parse_args()

    from twostage.megatron_cpu import prepare
    from twostage.tokens import tokenize_corpus

    prepare("cpu")
    tokenize_corpus(args.corpus, args.tokenizer, args.out.parent, args.workers)


if __name__ == "__main__":
    run_script(main)
