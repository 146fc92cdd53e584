"""FLOPs compared with PyTorch's counter and with hand calculation; bytes compared with real checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from tiny_training import ROOT, TINY, manifest, run, train_spec
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from twostage.common.architecture import Architecture
from twostage.common.storage import read_manifest
from twostage.corpora.tokens import token_dtype
from twostage.design.flops import (
    Machine,
    bytes_per_token,
    flops_6nd,
    flops_per_token,
    forward_flops_per_token,
    total_parameters,
    training_state_bytes,
    weights_bytes,
)
from twostage.methods.expand import expanded_architecture
from twostage.model.build import build_model, start_process_group
from twostage.study import load_study

SHAPES = {
    "tiny": TINY,
    "wide heads": TINY.with_shape(n_head=3, head_dim=10, n_layer=3),
    "expanded": expanded_architecture(TINY.with_shape(d_model=64, d_mlp=256, n_head=4)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_flops_are_those_that_torch_counts_on_the_real_model(name):
    """PyTorch's math attention kernel computes all positions, so its count is that of attention="full"."""
    shape, samples = SHAPES[name], 4
    start_process_group("cpu")
    model = build_model(shape, init_std=0.1, scaled_output_init=True, seed=0, device="cpu")
    tokens = torch.randint(0, shape.vocab_size, (samples, shape.context + 1))
    positions = torch.arange(shape.context).expand(samples, -1)
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        loss = model(tokens[:, :-1], positions, None, labels=tokens[:, 1:].contiguous()).mean()
        forward = counter.get_total_flops()
        loss.backward()
    n_tokens = samples * shape.context
    assert forward == n_tokens * forward_flops_per_token(shape, attention="full")
    assert counter.get_total_flops() == n_tokens * flops_per_token(shape, attention="full")
    assert sum(p.numel() for p in model.parameters()) == total_parameters(shape)


def test_causal_attention_counts_the_visible_positions_only():
    """Sum over positions: position i attends to i + 1 keys, with 4 FLOPs per element and key."""
    visible = int(np.tril(np.ones((TINY.context, TINY.context))).sum())
    hidden = TINY.context**2 - visible
    full, causal = (
        forward_flops_per_token(TINY, attention=kind) * TINY.context for kind in ("full", "causal")
    )
    assert full - causal == 4 * TINY.n_layer * TINY.n_head * TINY.head_dim * hidden


#: Table 3 of the paper: layers and width.
TABLE_3 = {"15M": (9, 320), "44M": (12, 480), "0.1B": (15, 640), "0.2B": (21, 832), "0.5B": (26, 1120), "1B": (30, 1504)}  # fmt: skip


@pytest.mark.parametrize("name", TABLE_3)
def test_flops_at_the_papers_sizes_by_hand(name):
    n_layer, d = TABLE_3[name]
    models = yaml.safe_load((ROOT / "config/paper.yaml").read_text())["models"]
    assert (models[name]["n_layer"], models[name]["d_model"]) == (n_layer, d)
    shape = load_study(ROOT / "config/paper.yaml").architecture(name)
    # d_mlp = 4 d and n_head head_dim = d: 16 d^2 weights per layer; context 1,024; vocabulary 32,000.
    matrices = 16 * d * d * n_layer
    by_hand = 6 * (matrices + 32_000 * d) + 3 * n_layer * 2 * 1025 * d
    assert flops_per_token(shape) == by_hand
    assert flops_per_token(shape, attention="full") == by_hand + 3 * n_layer * 2 * 1023 * d
    norms = (2 * n_layer + 1) * d
    assert total_parameters(shape) == matrices + norms + 2 * 32_000 * d
    assert flops_6nd(shape.n_params, 1) == 6 * (matrices + norms)


def test_bytes_of_real_checkpoints_within_five_percent(corpus_folder, tmp_path):
    for shape in (TINY, TINY.with_shape(n_layer=4, d_model=64, n_head=4, d_mlp=256)):
        folder = tmp_path / str(shape.n_layer)
        trunk = run(train_spec(architecture=shape, stop_step=10), folder / "trunk", corpus_folder)
        decay = train_spec(architecture=shape, start_step=10, stop_step=11, decay_start=10, origin="state")
        branch = run(decay, folder / "decay", corpus_folder, parent=manifest(trunk))
        for out, expected in ((trunk, training_state_bytes(shape)), (branch, weights_bytes(shape))):
            kept = sum(entry["bytes"] for entry in read_manifest(manifest(out))["payload"].values())
            assert kept == pytest.approx(expected, rel=0.05)


def test_large_checkpoints_are_twelve_and_four_bytes_a_parameter():
    shape = load_study(ROOT / "config/paper.yaml").architecture("1B")
    assert training_state_bytes(shape) == pytest.approx(12 * total_parameters(shape), rel=1e-3)
    assert weights_bytes(shape) == pytest.approx(4 * total_parameters(shape), rel=1e-3)


@pytest.mark.parametrize("vocab_size", [300, 65_499, 65_500, 128_000])
def test_bytes_per_token_are_those_of_the_tokens_on_disk(vocab_size):
    assert bytes_per_token(vocab_size) == np.dtype(token_dtype(vocab_size)).itemsize


def test_gpu_hours_by_hand():
    """Appendix B.4: 1e9 TFLOPs at 400 TFLOP/s are 694 hours."""
    machine = Machine(peak_tflops=1000, utilisation=0.4, price=2)
    assert machine.gpu_hours(1e21) == pytest.approx(694.44, abs=0.01)


@pytest.mark.parametrize(
    ("key", "value"), [("utilisation", 40), ("utilisation", 0), ("peak_tflops", -1), ("price", 0)]
)
def test_impossible_machines_are_refused(key, value):
    with pytest.raises(ValueError, match=key):
        Machine(**{"peak_tflops": 989, "utilisation": 0.4, "price": 2} | {key: value})


def test_flops_depend_on_every_width():
    """A shape in which all widths differ, by hand: 2 FLOPs per weight and token, three passes."""
    shape = Architecture(n_layer=1, d_model=2, n_head=3, head_dim=4, d_mlp=5, vocab_size=7, context=1)
    weights = 4 * 2 * 12 + 3 * 2 * 5 + 7 * 2
    assert flops_per_token(shape) == 6 * weights + 3 * 4 * 12  # the only position attends to itself
