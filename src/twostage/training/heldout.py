"""Losses on samples of a held-out split, and the validation loss during training on a small fixed subset.

`evaluation/evaluate.py` uses the entire split. Nothing here uses random numbers or changes the model, so a run with validation
gives bitwise the same weights as the run without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twostage.common import provenance
from twostage.common.errors import UserError
from twostage.corpora.samples import TokenSplit
from twostage.design.specs import TrainSpec


@torch.no_grad()
def sample_sums(
    model: Any,
    split: TokenSplit,
    indices: NDArray[np.integer],
    *,
    context: int,
    batch_size: int,
    device: str,
) -> NDArray[np.float64]:
    """Return the loss of each sample, in nats summed over its tokens in float64; array [len(indices)].

    `model` must be in eval mode. `indices` are indices of the split's samples, not shuffled.
    """
    sums = np.empty(len(indices))
    for start in range(0, len(indices), batch_size):
        chosen = indices[start : start + batch_size]
        batch = torch.from_numpy(split.samples(chosen, context)).to(device)
        positions = torch.arange(context, device=device).expand(len(batch), -1)
        losses = model(batch[:, :-1], positions, None, labels=batch[:, 1:].contiguous())
        sums[start : start + len(chosen)] = losses.double().sum(dim=1).cpu().numpy()
    return sums


def evenly_spaced(n_samples: int, count: int) -> NDArray[np.int64]:
    """Return `count` different numbers of 0 .. n_samples - 1, in increasing order, evenly spaced from 0."""
    return np.arange(count, dtype=np.int64) * n_samples // count


class TrainingValidation:
    """Mean loss on evenly spaced samples of a held-out split, measured every `validation.every_steps` updates.

    Args:
        spec: spec of the job, with `validation` set.
        tokens: token folder of each corpus of the mixture, in its order.

    Raises:
        UserError: the corpus is not in the mixture, or its held-out split has too few samples.
    """

    def __init__(self, spec: TrainSpec, tokens: tuple[Path, ...]) -> None:
        assert spec.validation is not None
        self.spec, self.curve = spec, spec.validation
        corpora = [name for name, _ in spec.mixture]
        if self.curve.corpus not in corpora:
            raise UserError(
                f"validation: corpus {self.curve.corpus!r} is not in the mixture; choose one of {corpora}"
            )
        self.split = TokenSplit(tokens[corpora.index(self.curve.corpus)], "valid")
        found = self.split.n_samples(spec.architecture.context)
        if found < self.curve.samples:
            raise UserError(
                f"validation.samples: {self.curve.samples}, but the held-out split of {self.curve.corpus} has {found} samples of "
                f"{spec.architecture.context} tokens; lower validation.samples or raise the corpus's valid_fraction"
            )
        self.indices = evenly_spaced(found, self.curve.samples)

    def is_due(self, step: int) -> bool:
        """Return whether to measure the loss after update `step`: every `every_steps`, and at the end of a branch."""
        return step % self.curve.every_steps == 0 or (step == self.spec.stop_step and not self.spec.is_trunk)

    def loss(self, model: Any, *, batch_size: int, device: str) -> float:
        """Return the mean loss in nats per token. Collective: each rank evaluates a part of the samples.

        `model` is the model without its data-parallel wrapper. Its mode (train or eval) is restored.
        """
        context = self.spec.architecture.context
        share = self.indices[provenance.rank() :: provenance.world_size()]
        training = model.training
        model.eval()
        sums = sample_sums(model, self.split, share, context=context, batch_size=batch_size, device=device)
        model.train(training)
        total = torch.tensor(float(sums.sum()), dtype=torch.float64, device=device)
        if provenance.world_size() > 1:
            torch.distributed.all_reduce(total)
        return total.item() / (len(self.indices) * context)
