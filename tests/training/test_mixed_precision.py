"""bf16 training on Megatron's DistributedOptimizer, whose classes run here on CPU tensors (see gpu_classes.py).

What a GPU adds (its kernels' rounding, streams, nccl) is `tests/gpu/`'s business and is not claimed here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_weights import random_state
from gpu_classes import on_cpu
from tiny_training import TINY, free_port, train_spec

from twostage.common.canonical import canonical_shapes
from twostage.common.errors import UserError
from twostage.design.specs import GrowSpec
from twostage.methods.stack import stacked_architecture
from twostage.model import checkpoint
from twostage.model.build import start_process_group
from twostage.model.master_weights import MOMENTS, MasterWeights
from twostage.model.optimizer_state import load_adam_state
from twostage.study import OptimizerRecipe
from twostage.training import state as training_state
from twostage.training.clipping import step_on_device
from twostage.training.grow import grow_checkpoint
from twostage.training.train import TrainJob, train
from twostage.training.trainer import Execution, Trainer, fetch

STEPS = 12
BF16 = OptimizerRecipe(precision="bf16")


def batches(n=STEPS, samples=8):
    generator = torch.Generator().manual_seed(2)
    # Half of the vocabulary, so that there is something to learn.
    return [torch.randint(150, (samples, TINY.context + 1), generator=generator) for _ in range(n)]


def trainer(*, recipe=BF16, micro_batch=4, **changes):
    start_process_group("cpu")
    return Trainer(train_spec(recipe=recipe, **changes), Execution(micro_batch=micro_batch))


def run(this, first=1, last=STEPS):
    return [this.update(step, batches()[step - 1]) for step in range(first, last + 1)]


@pytest.fixture
def mixed():
    with on_cpu():
        yield trainer


def equal(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_the_classes_are_the_ones_a_gpu_uses(mixed):
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

    this = mixed()
    (part,) = this.optimizer.chained_optimizers
    assert isinstance(part, DistributedOptimizer)
    settings = this.model.ddp_config
    assert settings.grad_reduce_in_fp32
    assert settings.use_distributed_optimizer
    run(this, last=1)
    for name, parameter in this.core.named_parameters():
        assert parameter.dtype == torch.bfloat16, name
        assert parameter.main_grad.dtype == torch.float32, name
        assert parameter.main_param.dtype == torch.float32, name


def test_outside_of_the_emulation_they_refuse_a_cpu():
    with pytest.raises(TypeError, match="Wrapped parameters must be"):
        trainer()


def test_losses_stay_near_those_of_fp32(mixed):
    full, half = run(trainer(recipe=OptimizerRecipe())), run(mixed())
    losses, norms = np.array(full).T - np.array(half).T
    assert full[0][0] - full[-1][0] > 0.3  # it learns
    assert np.abs(losses).max() < 0.02
    assert np.abs(norms).max() < 0.05
    assert np.abs(losses).max() > 0  # and bf16 is what ran


def test_small_updates_reach_the_master_weights_where_bf16_would_lose_them(mixed):
    this = mixed(peak_lr=1e-6)
    before = this.masters.weights()
    rounded = {name: weight.detach().clone() for name, weight in this.core.named_parameters()}
    run(this, last=3)
    after = this.masters.weights()
    name = "decoder.layers.0.mlp.linear_fc2.weight"
    assert (after[name] != before[name]).float().mean() > 0.9
    kept = dict(this.core.named_parameters())[name] == rounded[name]
    assert kept.float().mean() > 0.9


def test_master_weights_start_as_the_fp32_draw_not_as_its_rounding(mixed):
    drawn = trainer(recipe=OptimizerRecipe()).core
    this = mixed()
    assert equal(this.masters.weights(), {name: p.detach() for name, p in drawn.named_parameters()})
    for name, weight in this.core.named_parameters():
        assert torch.equal(weight, this.masters.weights()[name].bfloat16())


def test_the_model_holds_the_rounded_masters_after_every_update(mixed):
    this = mixed()
    run(this, last=4)
    masters = this.masters.weights()
    for name, weight in this.core.named_parameters():
        assert torch.equal(weight, masters[name].bfloat16()), name


def test_a_state_resumes_bit_by_bit(mixed, tmp_path):
    whole = mixed()
    expected = run(whole)
    first = mixed()
    assert run(first, last=5) == expected[:5]
    training_state.save_training_state(first, tmp_path, {"step": 5})
    second = mixed(seed=77)  # other weights, all to be replaced
    assert training_state.load_training_state(second, tmp_path / "manifest.json") == {"step": 5}
    assert second.masters.adam_step == 5
    assert run(second, first=6) == expected[5:]
    assert equal(second.masters.weights(), whole.masters.weights())
    for moment in MOMENTS:
        assert equal(second.masters.moments()[moment], whole.masters.moments()[moment])


def test_every_weight_counts_its_updates_by_itself_after_a_load(mixed, tmp_path):
    """Adam adds one to each entry of its list of counts: one shared tensor would count once per weight."""
    first = mixed()
    run(first, last=2)
    training_state.save_training_state(first, tmp_path, {"step": 2})
    second = mixed()
    training_state.load_training_state(second, tmp_path / "manifest.json")
    run(second, first=3, last=3)
    (part,) = second.optimizer.chained_optimizers
    assert {float(state["step"]) for state in part.optimizer.state.values()} == {3.0}


def test_equal_states_are_equal_bytes(mixed, tmp_path):
    for name in ("a", "b"):
        this = mixed()
        run(this, last=3)
        training_state.save_training_state(this, tmp_path / name, {"step": 3})
    assert (tmp_path / "a/manifest.json").read_bytes() == (tmp_path / "b/manifest.json").read_bytes()


def test_decay_checkpoints_are_the_fp32_masters(mixed):
    this = mixed()
    run(this, last=3)
    weights = training_state.canonical_weights(this)
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == canonical_shapes(TINY)
    masters = checkpoint.to_canonical(this.masters.weights(), TINY)
    assert equal(weights, masters)
    lossy = [name for name, weight in weights.items() if not torch.equal(weight, weight.bfloat16().float())]
    assert len(lossy) > 10  # the bf16 copies would have been another checkpoint


def test_training_starts_from_canonical_weights_in_full_precision(mixed):
    state = random_state(TINY, dtype=torch.float32)
    this = mixed()
    training_state.load_canonical(this, state)
    assert equal(training_state.canonical_weights(this), state)


def test_growth_carries_the_optimizer_of_a_bf16_trunk(mixed, tmp_path):
    this = mixed()
    run(this, last=6)
    training_state.save_training_state(this, tmp_path / "base", {"step": 6})
    base, architecture = load_adam_state(tmp_path / "base/manifest.json")
    assert architecture == TINY
    assert float(base.adam_step) == 6
    assert equal(base.weights, training_state.canonical_weights(this))
    assert equal(base.exp_avg, checkpoint.to_canonical(this.masters.moments()["exp_avg"], TINY))

    target = stacked_architecture(TINY, 2)
    spec = GrowSpec(source=TINY, target=target, kind="stack", factor=2, seed=3, carries_optimizer=True)
    grow_checkpoint(spec, base=tmp_path / "base/manifest.json", out=tmp_path / "grown")
    grown = mixed(architecture=target)
    training_state.load_training_state(grown, tmp_path / "grown/manifest.json")
    assert grown.masters.adam_step == 6
    weights = training_state.canonical_weights(grown)
    for layer in range(target.n_layer):
        name = "model.layers.{}.mlp.down_proj.weight"
        assert torch.equal(weights[name.format(layer)], base.weights[name.format(layer % TINY.n_layer)])
    assert all(np.isfinite(pair).all() for pair in run(grown, last=3))


def test_pytorchs_fused_adam_is_the_same_update(mixed, tmp_path):
    from twostage.training import trainer as module

    plain = mixed()
    fused = mixed()
    module._fuse_adam(fused.optimizer)
    np.testing.assert_allclose(run(fused), run(plain), rtol=5e-3)
    training_state.save_training_state(fused, tmp_path, {"step": STEPS})
    again = mixed()
    module._fuse_adam(again.optimizer)
    training_state.load_training_state(again, tmp_path / "manifest.json")
    assert run(again, last=2) == run(fused, last=2)


def test_float16optimizer_too_is_read_and_written(mixed):
    """Megatron's other mixed-precision optimizer, which this trainer does not use, through the same door."""
    from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
    from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
    from megatron.core.optimizer.optimizer import Float16OptimizerWithFloat16Params

    core = trainer(recipe=OptimizerRecipe()).core
    drawn = {name: weight.detach().clone() for name, weight in core.named_parameters()}
    core.to(torch.bfloat16)
    settings = DistributedDataParallelConfig(grad_reduce_in_fp32=True)
    model = DistributedDataParallel(core.config, settings, core)
    config = OptimizerConfig(optimizer="adam", lr=1e-3, bf16=True, params_dtype=torch.bfloat16)
    optimizer = get_megatron_optimizer(config, [model])
    assert isinstance(optimizer.chained_optimizers[0], Float16OptimizerWithFloat16Params)
    masters = MasterWeights(core, optimizer)
    masters.write_weights(drawn)
    assert equal(masters.weights(), drawn)
    generator = torch.Generator().manual_seed(4)
    moments = {
        moment: {name: torch.rand(weight.shape, generator=generator) for name, weight in drawn.items()}
        for moment in MOMENTS
    }
    masters.write_moments(moments, 7)
    assert masters.adam_step == 7
    assert all(equal(masters.moments()[moment], moments[moment]) for moment in MOMENTS)


