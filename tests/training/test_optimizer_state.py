"""Adam's moments under canonical names, and a stack that carries them, on really trained states."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tiny_training import TINY, losses, manifest, run, steps, train_spec

from twostage.common.canonical import EMBEDDING, FINAL_NORM, HEAD, canonical_shapes, layer_name, parse_name
from twostage.common.errors import UserError
from twostage.common.storage import read_manifest
from twostage.corpora.samples import SampleStream, TokenSplit
from twostage.design.specs import GrowSpec
from twostage.methods.expand import expanded_architecture
from twostage.methods.stack import stacked_architecture
from twostage.model import checkpoint
from twostage.model.build import start_process_group
from twostage.model.optimizer_state import load_adam_state, save_adam_state
from twostage.training.grow import grow_checkpoint
from twostage.training.trainer import Execution, Trainer


def stack_spec(factor=2, **changes):
    fields = {"source": TINY, "target": stacked_architecture(TINY, factor), "kind": "stack", "factor": factor}
    return GrowSpec(**fields | {"seed": 3, "carries_optimizer": True} | changes)


def grow(spec, base, folder):
    grow_checkpoint(spec, base=base, out=folder)
    return folder / "manifest.json"


def trainer(architecture=TINY):
    start_process_group("cpu")
    return Trainer(train_spec(architecture=architecture), Execution())


def tensors(state):
    return {"weights": state.weights, "exp_avg": state.exp_avg, "exp_avg_sq": state.exp_avg_sq}


@pytest.fixture(scope="module")
def base(corpus_folder, tmp_path_factory):
    """A trunk of 12 steps."""
    return manifest(run(train_spec(stop_step=12), tmp_path_factory.mktemp("base"), corpus_folder))


@pytest.fixture(scope="module")
def grown(base, tmp_path_factory):
    return grow(stack_spec(), base, tmp_path_factory.mktemp("grown"))


# Reading and writing


def test_moments_are_those_of_the_optimizer_itself(base):
    """Against torch's AdamW after Megatron has loaded the state, parameter by parameter."""
    this = trainer()
    checkpoint.load_training_state(base, this.core, this.optimizer)
    [adam] = [chained.optimizer for chained in this.optimizer.chained_optimizers]
    state, architecture = load_adam_state(base)
    assert architecture == TINY
    assert state.adam_step == 12
    for moment, found in tensors(state).items():
        theirs = {
            name: adam.state[parameter][moment] if moment != "weights" else parameter.detach()
            for name, parameter in this.core.named_parameters()
        }
        fused = checkpoint.from_canonical(found, TINY)
        assert fused.keys() == theirs.keys()
        assert all(torch.equal(fused[name], theirs[name]) for name in theirs), moment
        assert {name: tuple(tensor.shape) for name, tensor in found.items()} == canonical_shapes(TINY)
    assert not torch.equal(state.exp_avg[HEAD], state.exp_avg_sq[HEAD])
    assert all((tensor >= 0).all() for tensor in state.exp_avg_sq.values())


def test_a_state_written_again_is_read_by_the_trainer_and_trains_on_bit_by_bit(base, corpus_folder, tmp_path):
    state, _ = load_adam_state(base)
    save_adam_state(tmp_path / "copy", state, TINY, {"from": "a test"})
    spec = train_spec(origin="carried", first_sample=96, warmup_steps=0, stop_step=3)
    one = run(spec, tmp_path / "one", corpus_folder, parent=base)
    two = run(spec, tmp_path / "two", corpus_folder, parent=tmp_path / "copy/manifest.json")
    assert manifest(one).read_text() == manifest(two).read_text()
    assert steps(one) == steps(two)


