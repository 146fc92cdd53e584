"""A job whose host and device overlap: same files as without overlap, and no complete state is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import torch
from drawn_weights import poisoned
from gpu_classes import on_cpu
from tiny_training import (
    TINY,
    arguments,
    identity,
    job,
    log_of,
    losses,
    metrics,
    rolling_steps,
    run,
    start,
    steps,
    train_spec,
    wait_until,
)

from twostage.common.errors import UserError
from twostage.design.specs import CurveSpec
from twostage.model import checkpoint
from twostage.model.build import start_process_group
from twostage.study import OptimizerRecipe
from twostage.training import state as training_state
from twostage.training.loop import DivergedError
from twostage.training.trainer import Execution, Trainer

SPEC = train_spec(
    stop_step=50, warmup_steps=5, validation=CurveSpec(corpus="words", every_steps=15, samples=20)
)
PIPELINED = {"pipelined": True, "fetch_every": 8}


@pytest.fixture(scope="module")
def waiting(corpus_folder, tmp_path_factory):
    return run(SPEC, tmp_path_factory.mktemp("waiting"), corpus_folder)


def test_the_default_is_to_wait_on_a_cpu_and_not_on_a_gpu():
    assert not Execution().overlaps
    assert Execution(device="cuda").overlaps
    assert not Execution(device="cuda", pipelined=False).overlaps
    assert Execution(pipelined=True).overlaps


@pytest.mark.parametrize("save_every_s", [0.0, 600.0])
def test_the_same_files_as_a_job_that_waits(save_every_s, waiting, corpus_folder, tmp_path):
    out = run(SPEC, tmp_path, corpus_folder, save_every_s=save_every_s, **PIPELINED)
    assert identity(out) == identity(waiting)
    assert metrics(out)["grad_norm_mean"] == metrics(waiting)["grad_norm_mean"]
    assert [line["step"] for line in steps(out) if "valid_loss" in line] == [15, 30, 45]
    assert not (tmp_path / "rolling/state").exists()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_snapshot_is_the_state_of_its_step_whatever_is_trained_meanwhile(precision, tmp_path):
    start_process_group("cpu")
    with on_cpu():
        this = Trainer(train_spec(recipe=OptimizerRecipe(precision=precision)), Execution())
    generator = torch.Generator().manual_seed(2)
    batches = [torch.randint(300, (8, TINY.context + 1), generator=generator) for _ in range(6)]
    for step, batch in enumerate(batches[:3], start=1):
        this.update(step, batch)
    copy = training_state.snapshot_of(this)
    training_state.save_training_state(this, tmp_path / "now", {"step": 3})
    for step, batch in enumerate(batches[3:], start=4):
        this.update(step, batch)
    checkpoint.write_parts(tmp_path / "later", copy, TINY, {"step": 3})
    training_state.save_training_state(this, tmp_path / "live", {"step": 3})  # the control
    now, later, live = ((tmp_path / name / "manifest.json").read_text() for name in ("now", "later", "live"))
    assert later == now
    assert live != now


def test_page_locked_copies_are_written_as_the_same_bytes(tmp_path, monkeypatch):
    """A GPU's state is copied to such memory where training does not wait, and the format would note that."""
    start_process_group("cpu")
    this = Trainer(train_spec(), Execution())
    training_state.save_training_state(this, tmp_path / "plain", {"step": 0})
    asked = []
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self, *_: asked.append(self) or True)
    training_state.save_training_state(this, tmp_path / "locked", {"step": 0})
    assert asked
    plain, locked = ((tmp_path / name / "manifest.json").read_text() for name in ("plain", "locked"))
    assert locked == plain


