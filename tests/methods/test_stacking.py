"""Stacking in depth: M o M of the base's layers, for weights and optimizer moments."""

from __future__ import annotations

import pytest
import torch
from drawn_weights import llama, random_state, token_ids
from growth_models import (
    assert_no_shared_memory,
    logits,
    random_batches,
    relative_error,
    tiny,
)
from paper_sizes import paper_size

from twostage.common.canonical import check_state
from twostage.methods.stack import stack_depth, stacked_architecture


def test_stacked_architecture_multiplies_the_layers() -> None:
    base = paper_size(2)
    stacked = stacked_architecture(base, 2)
    assert stacked == base.with_shape(n_layer=30)
    # all but the final norm is in the layers
    assert stacked.n_params == 2 * base.n_params - base.d_model


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_stacking_repeats_the_layers_in_order(factor: int) -> None:
    base = tiny(n_layer=3)
    state = random_state(base)
    stacked = stack_depth(state, factor)
    check_state(stacked, stacked_architecture(base, factor))
    for layer in range(3 * factor):
        for name in state:
            if name.startswith(f"model.layers.{layer % 3}."):
                stem = name.removeprefix(f"model.layers.{layer % 3}.")
                assert torch.equal(stacked[f"model.layers.{layer}.{stem}"], state[name])
    for name in ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"):
        assert torch.equal(stacked[name], state[name])
    assert_no_shared_memory([*state.values(), *stacked.values()])


def test_stacked_model_applies_the_base_layers_twice() -> None:
    """M' = M o M: Hugging Face's base model with its layers applied twice gives the same logits, bit by bit."""
    base = tiny()
    state = random_state(base)
    model = llama(state, base)
    model.model.layers = torch.nn.ModuleList([*model.model.layers, *model.model.layers])
    model.config.num_hidden_layers = 4
    with torch.no_grad():
        twice = model(token_ids(base)).logits
    assert torch.equal(logits(stack_depth(state, 2), stacked_architecture(base, 2)), twice)
    assert relative_error(twice, logits(state, base)) > 1e-3, "stacking does not preserve the function"


def test_layer_numbers_are_parsed_not_sorted_as_text() -> None:
    base = tiny(n_layer=11, d_model=2, n_head=1, head_dim=2, d_mlp=2)
    state = random_state(base)
    stacked = stack_depth(dict(sorted(state.items())), 2)
    for layer in (1, 2, 10):
        for copy in (layer, layer + 11):
            name = "model.layers.{}.mlp.up_proj.weight"
            assert torch.equal(stacked[name.format(copy)], state[name.format(layer)])


def test_stacking_carries_adam_moments_over() -> None:
    """Stacking weights and moments, then taking a step, equals a step followed by stacking (equal gradients for copies)."""
    base = tiny()
    model = llama(random_state(base), base)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for tokens in random_batches(base, 3):
        optimizer.zero_grad()
        model(tokens, labels=tokens).loss.backward()
        optimizer.step()
    parameters = dict(model.named_parameters())
    weights = {name: p.detach().clone() for name, p in parameters.items()}
    moments = {
        key: {name: optimizer.state[p][key].clone() for name, p in parameters.items()}
        for key in ("step", "exp_avg", "exp_avg_sq")
    }
    gradients = {name: p.grad.clone() for name, p in parameters.items()}
    optimizer.step()

    deep = llama(stack_depth(weights, 2), stacked_architecture(base, 2))
    deep_optimizer = torch.optim.AdamW(deep.parameters(), lr=1e-3)
    stacked_moments = {key: stack_depth(values, 2) for key, values in moments.items()}
    stacked_gradients = stack_depth(gradients, 2)
    for name, parameter in deep.named_parameters():
        deep_optimizer.state[parameter] = {key: values[name] for key, values in stacked_moments.items()}
        parameter.grad = stacked_gradients[name]
    deep_optimizer.step()

    expected = stack_depth({name: p.detach() for name, p in parameters.items()}, 2)
    for name, parameter in deep.named_parameters():
        assert torch.equal(parameter.detach(), expected[name]), name
    moved = expected["model.layers.3.mlp.up_proj.weight"] - weights["model.layers.1.mlp.up_proj.weight"]
    assert moved.abs().max() > 1e-4, "the step did something"
