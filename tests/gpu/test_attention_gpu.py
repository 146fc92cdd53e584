"""Every attention backend on a GPU computes the same function, also for unusual head sizes, and reads the same checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gpu_training import SMALL, run, trainer

from twostage.common import attention
from twostage.model.build import FlashCoreAttention, SdpaCoreAttention
from twostage.training import state as training_state

needs_flash = pytest.mark.skipif(
    "flash" not in attention.installed(), reason="NOT RUN: flash-attn is not installed (envs/install-gpu.sh)"
)
needs_te = pytest.mark.skipif(
    "te" not in attention.installed(),
    reason="NOT RUN: transformer-engine is not installed (envs/install-gpu.sh)",
)
FLASH = pytest.param(FlashCoreAttention, marks=needs_flash)


def exact(q, k, v):
    """Causal attention in float64; [s, b, h, d]."""
    q, k, v = (x.double() for x in (q, k, v))
    scores = torch.einsum("qbhd,kbhd->bhqk", q, k) * q.shape[-1] ** -0.5
    mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    return torch.einsum("bhqk,kbhd->qbhd", scores.masked_fill(mask, -torch.inf).softmax(-1), v).flatten(2)


@pytest.mark.parametrize("head_dim", [60, 64, 70, 80, 94])
@pytest.mark.parametrize("layer", [SdpaCoreAttention, FLASH])
def test_forward_and_backward_are_exact_to_bf16(layer, head_dim):
    generator = torch.Generator("cuda").manual_seed(1)
    inputs = [
        torch.randn(
            256, 2, 4, head_dim, generator=generator, device="cuda", dtype=torch.bfloat16
        ).requires_grad_()
        for _ in range(3)
    ]
    wide = [x.detach().double().requires_grad_() for x in inputs]
    ours, theirs = layer(None, 1, None, "self")(*inputs, None), exact(*wide)
    ours.float().square().sum().backward()
    theirs.square().sum().backward()
    for found, expected in [(ours, theirs), *((x.grad, y.grad) for x, y in zip(inputs, wide, strict=True))]:
        assert (found.double() - expected).norm() < 2e-2 * expected.norm()


@pytest.mark.parametrize("head_dim", [60, 70, 94])
def test_sdpa_pads_odd_heads_within_its_flash_kernel(head_dim):
    """All other kernels are disabled, so a fallback to the quadratic kernel would raise."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    inputs = [torch.randn(64, 2, 4, head_dim, device="cuda", dtype=torch.bfloat16) for _ in range(3)]
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        out = SdpaCoreAttention(None, 1, None, "self")(*inputs, None)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize(
    "backend", [pytest.param("flash", marks=needs_flash), pytest.param("te", marks=needs_te)]
)
def test_training_is_that_of_sdpa(backend):
    ours, theirs = run(trainer(attention=backend), 1, 20), run(trainer(), 1, 20)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-2)  # both have the same initial weights
    np.testing.assert_allclose(np.array(ours)[:, 0], np.array(theirs)[:, 0], rtol=2e-2)


@needs_te
def test_transformer_engines_layers_have_the_names_that_are_converted():
    from twostage.model import transformer_engine_names as te_names

    fused, local = trainer(attention="te").core.state_dict(), trainer().core.state_dict()
    assert te_names.is_fused(fused)
    weights = {name: tensor.shape for name, tensor in te_names.to_local(fused).items()}
    assert weights == {name: tensor.shape for name, tensor in te_names.to_local(local).items()}


@needs_te
@pytest.mark.parametrize(("writer", "reader"), [("te", "sdpa"), ("sdpa", "te")])
def test_either_spec_reads_the_others_states(writer, reader, tmp_path):
    first, second = trainer(attention=writer), trainer(attention=reader, seed=77)
    run(first, 1, 4)
    training_state.save_training_state(first, tmp_path, {"step": 4})
    training_state.load_training_state(second, tmp_path / "manifest.json")
    ours, theirs = training_state.canonical_weights(first), training_state.canonical_weights(second)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    np.testing.assert_allclose(run(second, 5, 8), run(first, 5, 8), rtol=2e-2)


def test_an_auto_study_gets_what_is_installed():
    choice = attention.choose(
        attention.candidates("auto", [SMALL.head_dim]), SMALL.head_dim, "cuda", attention.installed(), "bf16"
    )
    best = next(backend for backend in attention.SPEED_ORDER if backend in attention.installed())
    assert choice.backend == best
