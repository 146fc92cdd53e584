"""Write the documents of one corpus, cleaned and split; see `twostage.corpora.corpus`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line and prepare the corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="canonical JSON of a CorpusSpec")
    parser.add_argument("--out", type=Path, required=True, help="manifest to write, next to the documents")
    args = parser.parse_args()

    from twostage.corpora.corpus import prepare_corpus
    from twostage.corpora.dataspecs import CorpusSpec

    spec = CorpusSpec.parse(args.spec)
    spec.check_versions()
    prepare_corpus(spec.name, spec.corpus, args.out.parent)


if __name__ == "__main__":
    run_script(main)
