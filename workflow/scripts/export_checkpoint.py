"""Write a checkpoint as a Hugging Face folder; see `twostage.model.export`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="canonical JSON of an ExportSpec")
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="manifest of a weights-only checkpoint"
    )
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json of its training data")
    parser.add_argument(
        "--out", type=Path, required=True, help="manifest to write; the model is written next to it"
    )
    args = parser.parse_args()

    from twostage.evaluation.downstream_spec import ExportSpec
    from twostage.model.export import export_checkpoint

    ExportSpec.parse(args.spec)
    export_checkpoint(args.checkpoint, args.tokenizer, args.out.parent)


if __name__ == "__main__":
    run_script(main)
