"""The growth job on real checkpoints: from a trained decay branch to a grown model that Megatron continues to train."""

from __future__ import annotations

import pytest
import torch
from drawn_weights import llama
from tiny_training import TINY, run, steps, train_spec

from twostage.common.errors import UserError
from twostage.common.storage import read_manifest
from twostage.corpora.samples import SampleStream, TokenSplit
from twostage.design.specs import EvaluateSpec, GrowSpec
from twostage.evaluation.evaluate import evaluate_checkpoint
from twostage.methods.expand import expanded_architecture
from twostage.methods.stack import stacked_architecture
from twostage.model.checkpoint import load_weights
from twostage.training.grow import grow_checkpoint

WIDE = expanded_architecture(TINY)
STACK = GrowSpec(source=TINY, target=stacked_architecture(TINY, 2), kind="stack", factor=2, seed=3)
EXPAND = GrowSpec(source=TINY, target=WIDE, kind="expand", split="random", init="duplicate", seed=3)


def grow(spec, base, folder):
    grow_checkpoint(spec, base=base, out=folder)
    return folder / "manifest.json"


def loss(checkpoint, tokens):
    spec = EvaluateSpec(corpus="words", context=16, batch_size=32)
    return evaluate_checkpoint(spec, manifest=checkpoint, tokens=tokens)["loss_nats"]


def test_stacking_repeats_the_layers_of_the_checkpoint(learned, tmp_path):
    grown, architecture = load_weights(grow(STACK, learned, tmp_path))
    state, _ = load_weights(learned)
    assert architecture == STACK.target
    assert architecture.n_layer == 4
    for name, tensor in grown.items():
        parts = name.split(".")
        if parts[1] == "layers":
            parts[2] = str(int(parts[2]) % 2)
        assert torch.equal(tensor, state[".".join(parts)]), name


def test_expansion_keeps_the_loss_of_the_trained_model(learned, corpus_folder, tmp_path):
    grown = grow(EXPAND, learned, tmp_path / "wide")
    assert load_weights(grown)[1] == WIDE
    assert WIDE.n_params / TINY.n_params == pytest.approx(2, rel=0.05)
    before = loss(learned, corpus_folder)
    assert loss(grown, corpus_folder) == pytest.approx(before, abs=1e-5)
    # Negative control: stacking changes the loss.
    assert abs(loss(grow(STACK, learned, tmp_path / "deep"), corpus_folder) - before) > 0.01


@pytest.mark.parametrize("spec", [STACK, EXPAND], ids=lambda spec: spec.kind)
def test_megatron_trains_a_grown_model_as_hugging_face_does(spec, learned, corpus_folder, tmp_path):
    grown = grow(spec, learned, tmp_path / "init")
    stage2 = train_spec(architecture=spec.target, origin="weights", stop_step=5)
    lines = steps(run(stage2, tmp_path, corpus_folder, parent=grown))

    state, _ = load_weights(grown)
    model = llama({name: tensor.clone() for name, tensor in state.items()}, spec.target)
    groups = [[p for p in model.parameters() if (p.ndim > 1) == decay] for decay in (True, False)]
    optimizer = torch.optim.AdamW(
        [{"params": groups[0], "weight_decay": 0.1}, {"params": groups[1], "weight_decay": 0.0}],
        betas=(0.9, 0.95),
    )
    stream = SampleStream([TokenSplit(corpus_folder, "train")], [1], seed=3, context=16)
    for step, line in enumerate(lines, 1):
        batch = torch.from_numpy(stream.batch((step - 1) * 8, 8))
        logits = model(batch[:, :-1]).logits
        expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        expected.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * min(1, step / 4)
        optimizer.step()
        assert line["loss"] == pytest.approx(expected.item(), abs=1e-4)
        assert line["grad_norm"] == pytest.approx(norm.item(), rel=1e-3)


@pytest.mark.parametrize("spec", [STACK, EXPAND], ids=lambda spec: spec.kind)
def test_growing_twice_gives_equal_bytes(spec, learned, tmp_path):
    one, two = (grow(spec, learned, tmp_path / name) for name in "ab")
    assert one.read_bytes() == two.read_bytes()
    assert read_manifest(one)["origin"]["kind"] == spec.kind


def test_the_split_depends_on_the_seed_only(learned, tmp_path):
    one = grow(EXPAND, learned, tmp_path / "a")
    other = grow(EXPAND.model_copy(update={"seed": 4}), learned, tmp_path / "b")
    assert read_manifest(one)["payload"] != read_manifest(other)["payload"]


def test_a_base_of_another_shape_is_refused(learned, tmp_path):
    spec = STACK.model_copy(update={"source": TINY.with_shape(n_layer=3)})
    with pytest.raises(
        UserError, match=r"this model has shape .*n_layer=2.*the growth starts from .*n_layer=3"
    ) as error:
        grow(spec, learned, tmp_path / "out")
    assert str(learned) in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_truncated_base_is_named(learned, tmp_path):
    copy = tmp_path / "base"
    copy.mkdir()
    (copy / "manifest.json").write_bytes(learned.read_bytes())
    (copy / "model.safetensors").write_bytes((learned.parent / "model.safetensors").read_bytes()[:-1])
    with pytest.raises(UserError, match="truncated"):
        grow(STACK, copy / "manifest.json", tmp_path / "out")
    assert not (tmp_path / "out").exists()
