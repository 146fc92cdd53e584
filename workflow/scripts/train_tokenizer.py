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

    from twostage.common.storage import canonical_json, write_atomic
    from twostage.corpora.dataspecs import TokenizerSpec
    from twostage.corpora.tokenizer import make_tokenizer
    from twostage.design.paths import TOKENIZER_RECORD

    spec = TokenizerSpec.parse(args.spec)
    text = make_tokenizer(spec.tokenizer, args.corpora)
    # tokenizer.json has a foreign format, so its spec is in a file next to it, written first.
    write_atomic(
        args.out.with_name(Path(TOKENIZER_RECORD).name),
        canonical_json({"spec": spec.model_dump(mode="json")}),
    )
    write_atomic(args.out, text)


if __name__ == "__main__":
    run_script(main)
