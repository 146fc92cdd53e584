"""`twostage export MANIFEST --tokenizer FILE --out DIR`: convert a checkpoint for Hugging Face transformers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "export",
        help="write a checkpoint as a Hugging Face folder",
        description="Write a weights-only checkpoint (a decay branch or a grown model) as a Hugging Face folder.",
    )
    parser.add_argument(
        "checkpoint",
        type=Path,
        metavar="MANIFEST",
        help="the checkpoint's manifest.json; its weights are in the same folder",
    )
    parser.add_argument(
        "--tokenizer",
        type=Path,
        required=True,
        help="a tokenizer.json, e.g. results/<study>/tokens/tokenizer.json",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export the checkpoint and print how to load it."""
    from twostage.model.export import export_checkpoint

    export_checkpoint(args.checkpoint, args.tokenizer, args.out)
    sys.stdout.write(
        f"Written: {args.out}\nLoad it with transformers: AutoModelForCausalLM.from_pretrained({str(args.out)!r})\n"
    )
    return 0
