"""Faults of real processes: killed, stopped, started twice, given damaged files. Each test first checks that the fault occurred."""

from __future__ import annotations

import math
import runpy
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from drawn_weights import random_state
from tiny_training import (
    SCRIPT,
    TINY,
    arguments,
    copy_tokens,
    free_port,
    identity,
    job,
    log_of,
    losses,
    manifest,
    metrics,
    progress_of,
    rolling_steps,
    run,
    start,
    steps,
    train_spec,
    wait_until,
)

from twostage.cluster.lease import Lease
from twostage.common.errors import UserError
from twostage.common.storage import payload_entries, read_manifest, write_manifest
from twostage.design.specs import CurveSpec
from twostage.model import checkpoint
from twostage.training.train import train

# Long enough to be interrupted by a signal; includes the end of the warmup and of an epoch.
LONG = train_spec(stop_step=300)


@pytest.fixture(scope="module")
def undisturbed(corpus_folder, tmp_path_factory):
    return run(LONG, tmp_path_factory.mktemp("undisturbed"), corpus_folder)


@pytest.fixture(scope="module")
def killed(corpus_folder, tmp_path_factory):
    """A job that was killed after it had saved a few rolling states: its rolling folder."""
    this = job(LONG, tmp_path_factory.mktemp("killed"), corpus_folder, save_every_s=0.0)
    process = start(this)
    wait_until(lambda: (rolling_steps(this.rolling) or [0])[-1] >= 3, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not this.out.exists()
    assert 3 <= rolling_steps(this.rolling)[-1] < 300
    assert list((this.rolling / "lease").glob("lease-*.json"))
    return this.rolling


@pytest.fixture
def leftover(killed, tmp_path):
    """A copy of the files of the killed job."""
    return shutil.copytree(killed, tmp_path / "rolling")


def test_a_killed_job_resumes_and_ends_bit_identical(leftover, undisturbed, corpus_folder, tmp_path, caplog):
    step = rolling_steps(leftover)[-1]
    out = run(LONG, tmp_path, corpus_folder)
    assert f"resuming at step {step} of 300" in caplog.text
    assert metrics(out)["resumed_from_step"] == step
    assert identity(out) == identity(undisturbed)
    assert metrics(out)["grad_norm_mean"] == metrics(undisturbed)["grad_norm_mean"]
    assert not (leftover / "state").exists()
    assert not list((leftover / "lease").iterdir())


def test_a_damaged_rolling_state_falls_back_to_the_one_before(
    leftover, undisturbed, corpus_folder, tmp_path, caplog
):
    before, newest = rolling_steps(leftover)[-2:]  # a third state may not be deleted yet
    [folder] = leftover.glob(f"state/*/step-{newest}")
    payload = max((folder / "state").iterdir(), key=lambda path: path.stat().st_size)
    payload.write_bytes(payload.read_bytes()[:-100])
    out = run(LONG, tmp_path, corpus_folder)
    assert f"step-{newest}: damaged rolling state, trying an earlier one" in caplog.text
    assert "truncated" in caplog.text
    assert metrics(out)["resumed_from_step"] == before
    assert identity(out) == identity(undisturbed)


@pytest.mark.parametrize("keep_bytes", [-20, 0], ids=["cut in a line", "empty"])
def test_truncated_losses_of_a_rolling_state_fall_back_to_the_one_before(
    keep_bytes, leftover, undisturbed, corpus_folder, tmp_path, caplog
):
    """Otherwise they would be missing from steps.jsonl, or the resumed job would fail."""
    before, newest = rolling_steps(leftover)[-2:]
    [folder] = leftover.glob(f"state/*/step-{newest}")
    lines = folder / "steps.jsonl"
    lines.write_bytes(lines.read_bytes()[:keep_bytes])
    out = run(LONG, tmp_path, corpus_folder)
    assert f"{lines}: truncated" in caplog.text
    assert metrics(out)["resumed_from_step"] == before
    assert identity(out) == identity(undisturbed)


def test_a_changed_learning_rate_starts_over(leftover, corpus_folder, tmp_path, caplog):
    changed = train_spec(stop_step=60, peak_lr=2e-3)
    clean = run(changed, tmp_path / "clean", corpus_folder)
    out = run(changed, tmp_path, corpus_folder)
    assert "discarding rolling state of another configuration" in caplog.text
    assert "resuming" not in caplog.text
    assert metrics(out)["resumed_from_step"] is None
    assert identity(out) == identity(clean)


def test_another_micro_batch_continues_with_a_warning(leftover, undisturbed, corpus_folder, tmp_path, caplog):
    """It changes only rounding. The metrics record which layout trained from which step."""
    step = rolling_steps(leftover)[-1]
    out = run(LONG, tmp_path, corpus_folder, micro_batch=4)
    assert f"step-{step}: saved with another layout" in caplog.text
    found = metrics(out)
    assert found["resumed_from_step"] == step
    assert [(part["micro_batch"], part.get("from_step")) for part in found["layouts"]] == [
        (8, None),
        (4, step),
    ]
    assert losses(out)[:step] == losses(undisturbed)[:step]
    assert losses(out)[step:] != losses(undisturbed)[step:]
    assert losses(out)[step : step + 50] == pytest.approx(losses(undisturbed)[step : step + 50], rel=1e-5)


def test_another_number_of_ranks_continues_with_a_warning(leftover, undisturbed, corpus_folder, tmp_path):
    step = rolling_steps(leftover)[-1]
    this = job(LONG, tmp_path, corpus_folder)
    assert [process.wait(300) for process in start_ranks(this)] == [0, 0], log_of(this) + log_of(this, 1)
    assert f"step-{step}: saved with another layout" in log_of(this)
    found = metrics(this.out)
    assert found["resumed_from_step"] == step
    assert [(part["ranks"], part.get("from_step")) for part in found["layouts"]] == [(1, None), (2, step)]
    assert losses(this.out)[step : step + 50] == pytest.approx(
        losses(undisturbed)[step : step + 50], rel=1e-5
    )


def test_a_stopped_job_saves_resumes_and_ends_bit_identical(undisturbed, corpus_folder, tmp_path, caplog):
    this = job(LONG, tmp_path, corpus_folder)
    process = start(this)
    wait_until(lambda: progress_of(this), process)
    process.terminate()
    assert process.wait() == 143
    [step] = rolling_steps(this.rolling)
    assert f"stopped by SIGTERM at step {step}; the state is saved" in log_of(this)
    assert 0 < step < 300
    assert not this.out.exists()
    assert not list(
        (this.rolling / "lease").iterdir()
    )  # released, so that no other job waits for it to become stale
    train(this)
    assert metrics(this.out)["resumed_from_step"] == step
    assert identity(this.out) == identity(undisturbed)


def test_two_jobs_for_one_segment_train_it_once(undisturbed, corpus_folder, tmp_path):
    jobs = [job(LONG, tmp_path / name, corpus_folder, rolling=tmp_path / "rolling") for name in ("a", "b")]
    jobs = [
        type(one)(**vars(one) | {"out": tmp_path / name / "../out"})
        for one, name in zip(jobs, "ab", strict=True)
    ]
    with Lease(tmp_path / "rolling/lease"):  # both jobs arrive before either can start
        processes = []
        for one, name in zip(jobs, "ab", strict=True):
            (tmp_path / name).mkdir(exist_ok=True)
            with (
                (tmp_path / name / "stdout").open("w") as stdout,
                (tmp_path / name / "stderr").open("w") as stderr,
            ):
                processes.append(
                    subprocess.Popen([sys.executable, *arguments(one)], stdout=stdout, stderr=stderr)
                )
        for process, name in zip(processes, "ab", strict=True):
            wait_until(
                lambda name=name: (
                    "waiting: the same job is already running" in (tmp_path / name / "stderr").read_text()
                ),
                process,
            )
    assert [process.wait(120) for process in processes] == [0, 0]
    trained = ['{"progress"' in (tmp_path / name / "stdout").read_text() for name in "ab"]
    idle = ["nothing left to train" in (tmp_path / name / "stderr").read_text() for name in "ab"]
    assert sorted(trained) == [False, True]
    assert idle == [not value for value in trained]
    assert identity(tmp_path / "out") == identity(undisturbed)
    assert metrics(tmp_path / "out")["resumed_from_step"] is None


def test_a_job_that_lost_its_lease_writes_nothing(corpus_folder, tmp_path, monkeypatch):
    """Another process takes the job over while this one trains."""
    from twostage.cluster.lease import LeaseLostError

    this = job(train_spec(stop_step=3), tmp_path, corpus_folder)
    check = Lease.check

    def taken_over(self):
        (self.folder / "lease-2.json").write_text('{"nonce": "of the other"}')
        check(self)

    monkeypatch.setattr(Lease, "check", taken_over)
    with pytest.raises(LeaseLostError, match="stopping without writing"):
        train(this)
    assert not this.out.exists()


# Several ranks


def start_ranks(this, n=2):
    port = free_port()
    common = {"WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [start(this, RANK=str(rank), LOCAL_RANK=str(rank), **common) for rank in range(n)]


@pytest.mark.parametrize("n", [2, 4])
def test_ranks_train_what_one_process_does(n, corpus_folder, tmp_path):
    """They save rolling states, agree on the outputs, write each output once, and share the validation."""
    spec = train_spec(stop_step=8, validation=CurveSpec(corpus="words", every_steps=4, samples=5))
    one = run(spec, tmp_path / "one", corpus_folder)
    this = job(spec, tmp_path / "ranks", corpus_folder, save_every_s=0.0)
    processes = start_ranks(this, n)
    assert [process.wait(120) for process in processes] == [0] * n, log_of(this) + log_of(this, 1)
    assert metrics(this.out)["ranks"] == n
    assert len(steps(this.out)) == 8
    assert losses(this.out) == pytest.approx(losses(one), rel=1e-5)
    assert [line["grad_norm"] for line in steps(this.out)] == pytest.approx(
        [line["grad_norm"] for line in steps(one)], rel=1e-4
    )
    valid = [[line.get("valid_loss") for line in steps(out)] for out in (this.out, one)]
    assert [step for step, value in enumerate(valid[0], 1) if value is not None] == [4, 8]
    assert valid[0][3::4] == pytest.approx(valid[1][3::4], rel=1e-5)
    # The state of several ranks is one checkpoint, from which a single rank can continue.
    after = train_spec(start_step=8, stop_step=10, origin="state")
    several = run(after, tmp_path / "after ranks", corpus_folder, parent=manifest(this.out))
    expected = run(after, tmp_path / "after one", corpus_folder, parent=manifest(one))
    assert losses(several) == pytest.approx(losses(expected), rel=1e-5)


@pytest.mark.slow
def test_two_ranks_stop_together_and_resume(corpus_folder, tmp_path):
    whole = job(LONG, tmp_path / "whole", corpus_folder)
    assert [process.wait(300) for process in start_ranks(whole)] == [0, 0]
    this = job(LONG, tmp_path / "stopped", corpus_folder)
    processes = start_ranks(this)
    wait_until(lambda: progress_of(this), processes[0])
    processes[1].terminate()  # only one of them receives the signal
    assert [process.wait(120) for process in processes] == [143, 143], log_of(this) + log_of(this, 1)
    [step] = rolling_steps(this.rolling)
    assert 0 < step < 300
    assert [process.wait(300) for process in start_ranks(this)] == [0, 0]
    assert metrics(this.out)["resumed_from_step"] == step
    assert identity(this.out) == identity(whole.out)


# Damaged inputs


def script(this, monkeypatch, capsys):
    """Run the real script in this process; return its exit code and its stderr."""
    monkeypatch.setattr(sys, "argv", arguments(this))
    try:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    except SystemExit as stop:
        return stop.code, capsys.readouterr().err
    return 0, capsys.readouterr().err


def test_a_good_job_ends_with_code_zero(corpus_folder, tmp_path, monkeypatch, capsys):
    this = job(train_spec(stop_step=2), tmp_path, corpus_folder)
    assert script(this, monkeypatch, capsys)[0] == 0
    assert manifest(this.out).exists()


def test_nan_ends_the_script_with_one_line_code_2_and_no_checkpoint(
    corpus_folder, tmp_path, monkeypatch, capsys
):
    state = random_state(TINY, dtype=torch.float32)
    state["model.layers.0.mlp.up_proj.weight"][3, 4] = math.nan
    checkpoint.save_weights(tmp_path / "parent", state, TINY, {})
    this = job(
        train_spec(origin="weights"), tmp_path, corpus_folder, parent=tmp_path / "parent/manifest.json"
    )
    code, message = script(this, monkeypatch, capsys)
    assert code == 2
    assert message.startswith("error: loss is nan")
    assert message.count("\n") == 1
    assert not manifest(this.out).exists()
    assert not list((this.rolling / "lease").iterdir())


def test_truncated_tokens_are_named_with_the_fix(corpus_folder, tmp_path, monkeypatch, capsys):
    tokens = copy_tokens(corpus_folder, tmp_path / "tokens")
    file = tokens / "train.bin"
    file.write_bytes(file.read_bytes()[:-1000])
    code, message = script(job(train_spec(), tmp_path, tokens), monkeypatch, capsys)
    assert code == 2
    assert message.startswith(f"error: {file}: truncated")
    assert f"-f {tokens / 'manifest.json'}" in message
    assert not (tmp_path / "out").exists()


def test_a_truncated_parent_is_named_with_the_fix(corpus_folder, tmp_path, monkeypatch, capsys):
    first = run(train_spec(stop_step=2), tmp_path / "first", corpus_folder)
    payload = max((first / "checkpoint/state").iterdir(), key=lambda path: path.stat().st_size)
    payload.write_bytes(payload.read_bytes()[:-1])
    this = job(train_spec(start_step=2, origin="state"), tmp_path, corpus_folder, parent=manifest(first))
    code, message = script(this, monkeypatch, capsys)
    assert code == 2
    assert message.startswith(f"error: {payload}: truncated")
    assert f"-f {manifest(first)}" in message
    assert not this.out.exists()


def test_a_token_beyond_the_vocabulary_is_refused(corpus_folder, tmp_path):
    """The checksums are correct, but the tokens were made with another tokenizer than the manifest says."""
    tokens = copy_tokens(corpus_folder, tmp_path / "tokens")
    ids = np.fromfile(tokens / "train.bin", dtype=np.uint16)
    ids[::50] = 300
    ids.tofile(tokens / "train.bin")
    content = read_manifest(tokens / "manifest.json")
    write_manifest(
        tokens / "manifest.json", content | {"payload": payload_entries(tokens, content["payload"])}
    )
    with pytest.raises(UserError, match=r"train\.bin: token id 300 is beyond the vocabulary of 300"):
        run(train_spec(), tmp_path, tokens)
    assert not (tmp_path / "out").exists()


def test_another_vocabulary_is_refused(corpus_folder, tmp_path):
    spec = train_spec(architecture=TINY.with_shape(vocab_size=512))
    with pytest.raises(UserError, match="tokenised with a vocabulary of 300, but the model has 512") as error:
        run(spec, tmp_path, corpus_folder)
    assert str(corpus_folder) in str(error.value)


def test_an_invalid_spec_is_refused(corpus_folder, tmp_path, monkeypatch, capsys):
    words = arguments(job(train_spec(), tmp_path, corpus_folder))
    words[words.index("--spec") + 1] = '{"peak_lr": 1}'
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert stop.value.code == 2
    assert "--spec is not a valid TrainSpec" in capsys.readouterr().err


def test_missing_tokens_are_named(corpus_folder, tmp_path):
    with pytest.raises(UserError, match=r"manifest is missing; remake it with: snakemake .*-f") as error:
        run(train_spec(), tmp_path, tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(error.value)


def test_the_previous_signal_handler_is_restored_after_training(corpus_folder, tmp_path):
    assert threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    run(train_spec(stop_step=2), tmp_path, corpus_folder)
    assert signal.getsignal(signal.SIGTERM) is before
