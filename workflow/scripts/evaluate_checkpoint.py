"""Measure the loss of one checkpoint on a held-out split; see `twostage.evaluation.evaluate`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, evaluate, write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="canonical JSON of an EvaluateSpec")
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="manifest of a weights-only checkpoint"
    )
    parser.add_argument("--data", type=Path, required=True, help="manifest of the tokenised corpus")
    parser.add_argument("--out", type=Path, required=True, help="evaluation file to write")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    from twostage.common.storage import canonical_json, write_atomic
    from twostage.design.specs import EvaluateSpec
    from twostage.evaluation.evaluate import evaluate_checkpoint

    record = evaluate_checkpoint(
        EvaluateSpec.parse(args.spec),
        manifest=args.checkpoint,
        tokens=args.data.parent,
        device=args.device,
        threads=args.threads,
    )
    write_atomic(args.out, canonical_json(record))


if __name__ == "__main__":
    run_script(main)
