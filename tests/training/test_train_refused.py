"""Refused jobs and diverged runs: they stop with a message and write nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from drawn_weights import poisoned, random_state
from tiny_training import (
    BATCHES,
    TINY,
    job,
    manifest,
    run,
    train_spec,
    trainer,
)

from twostage.common.errors import UserError
from twostage.model import checkpoint
from twostage.training.loop import DivergedError
from twostage.training.train import train


def test_a_parent_at_another_step_is_refused(half, corpus_folder, tmp_path):
    spec = train_spec(start_step=12, origin="state")
    with pytest.raises(UserError, match="is at step 10, but the job starts at step 12") as error:
        run(spec, tmp_path, corpus_folder, parent=manifest(half))
    assert str(manifest(half)) in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("origin", ["weights", "state", "carried"])
def test_a_missing_parent_is_refused(origin, corpus_folder, tmp_path):
    with pytest.raises(
        UserError, match=f"--parent: missing; a job with origin '{origin}' needs the manifest"
    ):
        run(train_spec(origin=origin), tmp_path, corpus_folder)


def test_a_parent_of_the_wrong_kind_is_refused(half, corpus_folder, tmp_path):
    with pytest.raises(UserError, match="a checkpoint of kind 'training-state'; 'weights' is needed"):
        run(train_spec(origin="weights"), tmp_path, corpus_folder, parent=manifest(half))


@pytest.mark.parametrize("origin", ["state", "carried"])
def test_weights_are_no_training_state(origin, corpus_folder, tmp_path):
    checkpoint.save_weights(tmp_path / "parent", random_state(TINY, dtype=torch.float32), TINY, {"step": 0})
    parent = tmp_path / "parent/manifest.json"
    with pytest.raises(
        UserError, match="a checkpoint of kind 'weights'; 'training-state' is needed"
    ) as error:
        run(train_spec(origin=origin), tmp_path, corpus_folder, parent=parent)
    assert str(parent) in str(error.value)


@pytest.mark.parametrize("origin", ["weights", "state", "carried"])
def test_a_parent_of_another_shape_is_refused(origin, half, corpus_folder, tmp_path):
    other = TINY.with_shape(d_mlp=96)
    if origin == "weights":
        checkpoint.save_weights(tmp_path / "parent", random_state(TINY, dtype=torch.float32), TINY, {})
        parent = tmp_path / "parent/manifest.json"
    else:
        parent = manifest(half)
    spec = train_spec(architecture=other, origin=origin, start_step=10 if origin == "state" else 0)
    with pytest.raises(UserError, match=r"has architecture .*d_mlp=64.*the job trains .*d_mlp=96"):
        run(spec, tmp_path, corpus_folder, parent=parent)


def test_the_number_of_corpora_must_fit_the_mixture(corpus_folder, tmp_path):
    this = job(train_spec(), tmp_path, corpus_folder)
    with pytest.raises(UserError, match="2 manifests for the 1 corpora of the mixture"):
        train(type(this)(**vars(this) | {"tokens": (corpus_folder, corpus_folder)}))


def test_a_loss_that_is_not_a_number_stops_the_job(corpus_folder, tmp_path):
    parent = poisoned(tmp_path / "parent", TINY, lambda state: state["lm_head.weight"].fill_(math.nan))
    with pytest.raises(
        DivergedError, match=r"loss is nan.* at step 1 .*lower models\.\*\.peak_lr \(now 0\.005\)"
    ):
        run(train_spec(origin="weights"), tmp_path, corpus_folder, parent=parent)
    assert not (tmp_path / "out").exists()


def test_a_diverged_second_stage_names_its_own_key_too(corpus_folder, tmp_path):
    parent = poisoned(tmp_path / "parent", TINY, lambda state: state["lm_head.weight"].fill_(math.nan))
    with pytest.raises(DivergedError, match=r"in stage 2, lower methods\.\*\.peak_lr_fraction instead"):
        run(train_spec(origin="weights"), tmp_path, corpus_folder, parent=parent)


def test_a_gradient_that_is_not_finite_stops_the_job_even_in_the_last_step(corpus_folder, tmp_path):
    """An MLP with very large hidden values and zero output: the loss is finite, the squared gradient overflows."""

    def poison(state):
        state["model.layers.1.mlp.up_proj.weight"].fill_(1e30)
        state["model.layers.1.mlp.down_proj.weight"].zero_()

    parent = poisoned(tmp_path / "parent", TINY, poison)
    by_hand = trainer()
    checkpoint.load_into(by_hand.core, checkpoint.load_weights(parent)[0], TINY)
    loss, norm = by_hand.update(1, BATCHES[0])
    assert math.isfinite(loss)
    assert not math.isfinite(norm)
    with pytest.raises(DivergedError, match=r"gradient norm (nan|inf) at step 1"):
        run(train_spec(origin="weights", stop_step=1), tmp_path, corpus_folder, parent=parent)
    assert not (tmp_path / "out").exists()


def test_a_loss_far_above_a_uniform_guess_stops_the_job(corpus_folder, tmp_path):
    with pytest.raises(
        DivergedError, match=r"uniform predictions have 5\.70\): the run has diverged"
    ) as error:
        run(train_spec(peak_lr=30.0, warmup_steps=0), tmp_path, corpus_folder)
    assert "peak_lr_fraction" not in str(error.value)  # the first stage has no such key
    found = float(str(error.value).split("loss is ")[1].split(",")[0])
    assert found > 3 * np.log(300)
    assert not (tmp_path / "out").exists()
