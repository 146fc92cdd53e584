"""Runs that continue with the optimizer state of a trunk, exactly as the trunk would have continued."""

from __future__ import annotations

import pytest
from tiny_training import (
    BATCHES,
    TINY,
    losses,
    manifest,
    metrics,
    run,
    steps,
    train_spec,
    trainer,
    weights,
)

from twostage.common.storage import read_manifest
from twostage.model import checkpoint
from twostage.study import OptimizerRecipe


@pytest.fixture(scope="module")
def continued(half, corpus_folder, tmp_path_factory):
    """Update 11 of the trunk."""
    spec = train_spec(start_step=10, stop_step=11, origin="state")
    return run(spec, tmp_path_factory.mktemp("continued"), corpus_folder, parent=manifest(half))


def carried_spec(**changes):
    """Another run on the samples that follow the trunk's, at the peak rate from its first update."""
    return train_spec(
        **{"origin": "carried", "first_sample": 80, "warmup_steps": 0, "stop_step": 1} | changes
    )


def payload(out):
    return read_manifest(manifest(out))["payload"]


def test_a_carried_run_continues_the_trunk_bit_by_bit(half, continued, corpus_folder, tmp_path):
    carried = run(carried_spec(), tmp_path / "carried", corpus_folder, parent=manifest(half))
    # Weights, both moments and Adam's own step count; only the run's step differs.
    assert payload(carried) == payload(continued)
    assert steps(carried) == [steps(continued)[0] | {"step": 1}]
    assert read_manifest(manifest(carried))["origin"]["step"] == 1
    assert metrics(carried)["grad_norm_mean"] == steps(carried)[0]["grad_norm"]  # of this run alone

    second = run(carried_spec(stop_step=3), tmp_path / "longer", corpus_folder, parent=manifest(half))
    third = run(
        carried_spec(start_step=1, stop_step=3, origin="state"),
        tmp_path / "third",
        corpus_folder,
        parent=manifest(carried),
    )
    assert manifest(third).read_text() == manifest(second).read_text()


def test_a_fresh_optimizer_is_not_a_carried_one(half, continued, corpus_folder, tmp_path):
    """Negative control: the same weights, batch and rate."""
    other = trainer()
    checkpoint.load_training_state(manifest(half), other.core, other.optimizer)
    checkpoint.save_weights(tmp_path / "weights", weights(other), TINY, {})
    spec = carried_spec(origin="weights")
    fresh = run(spec, tmp_path, corpus_folder, parent=tmp_path / "weights/manifest.json")
    assert losses(fresh) == losses(continued)
    assert payload(fresh) != payload(continued)


def test_a_carried_run_takes_its_recipe_from_the_spec(half, corpus_folder, tmp_path):
    """Megatron saves the optimizer's settings with its state; they must not be loaded."""
    norms = []
    for recipe in (OptimizerRecipe(), OptimizerRecipe(adam_beta1=0.5, adam_eps=1e-3)):
        this = trainer(recipe=recipe)
        checkpoint.load_training_state(manifest(half), this.core, this.optimizer)
        this.update(5, BATCHES[0])
        norms.append(this.update(6, BATCHES[1])[1])
        assert {group["betas"] for group in this.optimizer.param_groups} == {(recipe.adam_beta1, 0.95)}
    assert norms[0] != norms[1]
