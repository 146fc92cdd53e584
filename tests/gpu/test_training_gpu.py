"""The bf16 trainer on a real GPU: precision, optimizer classes, checkpoints, and updates without synchronization."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from gpu_training import SMALL, batches, run, trainer

from twostage.model import checkpoint
from twostage.model.build import build_model
from twostage.model.master_weights import MOMENTS, MasterWeights
from twostage.training import prefetch
from twostage.training import state as training_state
from twostage.training.background import BackgroundWriter
from twostage.training.trainer import fetch


def equal(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_weights_are_bf16_and_accumulators_are_fp32():
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

    this = trainer()
    (part,) = this.optimizer.chained_optimizers
    assert isinstance(part, DistributedOptimizer)
    run(this, 1, 1)
    for name, parameter in this.core.named_parameters():
        assert parameter.is_cuda, name
        assert parameter.dtype == torch.bfloat16, name
        assert parameter.main_grad.dtype == torch.float32, name
        assert parameter.main_param.dtype == torch.float32, name
    assert {group.get("fused") for group in part.optimizer.param_groups} <= {True, None}


def test_bf16_learns_like_fp32():
    full, half = np.array(run(trainer("fp32"), 1, 60)), np.array(run(trainer(), 1, 60))
    assert full[0, 0] - full[-1, 0] > 1
    assert abs(half[-6:, 0].mean() / full[-6:, 0].mean() - 1) < 0.02


def test_a_cpu_computes_the_same_in_fp32(tmp_path):
    """The CPU process has no access to the GPU, so it cannot use it."""
    code = """
import sys, torch
from gpu_training import SMALL, batches
from twostage.model.build import build_model, start_process_group
start_process_group("cpu")
assert not torch.cuda.is_available()
model = build_model(SMALL, init_std=0.05, scaled_output_init=True, seed=1, device="cpu").eval()
batch = batches(1, device="cpu")[0]
positions = torch.arange(SMALL.context).expand(len(batch), -1)
with torch.no_grad():
    torch.save(model(batch[:, :-1], positions, None), sys.argv[1])
