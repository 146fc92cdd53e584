"""One update against plain PyTorch, the optimizer's settings, and gradient accumulation."""

from __future__ import annotations

import pytest
import torch
from drawn_weights import llama
from tiny_training import (
    BATCHES,
    trainer,
    weights,
)

from twostage.common.errors import UserError
from twostage.study import OptimizerRecipe


def plain_losses(spec, state, n_steps):
    """Losses and pre-clip gradient norms of Hugging Face's model under torch.optim.AdamW, written independently."""
    model = llama({name: tensor.clone() for name, tensor in state.items()}, spec.architecture)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
        eps=1e-8,
    )
    found = []
    for step in range(1, n_steps + 1):
        batch = BATCHES[step - 1]
        logits = model(batch[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, spec.recipe.grad_clip)
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * min(1, step / 4)
        optimizer.step()
        found.append((loss.item(), norm.item()))
    return found


def test_twenty_updates_equal_plain_pytorch_on_hugging_faces_model():
    this = trainer(recipe=OptimizerRecipe(grad_clip=1.5))
    theirs = plain_losses(this.spec, weights(this), 20)
    ours = [this.update(step, BATCHES[step - 1]) for step in range(1, 21)]
    assert (
        max(norm for _, norm in theirs) > 1.5 > min(norm for _, norm in theirs)
    )  # both branches of the clip ran
    for (loss, norm), (expected_loss, expected_norm) in zip(ours, theirs, strict=True):
        assert loss == pytest.approx(expected_loss, abs=1e-5)
        assert norm == pytest.approx(expected_norm, rel=1e-4)


@pytest.mark.parametrize(
    "recipe",
    [
        {"weight_decay": 0.3},
        {"adam_beta1": 0.8},
        {"adam_beta2": 0.999},
        {"adam_eps": 1e-3},
        {"grad_clip": 1e-7},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_setting_of_the_optimizer_reaches_it(recipe):
    """Negative control of the test above: each setting alone changes the run."""
    runs = []
    for changes in ({}, recipe):
        this = trainer(recipe=OptimizerRecipe(**changes))
        runs.append([this.update(step, BATCHES[step - 1])[0] for step in range(1, 7)])
    assert runs[0][0] == runs[1][0]
    assert abs(runs[0][-1] - runs[1][-1]) > 1e-5


def test_weight_decay_leaves_vectors_alone():
    """With a zero gradient AdamW's update is the decay alone."""
    this = trainer(peak_lr=0.5, warmup_steps=0)
    optimizer = this.optimizer.optimizer
    decays = {p: group["wd_mult"] * 0.1 for group in this.optimizer.param_groups for p in group["params"]}
    assert len(decays) == len(list(this.core.parameters()))
    before = {name: p.detach().clone() for name, p in this.core.named_parameters()}
    this.update(1, BATCHES[0])  # sets the groups' rates
    with torch.no_grad():
        for name, p in this.core.named_parameters():
            p.copy_(before[name])
            p.grad = torch.zeros_like(p)
    optimizer.state.clear()
    optimizer.step()
    for name, p in this.core.named_parameters():
        factor = 1.0 if p.ndim == 1 else 1 - 0.5 * 0.1
        assert decays[p] == (0.0 if p.ndim == 1 else 0.1), name
        assert torch.allclose(p, before[name] * factor, rtol=1e-6, atol=0), name


def test_gradient_accumulation_changes_rounding_only():
    whole, parts = trainer(), trainer(micro_batch=2)
    one = [whole.update(step, BATCHES[step - 1]) for step in range(1, 9)]
    two = [parts.update(step, BATCHES[step - 1]) for step in range(1, 9)]
    assert one != two  # another order of summation did run
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, rel=1e-5)


@pytest.mark.parametrize("micro_batch", [3, 5, 16])
def test_a_micro_batch_that_does_not_divide_is_refused(micro_batch):
    with pytest.raises(
        UserError, match=f"--micro-batch: {micro_batch} samples on 1 ranks do not divide the batch of 8"
    ):
        trainer(micro_batch=micro_batch)
