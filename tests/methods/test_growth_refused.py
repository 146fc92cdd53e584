"""Weights, targets and options that growth refuses, with errors that name them and the fix."""

from __future__ import annotations

import re

import pytest
import torch
from drawn_weights import random_state
from growth_models import (
    tiny,
)

from twostage.methods.expand import expanded_architecture
from twostage.methods.expand_weights import expand_width
from twostage.methods.stack import stack_depth, stacked_architecture


@pytest.mark.parametrize("factor", [0, -2, 1.5, True])
def test_bad_factors_are_refused(factor: object) -> None:
    with pytest.raises(ValueError, match=r"^factor: .* must be a positive integer"):
        stack_depth(random_state(tiny()), factor)
    with pytest.raises(ValueError, match=r"^factor: .* must be a positive integer"):
        stacked_architecture(tiny(), factor)


@pytest.mark.parametrize(
    "name",
    ["model.layers.0.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight", "model.embed_tokens.weight"],
)
def test_missing_keys_are_named(name: str) -> None:
    base = tiny()
    state = random_state(base)
    del state[name]
    for grow in (lambda: stack_depth(state, 2), lambda: expand_width(state, base, base, seed=0)):
        with pytest.raises(ValueError, match=f"^{re.escape(name)}: missing"):
            grow()


def test_a_missing_layer_is_named() -> None:
    state = {n: t for n, t in random_state(tiny(n_layer=3)).items() if not n.startswith("model.layers.1.")}
    with pytest.raises(ValueError, match=r"^model\.layers\.1\.input_layernorm\.weight: missing .*9 missing"):
        stack_depth(state, 2)


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.01.mlp.up_proj.weight",
        "decoder.final_layernorm.weight",
    ],
)
def test_unknown_keys_are_named(name: str) -> None:
    base = tiny()
    state = {**random_state(base), name: torch.zeros(2)}
    for grow in (lambda: stack_depth(state, 2), lambda: expand_width(state, base, base, seed=0)):
        with pytest.raises(ValueError, match=rf"^{re.escape(name)}: (not a weight|missing)"):
            grow()


def test_a_deeper_state_than_the_architecture_is_refused() -> None:
    base = tiny()
    with pytest.raises(
        ValueError,
        match=r"^model\.layers\.2\.input_layernorm\.weight: not a weight of a model with n_layer 2",
    ):
        expand_width(stack_depth(random_state(base), 2), base, base, seed=0)


def test_wrong_shapes_and_types_are_named() -> None:
    base = tiny()
    name = "model.layers.1.self_attn.o_proj.weight"
    with pytest.raises(ValueError, match=rf"^{re.escape(name)}: shape \[32, 31\] but .* \[32, 32\]"):
        expand_width({**random_state(base), name: torch.zeros(32, 31)}, base, base, seed=0)
    with pytest.raises(
        ValueError, match=rf"^{re.escape(name)}: shape \[32, 31\] differs from layer 0's \[32, 32\]"
    ):
        stack_depth({**random_state(base), name: torch.zeros(32, 31)}, 2)
    with pytest.raises(ValueError, match=rf"^{re.escape(name)}: torch.int8 is not a floating-point type"):
        expand_width({**random_state(base), name: torch.zeros(32, 32, dtype=torch.int8)}, base, base, seed=0)


@pytest.mark.parametrize(
    ("key", "value", "fix"),
    [
        ("head_dim", 18, "add heads instead"),
        ("n_layer", 4, "use stack_depth"),
        ("vocab_size", 62, "keeps the tokenizer"),
        ("context", 32, "keeps the context"),
        ("rope_base", 500_000, "keeps the rotary frequencies"),
        ("n_head", 1, "give at least 2"),
        ("d_mlp", 127, "give at least 128"),
        ("norm_eps", 1e-5, "expanded_architecture, which sets it"),
    ],
)
def test_targets_that_cannot_be_reached_are_refused(key: str, value: float, fix: str) -> None:
    base = tiny()
    target = expanded_architecture(base).with_shape(**{key: value})
    with pytest.raises(ValueError, match=rf"^{key}: .*{fix}"):
        expand_width(random_state(base), base, target, seed=0)


def test_a_narrower_target_is_refused() -> None:
    base = tiny()
    with pytest.raises(ValueError, match=r"^d_model: .* give at least 32"):
        expand_width(random_state(base), base, base.with_shape(d_model=31), seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "half"}, "^split: 'half' must be"),
        ({"init": "random"}, "^init: 'random' must be"),
        ({"init": "zero"}, "^init_std: None must be positive"),
        ({"init": "zero", "init_std": 0.0}, "^init_std: 0.0 must be positive"),
        ({"init": "zero", "init_std": 0.02, "split": "equal"}, "^split: 'equal' does not apply"),
    ],
)
def test_bad_options_are_refused(options: dict, message: str) -> None:
    base = tiny()
    with pytest.raises(ValueError, match=message):
        expand_width(random_state(base), base, expanded_architecture(base), seed=0, **options)
