"""Train one trunk segment or decay branch; see `twostage.training.train`."""

import argparse
import os
from pathlib import Path

from twostage.common.scripting import run_script
from twostage.training.launch import ranks_from_slurm


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="canonical JSON of a TrainSpec")
    parser.add_argument(
        "--parent",
        type=Path,
        nargs="*",
        default=[],
        help="manifest of the checkpoint to start from; empty: random weights",
    )
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="manifest of each corpus of the mixture"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="manifest to write, in checkpoint/; metrics.json is written to the folder above",
    )
    parser.add_argument("--rolling", type=Path, required=True, help="folder of the rolling state")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--micro-batch", type=int, help="samples per forward pass; default: all")
    parser.add_argument("--save-every-s", type=float, default=600.0, help="seconds between rolling states")
    parser.add_argument(
        "--checkpoint-files", choices=("keep", "protect"), default="keep", help="protect: make them read-only"
    )
    parser.add_argument("--pipelined", action=argparse.BooleanOptionalAction, help="default: on CUDA")
    parser.add_argument("--compile", action="store_true", help="fuse each layer by torch.compile")
    parser.add_argument(
        "--deterministic", action="store_true", help="use deterministic algorithms on CUDA; slower"
    )
    args = parser.parse_args()

    os.environ.update(ranks_from_slurm(os.environ))
    from twostage.common.provenance import rank
    from twostage.common.storage import protect_payload
    from twostage.design.specs import TrainSpec
    from twostage.training.train import TrainJob, train
    from twostage.training.trainer import Execution

    options = ("device", "threads", "micro_batch", "save_every_s", "pipelined", "compile", "deterministic")
    train(
        TrainJob(
            spec=TrainSpec.parse(args.spec),
            parent=args.parent[0] if args.parent else None,
            tokens=tuple(path.parent for path in args.data),
            out=args.out.parent.parent,
            rolling=args.rolling,
            execution=Execution(**{name: getattr(args, name) for name in options}),
        )
    )
    if args.checkpoint_files == "protect" and rank() == 0:
        protect_payload(args.out)


if __name__ == "__main__":
    run_script(main)
