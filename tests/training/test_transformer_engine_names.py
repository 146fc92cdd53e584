"""Names of weights under transformer-engine's layer spec, both ways, against what Megatron itself says of them."""

from __future__ import annotations

import pytest
import torch
from drawn_weights import random_state
from tiny_training import TINY

from twostage.model import transformer_engine_names as te_names
from twostage.model.build import build_model, start_process_group
from twostage.model.checkpoint import from_canonical, to_canonical

ARCHITECTURE = TINY.with_shape(n_layer=11)  # two-digit layers


@pytest.fixture(scope="module")
def local():
    return from_canonical(random_state(ARCHITECTURE, dtype=torch.float32), ARCHITECTURE)


def as_the_layers_have_it(state):
    """Every module of transformer-engine adds an `_extra_state`; in bf16 it is empty."""
    extra = [
        name.rpartition(".")[0] for name in state if name.endswith("weight") and "layer_norm" not in name
    ]
    cores = [f"decoder.layers.{layer}.self_attention.core_attention" for layer in range(ARCHITECTURE.n_layer)]
    return state | {f"{module}._extra_state": torch.empty(0) for module in [*extra, *cores]}


def test_the_norms_move_into_the_layers_behind_them(local):
    fused = te_names.from_local(local)
    layer = "decoder.layers.10."
    for theirs, ours in {
        "self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight",
        "mlp.linear_fc1.layer_norm_weight": "pre_mlp_layernorm.weight",
        "self_attention.linear_qkv.weight": "self_attention.linear_qkv.weight",
        "self_attention.linear_proj.weight": "self_attention.linear_proj.weight",
        "mlp.linear_fc1.weight": "mlp.linear_fc1.weight",
        "mlp.linear_fc2.weight": "mlp.linear_fc2.weight",
    }.items():
        assert fused[layer + theirs] is local[layer + ours]
    assert not [name for name in fused if "layernorm" in name and "final" not in name]
    assert fused["decoder.final_layernorm.weight"] is local["decoder.final_layernorm.weight"]
    assert len(fused) == len(local)


def test_both_ways_change_nothing(local):
    fused = as_the_layers_have_it(te_names.from_local(local))
    assert te_names.to_local(fused) == local
    assert te_names.from_local(te_names.to_local(fused)) == te_names.from_local(local)
    assert te_names.to_local(local) == local


def test_the_specs_are_told_apart(local):
    assert te_names.is_fused(te_names.from_local(local))
    assert not te_names.is_fused(local)


def test_canonical_weights_are_the_same_from_either_spec(local):
    fused = as_the_layers_have_it(te_names.from_local(local))
    ours, theirs = to_canonical(local, ARCHITECTURE), to_canonical(fused, ARCHITECTURE)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_megatron_pairs_the_same_names_in_its_own_checkpoints():
    """Its local layers are stored under transformer-engine's keys: the names above, as Megatron wrote them down."""
    start_process_group("cpu")
    model = build_model(TINY, init_std=0.1, scaled_output_init=True, seed=0, device="cpu")
    renamed = 0
    for name, sharded in model.sharded_state_dict().items():
        if name.endswith("weight"):
            (fused,) = te_names.from_local({name: None})
            assert sharded.key == fused.replace("layers.0.", "layers.").replace("layers.1.", "layers.")
            renamed += fused != name
    assert renamed == 2 * TINY.n_layer
