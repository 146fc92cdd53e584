"""Validation during training: the right samples and loss, at the right steps, without a trace in the training."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_weights import llama, random_state
from tiny_training import TINY, identity, job, lose_node_at, losses, manifest, run, steps, train_spec

from twostage.common.errors import UserError
from twostage.common.storage import read_manifest
from twostage.corpora.samples import SampleStream, TokenSplit
from twostage.design.schedule import Schedule
from twostage.design.specs import CurveSpec, EvaluateSpec
from twostage.evaluation.evaluate import evaluate_checkpoint
from twostage.model import checkpoint
from twostage.model.build import start_process_group
from twostage.training.heldout import TrainingValidation, evenly_spaced
from twostage.training.loop import DivergedError
from twostage.training.train import train
from twostage.training.trainer import Execution, Trainer

CURVE = CurveSpec(corpus="words", every_steps=4, samples=30)


def valid_losses(out):
    return {line["step"]: line["valid_loss"] for line in steps(out) if "valid_loss" in line}


def without(lines):
    return [{key: value for key, value in line.items() if key != "valid_loss"} for line in lines]


@pytest.fixture(scope="module")
def plain(corpus_folder, tmp_path_factory):
    return run(train_spec(stop_step=10), tmp_path_factory.mktemp("plain"), corpus_folder)


@pytest.fixture(scope="module")
def watched(corpus_folder, tmp_path_factory):
    spec = train_spec(stop_step=10, validation=CURVE)
    return run(spec, tmp_path_factory.mktemp("watched"), corpus_folder)


@pytest.mark.parametrize(
    ("n_samples", "count", "expected"),
    [(10, 1, [0]), (10, 3, [0, 3, 6]), (10, 10, list(range(10))), (7, 4, [0, 1, 3, 5])],
)
def test_samples_are_evenly_spaced(n_samples, count, expected):
    assert evenly_spaced(n_samples, count).tolist() == expected


def test_training_with_validation_is_training_without_it_bit_by_bit(plain, watched):
    assert without(steps(watched)) == steps(plain)
    assert manifest(watched).read_bytes() == manifest(plain).read_bytes()


def test_looking_leaves_no_trace(corpus_folder):
    start_process_group("cpu")
    spec = train_spec(validation=CURVE)
    this = Trainer(spec, Execution())
    validation = TrainingValidation(spec, (corpus_folder,))
    generator = torch.get_rng_state()
    first = validation.loss(this.core, batch_size=8, device="cpu")
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(module.training for module in this.core.modules())
    assert all(parameter.grad is None for parameter in this.core.parameters())
    assert validation.loss(this.core, batch_size=8, device="cpu") == first
    this.core.eval()
    validation.loss(this.core, batch_size=8, device="cpu")
    assert not any(module.training for module in this.core.modules())


def test_a_trunk_is_validated_every_so_many_steps_and_a_branch_at_its_end_too(
    watched, corpus_folder, tmp_path
):
    assert list(valid_losses(watched)) == [4, 8]
    trunk = run(
        train_spec(start_step=10, stop_step=20, origin="state", validation=CURVE),
        tmp_path / "trunk",
        corpus_folder,
        parent=manifest(watched),
    )
    assert list(valid_losses(trunk)) == [12, 16, 20]  # the run's steps, not the job's
    spec = train_spec(start_step=10, stop_step=13, decay_start=10, origin="state", validation=CURVE)
    branch = run(spec, tmp_path / "branch", corpus_folder, parent=manifest(watched))
    assert list(valid_losses(branch)) == [12, 13]


def test_on_the_whole_split_it_is_the_evaluation(watched, corpus_folder, tmp_path):
    n_samples = TokenSplit(corpus_folder, "valid").n_samples(16)
    curve = CurveSpec(corpus="words", every_steps=100, samples=n_samples)
    spec = train_spec(start_step=10, stop_step=13, decay_start=10, origin="state", validation=curve)
    branch = run(spec, tmp_path, corpus_folder, parent=manifest(watched))
    expected = evaluate_checkpoint(
        EvaluateSpec(corpus="words", context=16, batch_size=32),
        manifest=manifest(branch),
        tokens=corpus_folder,
    )["loss_nats"]
    assert valid_losses(branch)[13] == pytest.approx(expected, abs=1e-6)
    assert abs(losses(branch)[-1] - expected) > 1e-4  # not the training loss


def test_the_loss_is_hugging_faces_on_the_chosen_samples(corpus_folder):
    start_process_group("cpu")
    spec = train_spec(validation=CURVE)
    this = Trainer(spec, Execution())
    state = random_state(TINY, dtype=torch.float32)
    checkpoint.load_into(this.core, state, TINY)
    found = TrainingValidation(spec, (corpus_folder,)).loss(this.core, batch_size=7, device="cpu")

    stream = np.fromfile(corpus_folder / "valid.bin", dtype=np.uint16).astype(np.int64)
    n_samples = (len(stream) - 1) // 16
    windows = [stream[16 * i : 16 * i + 17] for i in (k * n_samples // 30 for k in range(30))]
    batch = torch.from_numpy(np.stack(windows))
    model = llama({name: tensor.double() for name, tensor in state.items()}, TINY)
    with torch.no_grad():
        logits = model(batch[:, :-1]).logits.flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, batch[:, 1:].flatten()).item()
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_corpus_of_a_mixture_is_found_by_its_name(corpus_folder, tmp_path):
    spec = train_spec(mixture=(("others", 1), ("words", 3)), validation=CURVE)
    validation = TrainingValidation(spec, (tmp_path / "not read", corpus_folder))
    assert validation.split.manifest_path == corpus_folder / "manifest.json"


def test_a_branch_of_no_steps_is_validated_once(watched, corpus_folder, tmp_path):
    rates = Schedule(kind="constant", peak_lr=5e-3, warmup_steps=4)
    fields = {"schedule": rates, "validation": CURVE}
    trunk = run(train_spec(stop_step=8, **fields), tmp_path / "trunk", corpus_folder)
    branch = run(
        train_spec(start_step=8, stop_step=8, origin="state", **fields),
        tmp_path / "branch",
        corpus_folder,
        parent=manifest(trunk),
    )
    assert steps(branch) == [{"step": 8, "valid_loss": valid_losses(trunk)[8]}]
    assert valid_losses(trunk) == valid_losses(watched)


def test_a_resumed_job_has_the_same_validation_losses(watched, corpus_folder, tmp_path, monkeypatch, caplog):
    this = job(train_spec(stop_step=10, validation=CURVE), tmp_path, corpus_folder, save_every_s=0.0)
    lose_node_at(6, this, monkeypatch)
    train(this)
    assert "resuming at step 5 of 10" in caplog.text
    assert identity(this.out) == identity(watched)


# What is refused


def test_a_corpus_outside_the_mixture_is_refused(corpus_folder, tmp_path):
    curve = CURVE.model_copy(update={"corpus": "others"})
    with pytest.raises(
        UserError, match=r"validation: corpus 'others' is not in the mixture; choose one of \['words'\]"
    ):
        run(train_spec(validation=curve), tmp_path, corpus_folder)
    assert not (tmp_path / "out").exists()


def test_more_samples_than_there_are_is_refused(corpus_folder, tmp_path):
    n_samples = TokenSplit(corpus_folder, "valid").n_samples(16)
    curve = CURVE.model_copy(update={"samples": n_samples + 1})
    message = f"validation.samples: {n_samples + 1}, but the held-out split of words has {n_samples} samples"
    with pytest.raises(UserError, match=message):
        run(train_spec(validation=curve), tmp_path, corpus_folder)


def test_a_validation_loss_that_is_not_a_number_stops_the_job(corpus_folder, tmp_path):
    """An embedding that no sample of the first update reads, but a held-out one does."""
    first = SampleStream([TokenSplit(corpus_folder, "train")], [1], seed=3, context=16).batch(0, 8)
    valid = TokenSplit(corpus_folder, "valid")
    shown = valid.samples(evenly_spaced(valid.n_samples(16), 30), 16)[:, :-1]
    token = sorted(set(shown.flatten().tolist()) - set(first.flatten().tolist()))[0]
    state = random_state(TINY, dtype=torch.float32)
    state["model.embed_tokens.weight"][token] = math.nan
    checkpoint.save_weights(tmp_path / "parent", state, TINY, {})
    curve = CURVE.model_copy(update={"every_steps": 1})
    this = job(
        train_spec(origin="weights", validation=curve),
        tmp_path,
        corpus_folder,
        parent=tmp_path / "parent/manifest.json",
    )
    with pytest.raises(
        DivergedError, match=r"the validation loss is nan after step 1: .*models\.\*\.peak_lr"
    ):
        train(this)
    assert not this.out.exists()
    train(replace(this, spec=train_spec(origin="weights", stop_step=1)))  # the update itself was in order
    assert read_manifest(manifest(this.out))["origin"]["step"] == 1
