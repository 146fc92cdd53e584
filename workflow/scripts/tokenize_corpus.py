"""Write the tokens of one prepared corpus; see `twostage.corpora.tokens`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line and tokenise the corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="canonical JSON of a TokenizeSpec")
    parser.add_argument("--documents", type=Path, required=True, help="manifest of the prepared corpus")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json")
    parser.add_argument("--out", type=Path, required=True, help="manifest to write, next to the token files")
    parser.add_argument("--workers", type=int, default=1, help="processes; the result does not depend on it")
    for split in ("train", "valid"):
        parser.add_argument(
            f"--least-{split}-tokens", type=int, default=0, help=f"refuse a shorter {split} split"
        )
    args = parser.parse_args()

    from twostage.corpora.dataspecs import TokenizeSpec
    from twostage.corpora.tokens import tokenize_corpus

    TokenizeSpec.parse(
        args.spec
    )  # validates the spec, which only has a revision; the rest of the identity is in the inputs
    least = {"train": args.least_train_tokens, "valid": args.least_valid_tokens}
    tokenize_corpus(args.documents, args.tokenizer, args.out.parent, args.workers, least)


if __name__ == "__main__":
    run_script(main)
