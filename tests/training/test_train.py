"""Training jobs: bitwise equality of chains and branches, second stages, and the files written at the end."""

from __future__ import annotations

import pytest
import torch
from drawn_weights import llama
from tiny_training import (
    TINY,
    identity,
    job,
    losses,
    manifest,
    metrics,
    run,
    steps,
    train_spec,
    trainer,
    weights,
)

from twostage.corpora.samples import SampleStream, TokenSplit
from twostage.model import checkpoint
from twostage.training import state as training_state
from twostage.training.train import train


def test_learning_rates_of_a_run_are_those_of_its_schedule(trunk, half, corpus_folder, tmp_path):
    branch = run(branch_spec(), tmp_path, corpus_folder, parent=manifest(half))
    assert [line["step"] for line in steps(trunk)] == list(range(1, 21))
    assert [line["lr"] for line in steps(trunk)] == [5e-3 * step / 4 for step in (1, 2, 3)] + [5e-3] * 17
    assert [line["step"] for line in steps(branch)] == [11, 12]
    assert [line["lr"] for line in steps(branch)] == [pytest.approx(0.55 * 5e-3), 5e-4]


def test_the_first_loss_is_that_of_the_initial_weights_on_the_first_batch(trunk, corpus_folder):
    stream = SampleStream([TokenSplit(corpus_folder, "train")], [1], seed=3, context=16)
    batch = torch.from_numpy(stream.batch(0, 8))
    model = llama(weights(trainer()), TINY)
    expected = model(batch[:, :-1]).logits.flatten(0, 1)
    assert losses(trunk)[0] == pytest.approx(
        torch.nn.functional.cross_entropy(expected, batch[:, 1:].flatten()).item(), abs=1e-5
    )
    assert losses(trunk)[-1] < losses(trunk)[0] - 0.3


def test_a_run_repeats_bit_by_bit(trunk, corpus_folder, tmp_path):
    assert identity(run(train_spec(), tmp_path, corpus_folder)) == identity(trunk)


def test_two_segments_are_one_long_segment_bit_by_bit(trunk, half, corpus_folder, tmp_path):
    second = run(train_spec(start_step=10, origin="state"), tmp_path, corpus_folder, parent=manifest(half))
    assert steps(half) + steps(second) == steps(trunk)
    assert manifest(second).read_text() == manifest(trunk).read_text()
    norms = [line["grad_norm"] for line in steps(trunk)[4:]]  # after the warmup, over both segments
    assert metrics(second)["grad_norm_mean"] == pytest.approx(sum(norms) / len(norms), rel=1e-12)
    assert metrics(second)["grad_norm_mean"] == metrics(trunk)["grad_norm_mean"]


def branch_spec(**changes):
    return train_spec(**{"start_step": 10, "stop_step": 12, "decay_start": 10, "origin": "state"} | changes)


def test_a_decay_branch_shares_its_trunk_exactly(trunk, half, corpus_folder, tmp_path):
    branch = run(branch_spec(), tmp_path, corpus_folder, parent=manifest(half))
    # Update 11 has the same weights and batch; afterwards the rates differ.
    assert steps(branch)[0]["loss"] == steps(trunk)[10]["loss"]
    assert steps(branch)[1]["loss"] != steps(trunk)[11]["loss"]
    state, architecture = checkpoint.load_weights(manifest(branch))
    assert architecture == TINY
    assert metrics(branch)["grad_norm_mean"] == metrics(half)["grad_norm_mean"]  # of the trunk only

    again = trainer()
    checkpoint.load_training_state(manifest(half), again.core, again.optimizer)
    again.schedule = branch_spec().schedule
    stream = SampleStream([TokenSplit(corpus_folder, "train")], [1], seed=3, context=16)
    for step in (11, 12):
        again.update(step, torch.from_numpy(stream.batch((step - 1) * 8, 8)))
    expected = weights(again)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_a_second_stage_starts_from_the_weights_with_a_fresh_optimizer(half, corpus_folder, tmp_path):
    branch = run(branch_spec(), tmp_path / "base", corpus_folder, parent=manifest(half))
    spec = train_spec(origin="weights", stop_step=4, first_sample=96)
    second = run(spec, tmp_path / "second", corpus_folder, parent=manifest(branch))
    assert [line["lr"] for line in steps(second)] == [
        5e-3 * step / 4 for step in (1, 2, 3, 4)
    ]  # warmed up again

    by_hand = trainer()
    state, _ = checkpoint.load_weights(manifest(branch))
    checkpoint.load_into(by_hand.core, state, TINY)
    stream = SampleStream([TokenSplit(corpus_folder, "train")], [1], seed=3, context=16)
    expected = [
        by_hand.update(s, torch.from_numpy(stream.batch(96 + (s - 1) * 8, 8)))[0] for s in (1, 2, 3, 4)
    ]
    assert losses(second) == expected


