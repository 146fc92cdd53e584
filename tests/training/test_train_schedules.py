"""Jobs with the constant and the cosine schedule: branches without steps, and runs without a trunk."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_training import (
    TINY,
    identity,
    job,
    lose_node_at,
    losses,
    manifest,
    metrics,
    run,
    steps,
    train_spec,
    trainer,
    weights,
)

from twostage.design.schedule import Schedule
from twostage.model import checkpoint
from twostage.training.train import train


def constant_spec(**changes):
    rates = Schedule(kind="constant", peak_lr=5e-3, warmup_steps=4)
    return train_spec(**{"schedule": rates, "start_step": 10, "stop_step": 10, "origin": "state"} | changes)


def test_a_branch_of_no_steps_is_the_trunk_as_weights(half, corpus_folder, tmp_path):
    trunk = run(constant_spec(start_step=0, origin="init"), tmp_path / "trunk", corpus_folder)
    assert steps(trunk) == steps(half)
    branch = run(constant_spec(), tmp_path / "branch", corpus_folder, parent=manifest(trunk))
    state, architecture = checkpoint.load_weights(manifest(branch))
    assert architecture == TINY
    expected = trainer()
    checkpoint.load_training_state(manifest(half), expected.core, expected.optimizer)
    assert all(torch.equal(state[name], tensor) for name, tensor in weights(expected).items())
    assert steps(branch) == []
    found = metrics(branch)
    assert found["final_loss_nats"] is None  # nothing was trained here
    assert found["tokens_per_s"] is None
    assert found["grad_norm_mean"] == metrics(half)["grad_norm_mean"]
    assert found["epochs"] == metrics(half)["epochs"]


def cosine_spec(**changes):
    rates = Schedule(kind="cosine", peak_lr=5e-3, warmup_steps=4, total_steps=12)
    return train_spec(**{"schedule": rates, "stop_step": 12} | changes)


@pytest.fixture(scope="module")
def cosine(corpus_folder, tmp_path_factory):
    return run(cosine_spec(), tmp_path_factory.mktemp("cosine"), corpus_folder)


def test_a_cosine_run_is_one_branch_from_its_first_step(cosine, trunk):
    lines = steps(cosine)
    assert lines[:4] == steps(trunk)[:4]
    rates = [5e-4 + 4.5e-3 * (1 + math.cos(math.pi * (step - 4) / 8)) / 2 for step in range(4, 13)]
    assert [line["lr"] for line in lines[3:]] == pytest.approx(rates, rel=1e-12)
    assert checkpoint.load_weights(manifest(cosine))[1] == TINY
    norms = [
        line["grad_norm"] for line in lines[4:]
    ]  # all steps after the warmup, including those with decreasing rates
    assert metrics(cosine)["grad_norm_mean"] == pytest.approx(sum(norms) / len(norms), rel=1e-12)


def test_a_cosine_run_starts_a_second_stage_too(cosine, corpus_folder, tmp_path):
    second = run(cosine_spec(origin="weights"), tmp_path, corpus_folder, parent=manifest(cosine))
    assert [line["lr"] for line in steps(second)] == [line["lr"] for line in steps(cosine)]
    assert losses(second)[0] < losses(cosine)[0]


def test_a_cosine_run_resumes_within_itself_bit_by_bit(cosine, corpus_folder, tmp_path, monkeypatch, caplog):
    this = job(cosine_spec(), tmp_path, corpus_folder, save_every_s=0.0)
    lose_node_at(8, this, monkeypatch)
    train(this)
    assert "resuming at step 7 of 12" in caplog.text
    assert metrics(this.out)["resumed_from_step"] == 7
    assert identity(this.out) == identity(cosine)
    assert metrics(this.out)["grad_norm_mean"] == metrics(cosine)["grad_norm_mean"]
