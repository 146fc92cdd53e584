"""Validation losses, compared with a float64 evaluation by Hugging Face's model on the same windows."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
import torch
from drawn_weights import llama, random_state
from tiny_training import TINY

from twostage.common.errors import UserError
from twostage.common.storage import read_manifest, write_manifest
from twostage.design.specs import EvaluateSpec
from twostage.evaluation.evaluate import evaluate_checkpoint
from twostage.model.checkpoint import load_weights, save_weights

SPEC = EvaluateSpec(corpus="words", context=16, batch_size=32)


def save(folder, state, architecture=TINY):
    save_weights(folder, state, architecture, {})
    return folder / "manifest.json"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save(tmp_path_factory.mktemp("checkpoint"), random_state(TINY, dtype=torch.float32))


@pytest.fixture(scope="module")
def record(checkpoint, corpus_folder):
    return evaluate_checkpoint(SPEC, manifest=checkpoint, tokens=corpus_folder)


@pytest.fixture(scope="module")
def sample_means(checkpoint, corpus_folder):
    """Return the mean loss of every window in float64, reading the file without our readers."""
    stream = np.fromfile(corpus_folder / "valid.bin", dtype=np.uint16).astype(np.int64)
    n_samples = (len(stream) - 1) // 16
    windows = np.stack([stream[16 * i : 16 * i + 17] for i in range(n_samples)])
    state, _ = load_weights(checkpoint)
    model = llama({name: tensor.double() for name, tensor in state.items()}, TINY)
    batch = torch.from_numpy(windows)
    with torch.no_grad():
        logits = model(batch[:, :-1]).logits
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none")
    return losses.mean(dim=1).numpy()


def test_the_loss_equals_hugging_face_in_float64(record, sample_means):
    assert record["n_samples"] == len(sample_means) > 200
    assert record["n_samples"] % SPEC.batch_size  # the last batch is smaller
    assert record["n_tokens"] == 16 * len(sample_means)
    assert record["loss_nats"] == pytest.approx(sample_means.mean(), abs=1e-6)


def test_the_standard_error_is_that_of_the_mean_over_samples(record, sample_means):
    n = len(sample_means)
    spread = math.sqrt(((sample_means - sample_means.mean()) ** 2).sum() / (n - 1))
    assert record["loss_se"] == pytest.approx(spread / math.sqrt(n), rel=1e-5)


def test_the_loss_per_byte_counts_all_bytes_of_the_text(record, corpus_folder):
    valid = read_manifest(corpus_folder / "manifest.json")["splits"]["valid"]
    assert valid["bytes"] > valid["tokens"]
    assert record["loss_nats_per_byte"] == pytest.approx(
        record["loss_nats"] * valid["tokens"] / valid["bytes"], rel=1e-12
    )


@pytest.mark.parametrize("batch_size", [1, 50, 10_000])
def test_the_batch_changes_rounding_only(batch_size, record, checkpoint, corpus_folder):
    spec = EvaluateSpec(corpus="words", context=16, batch_size=batch_size)
    other = evaluate_checkpoint(spec, manifest=checkpoint, tokens=corpus_folder)
    assert other["loss_nats"] == pytest.approx(record["loss_nats"], abs=1e-6)
    assert other["loss_se"] == pytest.approx(record["loss_se"], rel=1e-5)


def test_repeating_gives_the_same_bytes(record, checkpoint, corpus_folder):
    torch.manual_seed(99)
    again = evaluate_checkpoint(SPEC, manifest=checkpoint, tokens=corpus_folder)
    assert json.dumps(again) == json.dumps(record)


def test_another_context_cuts_other_windows(checkpoint, corpus_folder, record):
    spec = EvaluateSpec(corpus="words", context=8, batch_size=32)
    other = evaluate_checkpoint(spec, manifest=checkpoint, tokens=corpus_folder)
    assert other["n_samples"] in (2 * record["n_samples"], 2 * record["n_samples"] + 1)
    assert other["loss_nats"] != record["loss_nats"]


def test_weights_that_are_not_finite_are_refused(corpus_folder, tmp_path):
    state = random_state(TINY, dtype=torch.float32)
    state["model.layers.0.self_attn.o_proj.weight"][0, 0] = math.nan
    manifest = save(tmp_path, state)
    with pytest.raises(
        UserError, match="the validation loss is nan: the checkpoint has values that are not finite"
    ) as error:
        evaluate_checkpoint(SPEC, manifest=manifest, tokens=corpus_folder)
    assert str(manifest) in str(error.value)


def test_another_vocabulary_is_refused(corpus_folder, tmp_path):
    other = TINY.with_shape(vocab_size=301)
    manifest = save(tmp_path, random_state(other, dtype=torch.float32), other)
    with pytest.raises(UserError, match="tokenised with a vocabulary of 300, but the checkpoint has 301"):
        evaluate_checkpoint(SPEC, manifest=manifest, tokens=corpus_folder)


def test_a_truncated_checkpoint_is_named(checkpoint, corpus_folder, tmp_path):
    copy = shutil.copytree(checkpoint.parent, tmp_path / "copy")
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(UserError, match="truncated") as error:
        evaluate_checkpoint(SPEC, manifest=copy / "manifest.json", tokens=corpus_folder)
    assert str(file) in str(error.value)


def test_a_truncated_validation_split_is_named(checkpoint, corpus_folder, tmp_path):
    copy = shutil.copytree(corpus_folder, tmp_path / "copy")
    file = copy / "valid.bin"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(UserError, match="truncated") as error:
        evaluate_checkpoint(SPEC, manifest=checkpoint, tokens=copy)
    assert str(file) in str(error.value)


def test_a_split_too_short_for_an_error_bar_is_refused(corpus_folder, tmp_path):
    n_tokens = read_manifest(corpus_folder / "manifest.json")["splits"]["valid"]["tokens"]
    context = n_tokens // 2 + 1
    architecture = TINY.with_shape(context=context)
    manifest = save(tmp_path, random_state(architecture, dtype=torch.float32), architecture)
    spec = EvaluateSpec(corpus="words", context=context, batch_size=32)
    with pytest.raises(
        UserError, match=rf"has 1 samples of {context} tokens; at least 2 are needed; raise valid_fraction"
    ):
        evaluate_checkpoint(spec, manifest=manifest, tokens=corpus_folder)


def test_a_missing_split_is_refused(checkpoint, corpus_folder, tmp_path):
    copy = shutil.copytree(corpus_folder, tmp_path / "copy")
    content = read_manifest(copy / "manifest.json")
    content["splits"] = {"train": content["splits"]["train"]}
    write_manifest(copy / "manifest.json", content)
    with pytest.raises(UserError, match="no split 'valid'"):
        evaluate_checkpoint(SPEC, manifest=checkpoint, tokens=copy)
