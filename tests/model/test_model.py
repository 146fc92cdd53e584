"""Our Megatron model, compared with Hugging Face's LLaMA with the same weights."""

from __future__ import annotations

import math
import sys
import types

import pytest
import torch
from drawn_weights import llama, random_state
from paper_sizes import SIZES, TABLE_3, paper_size
from tiny_training import TINY

from twostage.model.build import FlashCoreAttention, SdpaCoreAttention, build_model, start_process_group
from twostage.model.checkpoint import from_canonical, load_into, to_canonical

SHAPES = {
    "tiny": TINY,
    "wide heads": TINY.with_shape(
        n_head=3, head_dim=24
    ),  # as after width expansion: n_head * head_dim is not d_model
    "other constants": TINY.with_shape(norm_eps=3e-3, rope_base=500, n_layer=3, d_mlp=80),
}


@pytest.fixture(autouse=True)
def _process_group():
    start_process_group("cpu")


def build(architecture, *, seed=0, init_std=0.1, scaled_output_init=True):
    return build_model(
        architecture, init_std=init_std, scaled_output_init=scaled_output_init, seed=seed, device="cpu"
    )


def tokens(architecture, batch=4):
    generator = torch.Generator().manual_seed(5)
    return torch.randint(architecture.vocab_size, (batch, architecture.context + 1), generator=generator)


def forward(model, samples, labels=None):
    positions = torch.arange(samples.shape[1]).expand(len(samples), -1)
    return model(samples, positions, None, labels=labels)


@pytest.mark.parametrize("name", SHAPES)
def test_logits_and_loss_equal_hugging_face(name):
    architecture = SHAPES[name]
    state = random_state(architecture, dtype=torch.float32)
    model = build(architecture)
    load_into(model, state, architecture)
    samples = tokens(architecture)
    with torch.no_grad():
        ours = forward(model, samples[:, :-1])
        losses = forward(model, samples[:, :-1], samples[:, 1:].contiguous())
        theirs = llama(state, architecture)(samples[:, :-1]).logits
    expected = torch.nn.functional.cross_entropy(theirs.flatten(0, 1), samples[:, 1:].flatten())
    assert theirs.std() > 0.05  # far from a uniform guess, so that equality is meaningful
    assert losses.shape == samples[:, 1:].shape
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()
    assert losses.mean().item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_wrong_qkv_layout_would_be_noticed():
    state = random_state(TINY, dtype=torch.float32)
    right = from_canonical(state, TINY)
    name = "decoder.layers.1.self_attention.linear_qkv.weight"
    stacked = [state[f"model.layers.1.self_attn.{part}_proj.weight"] for part in "qkv"]
    wrong = right | {name: torch.cat(stacked)}  # [all q; all k; all v] instead of head by head
    model, samples = build(TINY), tokens(TINY)
    expected = llama(state, TINY)(samples[:, :-1]).logits
    for weights, equal in ((right, True), (wrong, False)):
        model.load_state_dict(weights, strict=False)
        with torch.no_grad():
            error = (forward(model, samples[:, :-1]) - expected).abs().max() / expected.abs().max()
        assert (error < 1e-5) == equal
        assert equal or error > 1e-2


@pytest.mark.parametrize("name", SHAPES)
def test_conversion_round_trips_in_both_directions(name):
    architecture = SHAPES[name]
    megatron = build(architecture, seed=9).state_dict()
    there_and_back = from_canonical(to_canonical(megatron, architecture), architecture)
    weights = {key: value for key, value in megatron.items() if not key.endswith("_extra_state")}
    assert weights.keys() == there_and_back.keys()
    assert all(torch.equal(weights[key], there_and_back[key]) for key in weights)

    canonical = random_state(architecture, dtype=torch.float32)
    again = to_canonical(from_canonical(canonical, architecture), architecture)
    assert canonical.keys() == again.keys()
    assert all(torch.equal(canonical[key], again[key]) for key in canonical)


