"""Checkpoints: equal states give equal bytes, round trips are exact, and errors name the file and the fix."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch
from drawn_weights import random_state
from tiny_training import TINY, train_spec

from twostage.common.errors import UserError
from twostage.common.storage import release_payload, verify_payload
from twostage.model import checkpoint
from twostage.model.build import start_process_group
from twostage.training import state as training_state
from twostage.training.trainer import Execution, Trainer

BATCHES = torch.randint(300, (12, 8, 17), generator=torch.Generator().manual_seed(0))


def trainer(**changes):
    start_process_group("cpu")
    return Trainer(train_spec(**changes), Execution())


def updates(this, steps):
    return [this.update(step, BATCHES[step - 1]) for step in steps]


def save(this, folder, step=0):
    training_state.save_training_state(this, folder, {"step": step})
    return folder / "manifest.json"


def weights(this):
    return checkpoint.to_canonical(this.core.state_dict(), TINY)


@pytest.fixture
def saved_weights(tmp_path):
    state = random_state(TINY, dtype=torch.float32)
    checkpoint.save_weights(tmp_path / "weights", state, TINY, {"step": 7})
    return tmp_path / "weights/manifest.json", state


@pytest.fixture(scope="module")
def saved_state(tmp_path_factory):
    this = trainer()
    updates(this, range(1, 4))
    return save(this, tmp_path_factory.mktemp("state"), 3)


# Weights


def test_weights_round_trip_and_carry_their_shape(tmp_path):
    architecture = TINY.with_shape(norm_eps=1.25e-5, n_head=3, head_dim=24)
    state = random_state(architecture, dtype=torch.float32)
    checkpoint.save_weights(tmp_path, state, architecture, {"step": 7})
    loaded, found = checkpoint.load_weights(tmp_path / "manifest.json")
    assert found == architecture
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_equal_weights_give_equal_bytes(tmp_path, saved_weights):
    manifest, state = saved_weights
    reordered = dict(reversed(state.items()))
    checkpoint.save_weights(tmp_path / "again", reordered, TINY, {"step": 7})
    assert (tmp_path / "again/manifest.json").read_bytes() == manifest.read_bytes()


def test_the_manifest_holds_shape_origin_and_checksums_only(saved_weights):
    content = json.loads(saved_weights[0].read_text())
    assert content.keys() == {"kind", "architecture", "origin", "payload"}
    assert content["kind"] == "weights"
    assert content["payload"].keys() == {"model.safetensors"}


def test_saving_again_ends_a_release(tmp_path, saved_weights):
    """For weights and training state: the mark of a released payload must be removed when the payload is saved again."""
    manifest, state = saved_weights
    this = trainer()
    for again, path in (
        (lambda folder: checkpoint.save_weights(folder, state, TINY, {"step": 7}), manifest),
        (lambda folder: save(this, folder), save(this, tmp_path / "state")),
    ):
        release_payload(path, consumers=[path])
        with pytest.raises(UserError, match="deleted after its last planned use"):
            verify_payload(path)
        again(path.parent)
        assert verify_payload(path)
        assert not path.with_name("released.json").exists()


def test_incomplete_weights_are_not_saved(tmp_path):
    state = random_state(TINY, dtype=torch.float32)
    del state["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(ValueError, match=r"model\.layers\.1\.mlp\.up_proj\.weight: missing"):
        checkpoint.save_weights(tmp_path, state, TINY, {})
    assert not (tmp_path / "manifest.json").exists()


def test_weights_of_another_shape_do_not_load_into_a_model():
    other = TINY.with_shape(n_layer=3)
    with pytest.raises(UserError, match="does not match the model"):
        checkpoint.load_into(trainer().core, random_state(other, dtype=torch.float32), other)


# Damage


def truncate(file):
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


def alter(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [(lambda file: file.unlink(), "is missing"), (truncate, "truncated"), (alter, "SHA-256 differs")],
    ids=["missing", "truncated", "altered"],
)
@pytest.mark.parametrize("kind", ["weights", "training-state"])
def test_a_damaged_payload_is_named_with_the_fix(tmp_path, kind, damage, message, saved_weights):
    if kind == "weights":
        manifest = saved_weights[0]
        payload = manifest.parent / "model.safetensors"
        read = partial(checkpoint.load_weights, manifest)
    else:
        this = trainer()
        manifest = save(this, tmp_path / "state")
        payload = max((manifest.parent / "state").iterdir(), key=lambda path: path.stat().st_size)
        read = partial(checkpoint.load_training_state, manifest, this.core, this.optimizer)
    before = payload.read_bytes()
    damage(payload)
    assert not payload.exists() or payload.read_bytes() != before
    with pytest.raises(UserError, match=message) as error:
        read()
    assert str(payload) in str(error.value)
    assert f"-f {manifest}" in str(error.value)


def test_the_other_kind_of_checkpoint_is_refused(saved_weights, saved_state):
    this = trainer()
    with pytest.raises(UserError, match="a checkpoint of kind 'weights'; 'training-state' is needed"):
        checkpoint.load_training_state(saved_weights[0], this.core, this.optimizer)
    with pytest.raises(UserError, match="a checkpoint of kind 'training-state'; 'weights' is needed"):
        checkpoint.load_weights(saved_state)


def test_a_missing_manifest_names_the_command_that_remakes_it(tmp_path):
    with pytest.raises(UserError, match=r"manifest is missing; remake it with: snakemake .*-f"):
        checkpoint.load_weights(tmp_path / "manifest.json")


# Training state


def test_saving_twice_gives_equal_manifests(tmp_path, saved_state):
    this = trainer()
    updates(this, range(1, 4))
    assert save(this, tmp_path, 3).read_bytes() == saved_state.read_bytes()


def test_saving_replaces_what_was_there(tmp_path):
    this = trainer()
    (tmp_path / "state").mkdir()
    (tmp_path / "state/old").write_text("x")
    manifest = save(this, tmp_path)
    assert not (tmp_path / "state/old").exists()
    assert "state/old" not in json.loads(manifest.read_text())["payload"]


@pytest.mark.parametrize("k", [1, 5])
def test_a_state_round_trips_bit_exactly(tmp_path, k):
    whole = trainer()
    expected = updates(whole, range(1, 11))
    first = trainer()
    got = updates(first, range(1, k + 1))
    manifest = save(first, tmp_path, k)
    second = trainer(seed=99)  # other initial weights, so that everything must come from the file
    assert not torch.equal(weights(second)["lm_head.weight"], weights(first)["lm_head.weight"])
    assert checkpoint.load_training_state(manifest, second.core, second.optimizer) == {"step": k}
    got += updates(second, range(k + 1, 11))
    assert got == expected
    final, reference = weights(second), weights(whole)
    assert all(torch.equal(final[name], reference[name]) for name in reference)


def test_moments_and_step_count_matter(tmp_path):
    """Negative control: weights alone do not continue a run."""
    whole = trainer()
    expected = updates(whole, range(1, 7))
    first = trainer()
    updates(first, range(1, 4))
    second = trainer()
    checkpoint.load_into(second.core, weights(first), TINY)
    got = updates(second, range(4, 7))
    assert got[0] == expected[3]
    assert got[2] != expected[5]