@pytest.mark.parametrize("grad_clip", [1.0, 1e-3, 1e6])
def test_the_step_on_the_device_is_megatrons(grad_clip):
    """fp32, where both can run: clipped hard, mildly, not at all."""
    recipe = OptimizerRecipe(grad_clip=grad_clip)
    stock, ours = trainer(recipe=recipe), trainer(recipe=recipe)
    ours._on_device = True
    theirs, mine = run(stock), run(ours)
    np.testing.assert_allclose(mine, theirs, rtol=1e-4)
    for left, right in zip(stock.core.parameters(), ours.core.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-5)
    outcome = ours.launch(STEPS, batches()[0])
    assert isinstance(outcome.grad_norm, torch.Tensor)
    assert outcome.grad_norm.shape == ()


def test_a_norm_that_is_not_finite_is_seen():
    this = trainer(recipe=OptimizerRecipe())
    run(this, last=1)
    next(this.core.parameters()).main_grad.fill_(float("nan"))
    assert not torch.isfinite(step_on_device(this.optimizer, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_layers_are_one_graph_each_and_the_same_model(mixed, precision):
    import torch._dynamo
    from torch._dynamo.utils import counters

    recipe = OptimizerRecipe(precision=precision)
    plain = mixed(recipe=recipe)
    torch._dynamo.reset()
    counters.clear()
    compiled = Trainer(train_spec(recipe=recipe), Execution(micro_batch=4, compile=True))
    np.testing.assert_allclose(
        run(compiled, last=3), run(plain, last=3), rtol=1e-5 if precision == "fp32" else 5e-3
    )
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] >= 1
    assert compiled.core.state_dict().keys() == plain.core.state_dict().keys()


def test_fetching_late_gives_the_same_numbers(mixed):
    for make in (mixed, lambda: trainer(recipe=OptimizerRecipe())):
        at_once, late = make(), make()
        expected = run(at_once)
        waiting = [late.launch(step, batch) for step, batch in enumerate(batches(), start=1)]
        assert fetch(waiting) == expected
    assert fetch([]) == []


def test_a_bf16_job_on_a_cpu_is_refused_with_the_fix(tmp_path):
    spec = train_spec(recipe=BF16)
    with pytest.raises(UserError, match=r"recipe\.precision: bf16 needs CUDA.*precision: fp32"):
        train(TrainJob(spec=spec, parent=None, tokens=(tmp_path,), out=tmp_path, rolling=tmp_path))


# Two ranks -----------------------------------------------------------------------------------------------------------

RANK = """
import json, os, sys, torch
from pathlib import Path
from gpu_classes import on_cpu
from test_mixed_precision import BF16, STEPS, batches, trainer
from twostage.training import state as training_state

folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
share = slice(4 * rank, 4 * rank + 4)
with on_cpu():
    this = trainer(micro_batch=2)
    settings = this.model.ddp_config
    assert settings.overlap_grad_reduce and settings.overlap_param_gather
    pairs = [this.update(step, batches()[step - 1][share]) for step in range(1, 7)]
    held = sum(part.main.numel() for part in map(this.masters._shard, this.masters._parameters) if part)
    training_state.save_training_state(this, folder / "state", {"step": 6})
    this.gather_parameters()
    masters = this.masters.weights()
    stale = [name for name, p in this.core.named_parameters() if not torch.equal(p, masters[name].bfloat16())]
    pairs += [this.update(step, batches()[step - 1][share]) for step in range(7, STEPS + 1)]
(folder / f"{rank}.json").write_text(json.dumps({"pairs": pairs, "held": held, "stale": stale}))
"""


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    port, tests = free_port(), str(Path(__file__).parent)
    paths = os.pathsep.join([tests, *filter(None, sys.path)])
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", RANK, str(folder)],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    return folder


def result(folder, rank):
    return json.loads((folder / f"{rank}.json").read_text())


def test_two_ranks_share_the_optimizer_and_train_what_one_does(two_ranks, mixed):
    whole = mixed(micro_batch=2)
    expected = run(whole)
    n_weights = sum(weight.numel() for weight in whole.masters.weights().values())
    first, second = result(two_ranks, 0), result(two_ranks, 1)
    assert first["pairs"] == second["pairs"]
    np.testing.assert_allclose(first["pairs"], expected, rtol=5e-3)
    assert first["held"] + second["held"] == n_weights
    assert min(first["held"], second["held"]) > n_weights / 4


def test_gathered_parameters_are_up_to_date_on_every_rank(two_ranks):
    assert result(two_ranks, 0)["stale"] == result(two_ranks, 1)["stale"] == []


def test_a_state_of_two_ranks_goes_on_on_one(two_ranks, mixed):
    this = mixed(seed=77, micro_batch=2)
    training_state.load_training_state(this, two_ranks / "state/manifest.json")
    expected = result(two_ranks, 0)["pairs"][6:]
    np.testing.assert_allclose(run(this, first=7), expected, rtol=5e-3)