def test_a_mixture_reads_all_its_corpora(trunk, corpus_folder, tmp_path):
    out = run(train_spec(mixture=(("words", 3), ("others", 1)), stop_step=3), tmp_path, corpus_folder)
    assert losses(out) != losses(trunk)[:3]
    n_samples = TokenSplit(corpus_folder, "train").n_samples(16)
    assert metrics(out)["epochs"] == {
        "words": pytest.approx(18 / n_samples),
        "others": pytest.approx(6 / n_samples),
    }


@pytest.mark.parametrize("change", [{"seed": 4}, {"peak_lr": 4e-3}, {"init_std": 0.11}, {"warmup_steps": 5}])
def test_every_key_of_the_spec_changes_the_numbers(change, trunk, corpus_folder, tmp_path):
    out = run(train_spec(stop_step=3, **change), tmp_path, corpus_folder)
    assert losses(out) != losses(trunk)[:3]


def test_rolling_saves_do_not_change_the_numbers_and_are_deleted_at_the_end(
    half, corpus_folder, tmp_path, monkeypatch
):
    from twostage.training.rolling import RollingState

    saved = []
    complete = RollingState.complete
    monkeypatch.setattr(
        RollingState, "complete", lambda self, step: (complete(self, step), saved.append(step))
    )
    this = job(train_spec(stop_step=10), tmp_path, corpus_folder, save_every_s=0.0)
    train(this)
    assert saved == list(range(1, 10))  # not after the last step, which is the checkpoint itself
    assert identity(this.out) == identity(half)
    assert not (this.rolling / "state").exists()
    assert not list((this.rolling / "lease").iterdir())


def test_metrics_describe_the_job(trunk, corpus_folder):
    found = metrics(trunk)
    assert found["spec"] == train_spec().model_dump(mode="json")
    assert found["final_loss_nats"] == losses(trunk)[-1]
    assert found["resumed_from_step"] is None
    assert found["tokens_per_s"] == pytest.approx(20 * 8 * 16 / found["train_seconds"])
    assert found["epochs"] == {"words": pytest.approx(160 / TokenSplit(corpus_folder, "train").n_samples(16))}
    assert found["versions"]["megatron-core"] == "0.16.1"
    assert found["peak_memory_bytes"] > 50e6


def test_a_finished_job_is_not_trained_again(half, corpus_folder, tmp_path, caplog):
    this = job(train_spec(stop_step=3), tmp_path, corpus_folder)
    train(this)
    before = (this.out / "metrics.json").stat().st_mtime_ns
    train(this)
    assert "another process has just finished this job; nothing left to train" in caplog.text
    assert (this.out / "metrics.json").stat().st_mtime_ns == before


def test_a_crash_between_metrics_and_checkpoint_is_not_taken_as_finished(
    corpus_folder, tmp_path, monkeypatch
):
    """The folder has a checkpoint of an older spec; the new job crashes after writing its metrics."""
    run(train_spec(stop_step=3), tmp_path, corpus_folder)
    save = training_state.save_training_state

    def fail(*_):
        raise OSError("disk full")

    new = train_spec(stop_step=3, peak_lr=1e-3)
    monkeypatch.setattr(training_state, "save_training_state", fail)
    with pytest.raises(OSError, match="disk full"):
        run(new, tmp_path, corpus_folder)
    assert metrics(tmp_path / "out")["spec"]["schedule"]["peak_lr"] == 1e-3
    assert not manifest(tmp_path / "out").exists()
    monkeypatch.setattr(training_state, "save_training_state", save)
    assert identity(run(new, tmp_path, corpus_folder)) == identity(
        run(new, tmp_path / "clean", corpus_folder)
    )
