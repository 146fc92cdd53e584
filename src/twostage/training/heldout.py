"""Losses on a held-out split: of given samples, and, during training, on a small fixed part of it.

The whole split, with standard error and bookkeeping, is `evaluate.py`'s. What is computed here never draws a random
number and leaves the model as it was, so that a run with validation is the run without it, bit for bit.
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

    `model` must be in eval mode; samples are numbered by their place in the split.
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
    """Return `count` of the numbers 0 .. n_samples - 1, evenly spaced from 0, rising, each once."""
    return np.arange(count, dtype=np.int64) * n_samples // count


class TrainingValidation:
    """The mean loss on evenly spaced samples of a held-out split, every so many updates of a run.

    Args:
        spec: of the job; has a `validation`.
        tokens: folder of each corpus of the mixture, in its order.

    Raises:
        UserError: the corpus is not in the mixture, or its held-out split has fewer samples.
    """

    def __init__(self, spec: TrainSpec, tokens: tuple[Path, ...]) -> None:
        assert spec.validation is not None
        self.spec, self.curve = spec, spec.validation
        corpora = [name for name, _ in spec.mixture]
        if self.curve.corpus not in corpora:
            raise UserError(
                f"validation: corpus {self.curve.corpus!r} is not one of the mixture's, {corpora}; name one of them"
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
        """Tell whether the loss after update `step` is wanted: every so often, and at the end of a branch."""
        return step % self.curve.every_steps == 0 or (step == self.spec.stop_step and not self.spec.is_trunk)

    def loss(self, model: Any, *, batch_size: int, device: str) -> float:
        """Return the mean loss in nats per token; all ranks call this, each does its share, all get the mean.

        `model` is the bare one, without its data-parallel wrapper; it is left in the mode it was in.
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