def test_an_incomplete_moment_is_not_written(base, tmp_path):
    state, _ = load_adam_state(base)
    del state.exp_avg_sq["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(ValueError, match=r"model\.layers\.1\.mlp\.up_proj\.weight: missing"):
        save_adam_state(tmp_path / "copy", state, TINY, {})
    assert not (tmp_path / "copy").exists()


# Stacking


@pytest.mark.parametrize("factor", [2, 4])
def test_every_copy_of_a_layer_has_its_originals_weights_and_moments(factor, base, tmp_path):
    spec = stack_spec(factor)
    before, _ = load_adam_state(base)
    after, architecture = load_adam_state(grow(spec, base, tmp_path))
    assert architecture == spec.target
    assert architecture.n_layer == 2 * factor
    assert after.adam_step == before.adam_step == 12
    assert after.settings == before.settings
    for moment, found in tensors(after).items():
        originals = tensors(before)[moment]
        assert set(found) == set(canonical_shapes(spec.target))
        for name, tensor in found.items():
            layer, stem = parse_name(name)
            original = name if layer is None else layer_name(layer % 2, stem)
            assert torch.equal(tensor, originals[original]), (moment, name)
        # Layers do differ, so that a wrong order would be seen.
        assert not torch.equal(
            originals["model.layers.0.self_attn.q_proj.weight"],
            originals["model.layers.1.self_attn.q_proj.weight"],
        )
        assert {EMBEDDING, FINAL_NORM, HEAD} < set(found)


def test_the_manifest_says_what_it_is(grown):
    content = read_manifest(grown)
    assert content["kind"] == "training-state"
    assert content["origin"] == stack_spec().model_dump(mode="json", exclude={"source", "target"})
    assert content["origin"]["carries_optimizer"] is True


def test_stacking_twice_gives_equal_bytes(grown, base, tmp_path):
    assert grow(stack_spec(), base, tmp_path).read_bytes() == grown.read_bytes()


def test_a_trunk_segment_trains_from_a_stacked_state(grown, corpus_folder, tmp_path):
    target = stack_spec().target
    spec = train_spec(architecture=target, origin="carried", warmup_steps=0, stop_step=3)
    carried = run(spec, tmp_path / "carried", corpus_folder, parent=grown)

    # The same by hand: torch's own AdamW, with the moments put in one by one.
    this = trainer(target)
    state, _ = load_adam_state(grown)
    checkpoint.load_into(this.core, state.weights, target)
    [adam] = [chained.optimizer for chained in this.optimizer.chained_optimizers]
    first, second = (checkpoint.from_canonical(m, target) for m in (state.exp_avg, state.exp_avg_sq))
    for name, parameter in this.core.named_parameters():
        adam.state[parameter] = {
            "step": torch.tensor(12.0),
            "exp_avg": first[name].clone(),
            "exp_avg_sq": second[name].clone(),
        }
    this.schedule = spec.schedule
    stream = SampleStream([TokenSplit(corpus_folder, "train")], [1], seed=3, context=16)
    expected = [this.update(s, torch.from_numpy(stream.batch((s - 1) * 8, 8)))[0] for s in (1, 2, 3)]
    assert losses(carried) == expected
    assert read_manifest(manifest(carried))["origin"]["step"] == 3

    # Negative control: a fresh optimizer sees the same first loss and then another.
    checkpoint.save_weights(tmp_path / "weights", state.weights, target, {})
    fresh = run(
        spec.model_copy(update={"origin": "weights"}),
        tmp_path / "fresh",
        corpus_folder,
        parent=tmp_path / "weights/manifest.json",
    )
    assert losses(fresh)[0] == losses(carried)[0]
    assert losses(fresh)[2] != losses(carried)[2]


# What is refused


def test_a_decayed_base_has_no_optimizer_to_carry(base, tmp_path):
    state, _ = load_adam_state(base)
    checkpoint.save_weights(tmp_path / "decayed", state.weights, TINY, {})
    with pytest.raises(
        UserError, match="a checkpoint of kind 'weights'; 'training-state' is needed"
    ) as error:
        grow(stack_spec(), tmp_path / "decayed/manifest.json", tmp_path / "out")
    assert str(tmp_path / "decayed/manifest.json") in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_trunk_is_not_stacked_as_weights(base, tmp_path):
    with pytest.raises(UserError, match="a checkpoint of kind 'training-state'; 'weights' is needed"):
        grow(stack_spec(carries_optimizer=False), base, tmp_path / "out")


def test_a_trunk_of_another_shape_is_refused(base, tmp_path):
    spec = stack_spec(source=TINY.with_shape(n_layer=3))
    with pytest.raises(
        UserError, match=r"this model has shape .*n_layer=2.*the growth starts from .*n_layer=3"
    ):
        grow(spec, base, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_expansion_does_not_carry_the_optimizer(base, tmp_path):
    spec = GrowSpec(
        source=TINY,
        target=expanded_architecture(TINY),
        kind="expand",
        split="random",
        init="duplicate",
        seed=3,
        carries_optimizer=True,
    )
    with pytest.raises(UserError, match="carries_optimizer: 'expand' has no rule"):
        grow(spec, base, tmp_path / "out")


def test_a_truncated_trunk_is_named_with_the_fix(base, tmp_path):
    copy = Path(shutil.copytree(base.parent, tmp_path / "base"))
    payload = max((copy / "state").iterdir(), key=lambda path: path.stat().st_size)
    payload.write_bytes(payload.read_bytes()[:-1])
    with pytest.raises(UserError, match="truncated") as error:
        grow(stack_spec(), copy / "manifest.json", tmp_path / "out")
    assert f"-f {copy / 'manifest.json'}" in str(error.value)