"""
    paths = os.pathsep.join(filter(None, sys.path))
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": paths}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "cpu.pt")], check=True, env=hidden)
    expected = torch.load(tmp_path / "cpu.pt")
    model = build_model(SMALL, init_std=0.05, scaled_output_init=True, seed=1, device="cuda").eval()
    batch = batches(1)[0]
    positions = torch.arange(SMALL.context, device="cuda").expand(len(batch), -1)
    with torch.no_grad():
        found = model(batch[:, :-1], positions, None).cpu()
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_an_update_never_makes_the_host_wait(precision):
    """PyTorch raises an error at any call that waits for the device."""
    this = trainer(precision)
    data = batches(8)
    outcomes = [this.launch(step, data[step - 1]) for step in range(1, 4)]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    outcomes += [this.launch(step, data[step - 1]) for step in range(4, 9)]
    torch.cuda.set_sync_debug_mode("default")
    assert np.isfinite(fetch(outcomes)).all()


def test_a_state_resumes_bit_by_bit(tmp_path):
    torch.use_deterministic_algorithms(True)
    whole = trainer()
    expected = run(whole, 1, 10)
    first = trainer()
    assert run(first, 1, 5) == expected[:5]
    training_state.save_training_state(first, tmp_path, {"step": 5})
    second = trainer(seed=77)
    training_state.load_training_state(second, tmp_path / "manifest.json")
    assert run(second, 6, 10) == expected[5:]
    assert equal(second.masters.weights(), whole.masters.weights())
    for moment in MOMENTS:
        assert equal(second.masters.moments()[moment], whole.masters.moments()[moment])


def test_a_state_written_in_the_background_is_that_of_its_step(tmp_path):
    this = trainer()
    run(this, 1, 3)
    training_state.save_training_state(this, tmp_path / "now", {"step": 3})
    copy = training_state.snapshot_of(this)
    with BackgroundWriter("cuda") as writer:
        writer.submit(lambda: checkpoint.write_parts(tmp_path / "later", copy, SMALL, {"step": 3}))
        run(this, 4, 8)
    now, later = ((tmp_path / name / "manifest.json").read_text() for name in ("now", "later"))
    assert later == now


def test_an_fp32_snapshot_leaves_the_device(tmp_path):
    this = trainer("fp32")
    run(this, 1, 3)
    copy = training_state.snapshot_of(this)
    training_state.save_training_state(this, tmp_path / "now", {"step": 3})
    run(this, 4, 6)
    checkpoint.write_parts(tmp_path / "later", copy, SMALL, {"step": 3})
    now, later = ((tmp_path / name / "manifest.json").read_text() for name in ("now", "later"))
    assert later == now


def test_prefetched_batches_are_complete():
    data = [batch.cpu().numpy() for batch in batches(30)]
    found = list(prefetch.batches(lambda step: data[step - 1], 1, 30, "cuda", ahead=True))
    assert all(batch.is_cuda for batch in found)
    assert all(
        np.array_equal(batch.cpu().numpy(), expected) for batch, expected in zip(found, data, strict=True)
    )


def test_compiled_layers_train_alike():
    plain, compiled = run(trainer(), 1, 10), run(trainer(compile=True), 1, 10)
    np.testing.assert_allclose(compiled, plain, rtol=2e-2)


def test_decay_weights_are_the_masters_and_growth_reads_the_state(tmp_path):
    """Growth runs on a CPU in its own process, as in the workflow."""
    this = trainer()
    run(this, 1, 4)
    weights = training_state.canonical_weights(this)
    lossy = [name for name, weight in weights.items() if not torch.equal(weight, weight.bfloat16().float())]
    assert len(lossy) > 10
    training_state.save_training_state(this, tmp_path, {"step": 4})
    torch.save(weights, tmp_path / "expected.pt")
    code = f"""
import torch
from twostage.model.optimizer_state import load_adam_state
state, _ = load_adam_state({str(tmp_path / "manifest.json")!r})
expected = torch.load({str(tmp_path / "expected.pt")!r})
assert float(state.adam_step) == 4
assert all(torch.equal(state.weights[name], expected[name]) for name in expected)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_float16optimizer_too_is_read_and_written():
    """Megatron's other mixed-precision optimizer, which this trainer does not use, works with the same functions."""
    from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
    from megatron.core.optimizer import (
        OptimizerConfig,
        get_megatron_optimizer,
        get_standard_config_overrides,
    )
    from megatron.core.optimizer.optimizer import Float16OptimizerWithFloat16Params

    core = build_model(SMALL, init_std=0.05, scaled_output_init=True, seed=1, device="cuda")
    drawn = {name: weight.detach().clone() for name, weight in core.named_parameters()}
    core.to(torch.bfloat16)
    settings = DistributedDataParallelConfig(grad_reduce_in_fp32=True)
    model = DistributedDataParallel(core.config, settings, core)
    config = OptimizerConfig(optimizer="adam", lr=1e-3, bf16=True, params_dtype=torch.bfloat16)
    optimizer = get_megatron_optimizer(
        config, [model], config_overrides=get_standard_config_overrides(config)
    )
    assert isinstance(optimizer.chained_optimizers[0], Float16OptimizerWithFloat16Params)
    masters = MasterWeights(core, optimizer)
    masters.write_weights(drawn)
    found = masters.weights()
    assert all(torch.equal(found[name], drawn[name].cpu()) for name in drawn)
    moments = {
        moment: {name: torch.rand_like(weight) for name, weight in found.items()} for moment in MOMENTS
    }
    masters.write_moments(moments, 7)
    assert masters.adam_step == 7
    assert all(equal(masters.moments()[moment], moments[moment]) for moment in MOMENTS)