def test_a_deterministic_job_is_the_same_on_a_cpu(waiting, corpus_folder, tmp_path):
    this = job(SPEC, tmp_path, corpus_folder)
    process = subprocess.run(
        [sys.executable, *arguments(this), "--deterministic"], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert identity(this.out) == identity(waiting)
    assert metrics(this.out)["execution"]["deterministic"]


# A stand-in for a slow disk: the third rolling state is complete but for its manifest, and never gets one.
STALLED = """
import runpy, sys, time
from pathlib import Path
from twostage.model import checkpoint

write, marker = checkpoint._write_manifest, Path(sys.argv.pop(1))

def stall(folder, kind, architecture, origin, names):
    if origin["step"] >= 3 and kind == "training-state":
        marker.write_text(str(origin["step"]))
        time.sleep(600)
    write(folder, kind, architecture, origin, names)

checkpoint._write_manifest = stall
sys.argv[0] = sys.argv[1]
sys.argv.pop(1)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_job_killed_within_a_background_write_loses_nothing_complete(
    waiting, corpus_folder, tmp_path, caplog
):
    this = job(SPEC, tmp_path, corpus_folder, save_every_s=0.0, **PIPELINED)
    marker = tmp_path / "stalled"
    with (tmp_path / "log").open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", STALLED, str(marker), *arguments(this)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    wait_until(marker.is_file, process)
    # The write stalls; the training thread waits for it at its next save at the latest.
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    stalled = int(marker.read_text())
    kept = rolling_steps(this.rolling)
    assert kept
    assert kept[-1] < stalled
    (half,) = this.rolling.glob(f"state/*/.step-{stalled}.tmp")
    assert list(half.glob("state/*.distcp"))
    assert not (half / "manifest.json").exists()

    out = run(SPEC, tmp_path, corpus_folder)
    assert f"resuming at step {kept[-1]} of 50" in caplog.text
    assert identity(out) == identity(waiting)


def test_a_stopped_job_finishes_its_write_before_it_leaves(waiting, corpus_folder, tmp_path, caplog):
    long = train_spec(stop_step=400)
    this = job(long, tmp_path, corpus_folder, save_every_s=0.0, pipelined=True)
    process = start(this)
    wait_until(lambda: (rolling_steps(this.rolling) or [0])[-1] >= 2, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 143
    (stopped,) = [line for line in log_of(this).splitlines() if "stopped by SIGTERM" in line]
    step = int(stopped.split("at step ")[1].split(";")[0])
    assert rolling_steps(this.rolling)[-1] == step
    out = run(long, tmp_path, corpus_folder, pipelined=True)
    assert metrics(out)["resumed_from_step"] == step
    assert losses(out) == losses(run(long, tmp_path / "undisturbed", corpus_folder))


def test_a_full_disk_in_the_background_stops_the_job(corpus_folder, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_parts", full)
    with pytest.raises(OSError, match="No space left"):
        run(SPEC, tmp_path, corpus_folder, save_every_s=0.0, **PIPELINED)
    assert not (tmp_path / "out/checkpoint").exists()


def test_a_stopped_job_that_could_not_save_does_not_say_that_it_has(
    corpus_folder, tmp_path, monkeypatch, caplog
):
    """Exit code 143 with "the state is saved" would send the job back to the queue as if nothing were lost."""
    from twostage.corpora.samples import SampleStream

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    read = SampleStream.batch

    def stop_meanwhile(self, start, count):
        os.kill(os.getpid(), signal.SIGTERM)
        return read(self, start, count)

    monkeypatch.setattr(checkpoint, "write_parts", full)
    monkeypatch.setattr(SampleStream, "batch", stop_meanwhile)
    with pytest.raises(OSError, match="No space left"):
        run(SPEC, tmp_path, corpus_folder, **PIPELINED)
    assert "the state is saved" not in caplog.text


def test_a_diverged_run_is_noticed_before_anything_is_saved(corpus_folder, tmp_path):
    """Losses come late, but no state is written before all of its losses were looked at."""
    spec = train_spec(origin="weights", stop_step=30)
    parent = poisoned(tmp_path / "parent", TINY, lambda state: state["lm_head.weight"].fill_(float("nan")))
    with pytest.raises(DivergedError, match="at step 1 "):
        run(spec, tmp_path, corpus_folder, parent=parent, save_every_s=0.0, **PIPELINED)
    assert not rolling_steps(tmp_path / "rolling")


def test_bad_tokens_met_while_reading_ahead_are_named(corpus_folder, tmp_path, monkeypatch):
    from twostage.corpora.samples import SampleStream

    read = SampleStream.batch

    def fail(self, start, count):
        if start >= 5 * count:
            raise UserError("train.bin: token id 999 is beyond the vocabulary of 300")
        return read(self, start, count)

    monkeypatch.setattr(SampleStream, "batch", fail)
    with pytest.raises(UserError, match=r"train\.bin: token id 999"):
        run(SPEC, tmp_path, corpus_folder, **PIPELINED)
