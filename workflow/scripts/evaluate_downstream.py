"""Run the lm-eval harness on an exported checkpoint; see `twostage.evaluation.downstream`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line, evaluate, write the scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="canonical JSON of a DownstreamSpec")
    parser.add_argument("--export", type=Path, required=True, help="manifest of the exported folder")
    parser.add_argument(
        "--task-folder", type=Path, help="folder of the study's task files, in the harness's format"
    )
    parser.add_argument("--out", type=Path, required=True, help="scores to write")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    from twostage.common.storage import canonical_json, write_atomic
    from twostage.evaluation.downstream import evaluate_downstream
    from twostage.evaluation.downstream_spec import DownstreamSpec

    record = evaluate_downstream(
        DownstreamSpec.parse(args.spec),
        export=args.export,
        task_folder=args.task_folder,
        device=args.device,
        threads=args.threads,
    )
    write_atomic(args.out, canonical_json(record))


if __name__ == "__main__":
    run_script(main)
