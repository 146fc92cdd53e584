"""`twostage import-hf DIR --out DIR`: convert a Hugging Face LLaMA or Mistral model to a checkpoint."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "import-hf",
        help="convert a Hugging Face folder to a checkpoint",
        description="Convert a Hugging Face LLaMA or Mistral model (multi-head, not grouped-query attention; untied "
        "embeddings; no biases) to a weights-only checkpoint.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder with config.json and safetensors")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="checkpoint folder to write")
    parser.add_argument(
        "--context", type=int, metavar="TOKENS", help="tokens per sample; default: max_position_embeddings"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Import the model and print its shape."""
    from twostage.common.units import format_quantity
    from twostage.model.export import import_hf

    if args.context is not None and args.context < 1:
        raise ValueError(f"--context: {args.context} must be a positive integer")
    architecture = import_hf(args.folder, args.out, context=args.context)
    shape = ", ".join(f"{key} {value}" for key, value in architecture.to_json().items())
    sys.stdout.write(
        f"Written: {args.out / 'manifest.json'}\nN = {format_quantity(architecture.n_params)}: {shape}\n"
    )
    return 0
