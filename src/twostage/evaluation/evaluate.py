"""The loss of a checkpoint on an entire held-out split: non-overlapping samples, fixed batch size, sum in float64."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from twostage.common import provenance
from twostage.common.errors import UserError
from twostage.common.storage import json_digest, read_manifest
from twostage.corpora.samples import LEAST_EVALUATED, TokenSplit
from twostage.design.specs import EvaluateSpec
from twostage.model.build import build_model, start_process_group
from twostage.model.checkpoint import load_into, load_weights
from twostage.training.heldout import sample_sums


def evaluate_checkpoint(
    spec: EvaluateSpec, *, manifest: Path, tokens: Path, device: str = "cpu", threads: int = 1
) -> dict[str, Any]:
    """Return the loss of a weights-only checkpoint as the record of `eval-<corpus>.json`.

    `loss_nats` is the mean over all predicted tokens. `loss_se` is the standard error of this mean, from the variance between
    samples; it is common to all cells of a corpus, and the noise between cells is measured with seeds. `loss_nats_per_byte`
    is the loss per byte of text, for comparison between tokenizers.

    Raises:
        UserError: checkpoint or tokens are damaged, or their vocabularies differ.
    """
    torch.set_num_threads(threads)
    # Before TokenSplit imports Megatron, which must be patched first on a CPU.
    start_process_group(device)
    data = read_manifest(tokens / "manifest.json")
    state, architecture = load_weights(manifest)
    if data["vocab_size"] != architecture.vocab_size:
        raise UserError(
            f"{tokens}: tokenised with a vocabulary of {data['vocab_size']}, but the checkpoint has {architecture.vocab_size}; "
            "tokenise again"
        )
    split = TokenSplit(tokens, "valid")
    n_samples = split.n_samples(spec.context)
    if n_samples < LEAST_EVALUATED:
        raise UserError(
            f"{tokens}: the held-out split has {n_samples} samples of {spec.context} tokens; at least {LEAST_EVALUATED} are "
            "needed; raise valid_fraction"
        )
    model = build_model(architecture, init_std=1.0, scaled_output_init=False, seed=0, device=device)
    load_into(model, state, architecture)
    sums = sample_sums(
        model.eval(),
        split,
        np.arange(n_samples),
        context=spec.context,
        batch_size=spec.batch_size,
        device=device,
    )
    means = sums / spec.context
    loss = math.fsum(sums) / (n_samples * spec.context)
    if not math.isfinite(loss):
        raise UserError(
            f"{manifest}: the validation loss is {loss}: the checkpoint has values that are not finite; train it again"
        )
    valid = data["splits"]["valid"]
    return {
        "spec": spec.model_dump(mode="json"),
        "key": json_digest(spec=spec.canonical(), parent=read_manifest(manifest), data=[data]),
        "revision_data": data["revision"],
        "loss_nats": loss,
        "loss_se": float(means.std(ddof=1) / math.sqrt(n_samples)),
        "loss_nats_per_byte": loss * valid["tokens"] / valid["bytes"],
        "n_samples": n_samples,
        "n_tokens": n_samples * spec.context,
        "n_final": architecture.n_params,
        "device": provenance.device_kind(device),
        "git_commit": provenance.git_commit(),
    }