def test_canonical_weights_are_copies_not_views_of_the_model():
    model = build(TINY)
    canonical = to_canonical(model.state_dict(), TINY)
    before = {name: tensor.clone() for name, tensor in canonical.items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert all(torch.equal(canonical[name], before[name]) for name in before)


def test_attention_is_causal():
    model, samples = build(TINY), tokens(TINY)[:, :-1]
    changed = samples.clone()
    changed[:, 9] = (changed[:, 9] + 1) % TINY.vocab_size
    with torch.no_grad():
        difference = (forward(model, samples) - forward(model, changed)).abs().amax(dim=(0, 2))
    assert (difference[:9] == 0).all()
    assert (difference[9:] > 0).all()


@pytest.mark.parametrize("index", [0, 1], ids=SIZES[:2])
def test_parameters_are_those_of_table_3(index):
    architecture = paper_size(index, vocab_size=64, context=TINY.context)
    total = sum(parameter.numel() for parameter in build(architecture).parameters())
    assert total == TABLE_3[index][-1] + 2 * 64 * architecture.d_model


@pytest.mark.parametrize("scaled", [True, False])
def test_initial_weights_have_the_requested_standard_deviation(scaled):
    architecture = TINY.with_shape(d_model=128, n_head=4, head_dim=32, d_mlp=512)
    state = to_canonical(
        build(architecture, init_std=0.07, scaled_output_init=scaled).state_dict(), architecture
    )
    for name, tensor in state.items():
        if tensor.ndim == 1:
            assert (tensor == 1).all(), name
            continue
        output = "o_proj" in name or "down_proj" in name
        expected = 0.07 / math.sqrt(2 * architecture.n_layer) if output and scaled else 0.07
        # Five standard errors; the standard error of a standard deviation is std / sqrt(2 n).
        assert tensor.std().item() == pytest.approx(expected, rel=5 / math.sqrt(2 * tensor.numel())), name
        assert abs(tensor.mean().item()) < 5 * expected / math.sqrt(tensor.numel()), name


def test_initial_weights_depend_on_the_seed_only():
    torch.manual_seed(123)
    one = build(TINY, seed=4).state_dict()
    torch.rand(17)
    same, other = build(TINY, seed=4).state_dict(), build(TINY, seed=5).state_dict()
    name = "decoder.layers.0.mlp.linear_fc1.weight"
    assert torch.equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])


def reference_attention(q, k, v, softmax_scale, causal, deterministic):
    """The documented behaviour of flash-attn's flash_attn_func: [b, s, h, d] in and out."""
    assert q.shape[-1] % 8 == 0  # otherwise the library pads; the layer must already have padded
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * softmax_scale
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -math.inf)
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v)


@pytest.mark.parametrize("head_dim", [60, 64, 70, 94])
def test_the_flash_layer_lays_out_and_pads_as_the_sdpa_layer(head_dim, monkeypatch):
    """Tests the layer around flash-attn's kernel; the kernel itself requires a GPU."""
    package = types.ModuleType("flash_attn")
    package.flash_attn_func = reference_attention
    monkeypatch.setitem(sys.modules, "flash_attn", package)
    generator = torch.Generator().manual_seed(1)
    qkv = [torch.randn(12, 2, 3, head_dim, generator=generator) for _ in range(3)]
    flash, sdpa = (layer(None, 1, None, "self") for layer in (FlashCoreAttention, SdpaCoreAttention))
    ours, theirs = flash(*qkv, None), sdpa(*qkv, None)
    assert ours.shape == (12, 2, 3 * head_dim)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("part", ["fused_activation", "fused_loss"])
def test_fused_swiglu_and_cross_entropy_are_the_same_function(part):
    """Megatron's fused loss rounds its gradient to bf16, so fp32 training does not use it."""
    exact = part == "fused_activation"
    gradients = []
    for options in ({}, {part: True}):
        model = build_model(TINY, init_std=0.1, scaled_output_init=True, seed=0, device="cpu", **options)
        samples = tokens(TINY)
        losses = forward(model, samples[:, :-1], samples[:, 1:].contiguous())
        losses.mean().backward()
        gradients.append([losses.detach(), *(p.grad for p in model.parameters())])
    assert model.config.bias_activation_fusion == exact
    assert model.config.cross_entropy_loss_fusion != exact
    for index, (ours, theirs) in enumerate(zip(*gradients, strict=True)):
        error = (ours - theirs).norm() / theirs.norm()
        assert error < (1e-6 if exact or index == 0 else 2**-8)
    assert exact or error > 1e-6
