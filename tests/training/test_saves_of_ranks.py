"""Two ranks that write rolling states in the background: same bytes as otherwise, complete or absent on all ranks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_training import (
    arguments,
    free_port,
    identity,
    job,
    log_of,
    losses,
    metrics,
    rolling_steps,
    run,
    train_spec,
    wait_until,
)

from twostage.common.storage import verify_payload

# Looked at, and saved where that is due, every 20 updates.
SPEC = train_spec(stop_step=120)
#: A rank that hangs fails its test after this; nothing is timed.
PATIENCE_S = 600
DISK_FULL = "No space left on device"

# Breaks the writes of one rank after the first few: they `fail`, or the first of them does `stall` for as long as the marker
# is there. A file next to the marker has, for each rank, the last update that it has begun.
FAULTY = """
import os, runpy, sys, time
from pathlib import Path
from torch.distributed.checkpoint import FileSystemWriter
from twostage.model import checkpoint
from twostage.training.rolling import RollingState
from twostage.training.trainer import Trainer

fault, place, rank, good, marker = sys.argv[1:6]
marker, calls, launch = Path(marker), 0, Trainer.launch

def broken(function):
    def call(*args, **options):
        global calls
        calls += 1
        if calls > int(good):
            if fault == "fail":
                marker.touch()
                raise OSError(28, "No space left on device")
            if calls == int(good) + 1:
                marker.touch()
            while marker.exists():  # a disk that does not answer, until the test takes the marker away
                time.sleep(0.02)
        return function(*args, **options)
    return call

def noted(self, step, batch):
    note = marker.with_name("launched-" + os.environ["RANK"])
    note.with_suffix(".tmp").write_text(str(step))
    note.with_suffix(".tmp").replace(note)
    return launch(self, step, batch)

Trainer.launch = noted
if os.environ["RANK"] == rank:
    places = {
        "shards": (FileSystemWriter, "write_data"),
        "manifest": (checkpoint, "_write_manifest"),
        "rename": (RollingState, "complete"),
    }
    owner, name = places[place]
    setattr(owner, name, broken(getattr(owner, name)))
sys.argv = sys.argv[6:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def spawn(words, folder, n=2):
    """Start `n` ranks of one command; their output goes to files in `folder`, see `log_of`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    common = {"WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    common |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    processes = []
    for rank in range(n):
        with (folder / f"stderr-{rank}").open("w") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-W", "ignore", *words],
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                )
            )
    return processes


def start_faulty(this, fault, place, rank, *, good, n=2):
    folder = this.out.parent
    words = ["-c", FAULTY, fault, place, str(rank), str(good), str(folder / "marker"), *arguments(this)]
    return spawn(words, folder, n)


def codes(processes):
    return [process.wait(PATIENCE_S) for process in processes]


def train_on(this, n=2):
    assert codes(spawn(arguments(this), this.out.parent, n)) == [0] * n, log_of(this) + log_of(this, 1)
    return this.out


def launched(this, rank):
    note = this.out.parent / f"launched-{rank}"
    return int(note.read_text()) if note.exists() else 0


def beside_training(folder, tokens, **options):
    return job(SPEC, folder, tokens, **{"save_every_s": 0.0, "pipelined": True} | options)


@pytest.fixture(scope="module")
def waiting(corpus_folder, tmp_path_factory):
    """Two ranks that wait for every write."""
    folder = tmp_path_factory.mktemp("waiting")
    return train_on(job(SPEC, folder, corpus_folder, pipelined=False))


def test_training_goes_on_during_a_write_and_ends_with_the_same_files(waiting, corpus_folder, tmp_path):
    this = beside_training(tmp_path, corpus_folder)
    processes = start_faulty(this, "stall", "shards", 1, good=2)
    # Only rank 1's write of step 60 stalls; both continue to step 80, where the next state is due.
    for rank, process in enumerate(processes):
        wait_until(lambda rank=rank: launched(this, rank) == 80, process, PATIENCE_S)
    assert rolling_steps(this.rolling) == [20, 40]
    (tmp_path / "marker").unlink()
    assert codes(processes) == [0, 0], log_of(this) + log_of(this, 1)
    assert identity(this.out) == identity(waiting)
    assert not (this.rolling / "state").exists()


def kill_in_mid_write(victim, folder, tokens):
    """Stall rank 1's part of step 60, kill one rank, and check that the other ends; return the job."""
    this = beside_training(folder, tokens)
    processes = start_faulty(this, "stall", "shards", 1, good=2)
    wait_until(lambda: launched(this, 1 - victim) == 80, processes[1 - victim], PATIENCE_S)
    assert (folder / "marker").exists()
    processes[victim].send_signal(signal.SIGKILL)
    assert processes[victim].wait() == -signal.SIGKILL
    (folder / "marker").unlink()
    assert codes(processes)[1 - victim] not in (0, 143)
    return this


def check_intact(this, steps):
    """These states are complete, and no others count."""
    assert rolling_steps(this.rolling) == steps
    for step in steps:
        [state] = this.rolling.glob(f"state/*/step-{step}")
        verify_payload(state / "manifest.json")


@pytest.fixture(scope="module")
def killed(corpus_folder, tmp_path_factory):
    """What a job leaves whose rank 1 was killed in mid-write."""
    this = kill_in_mid_write(1, tmp_path_factory.mktemp("killed"), corpus_folder)
    check_intact(this, [20, 40])
    [half] = this.rolling.glob("state/*/.step-60.tmp")
    assert not (half / "manifest.json").exists()
    return this.rolling


def test_a_rank_killed_in_mid_write_loses_only_that_state(killed, waiting, corpus_folder, tmp_path):
    shutil.copytree(killed, tmp_path / "rolling")
    out = train_on(beside_training(tmp_path, corpus_folder))
    assert metrics(out)["resumed_from_step"] == 40
    assert identity(out) == identity(waiting)


def test_so_does_rank_0(corpus_folder, tmp_path):
    """It writes the manifests, and the others meet at its address."""
    check_intact(kill_in_mid_write(0, tmp_path, corpus_folder), [20, 40])


def test_a_damaged_state_of_two_ranks_falls_back_to_the_one_before(
    killed, waiting, corpus_folder, tmp_path, caplog
):
    shutil.copytree(killed, tmp_path / "rolling")
    [payload] = tmp_path.glob("rolling/state/*/step-40/state/__0_0.distcp")
    payload.write_bytes(payload.read_bytes()[:-100])
    out = run(SPEC, tmp_path, corpus_folder)
    assert "step-40: damaged rolling state, trying an earlier one" in caplog.text
    assert metrics(out)["resumed_from_step"] == 20
    assert losses(out)[:20] == losses(waiting)[:20]
    assert losses(out) == pytest.approx(losses(waiting), rel=1e-5)


def test_a_write_that_fails_on_one_rank_ends_all_with_its_error(corpus_folder, tmp_path):
    this = beside_training(tmp_path, corpus_folder)
    processes = start_faulty(this, "fail", "shards", 1, good=2)
    assert codes(processes) == [1, 1]
    assert (tmp_path / "marker").exists()
    for rank in range(2):
        assert DISK_FULL in log_of(this, rank)
        assert launched(this, rank) == 80  # noticed when the next state was due
    check_intact(this, [20, 40])


def test_no_rank_of_a_stopped_job_says_that_a_state_is_saved_that_is_not(corpus_folder, tmp_path):
    """It is rank 0 that cannot give the state its name, and rank 1 that has heard the signal."""
    this = beside_training(tmp_path, corpus_folder, save_every_s=600.0)
    processes = start_faulty(this, "fail", "rename", 0, good=0)
    wait_until(lambda: launched(this, 1) >= 1, processes[1], PATIENCE_S)
    processes[1].terminate()
    assert codes(processes) == [1, 1]
    assert (tmp_path / "marker").exists()
    for rank in range(2):
        assert DISK_FULL in log_of(this, rank)
        assert "the state is saved" not in log_of(this, rank)
    assert not rolling_steps(this.rolling)


@pytest.fixture(scope="module")
def stopped(corpus_folder, tmp_path_factory):
    """A job of two ranks, one of which was asked to stop; the step that both say is saved."""
    folder = tmp_path_factory.mktemp("stopped")
    this = beside_training(folder, corpus_folder)
    processes = spawn(
        ["-c", FAULTY, "fail", "rename", "none", "0", str(folder / "marker"), *arguments(this)], folder
    )
    wait_until(lambda: launched(this, 1) >= 25, processes[1], PATIENCE_S)
    processes[1].terminate()
    assert codes(processes) == [143, 143], log_of(this) + log_of(this, 1)
    said = [
        line.split("stopped by SIGTERM at step ")[1].split(";")[0]
        for rank in range(2)
        for line in log_of(this, rank).splitlines()
        if "the state is saved" in line
    ]
    assert len(said) == 2
    assert said[0] == said[1]
    return this, int(said[0])


def test_a_stopped_job_has_saved_on_all_ranks_what_it_says(stopped):
    this, step = stopped
    assert rolling_steps(this.rolling)[-1] == step
    assert not list((this.rolling / "lease").iterdir())


@pytest.mark.parametrize("n", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_state_of_two_ranks_goes_on_on_another_number(n, stopped, waiting, corpus_folder, tmp_path):
    before, step = stopped
    shutil.copytree(before.rolling, tmp_path / "rolling")
    out = (
        run(SPEC, tmp_path, corpus_folder)
        if n == 1
        else train_on(beside_training(tmp_path, corpus_folder), n)
    )
    assert metrics(out)["resumed_from_step"] == step
    assert losses(out)[:step] == losses(waiting)[:step]
    assert losses(out) == pytest.approx(losses(waiting), rel=1e-5)
    assert [part["ranks"] for part in metrics(out)["layouts"]] == [2, n]


# The saves themselves: their bytes, and every place where a write can fail ---------------------------------------------

RANK = """
import json, os, sys, threading
from pathlib import Path
from gpu_classes import on_cpu
from test_mixed_precision import batches, trainer
from torch.distributed.checkpoint import FileSystemWriter
from twostage.model import checkpoint
from twostage.training import state as training_state
from twostage.training.progress import Progress
from twostage.training.rolling import RollingState
from twostage.training.rolling_saves import RollingSaves
from twostage.study import OptimizerRecipe

folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
share = slice(4 * rank, 4 * rank + 4)

def updates(this, steps):
    for step in steps:
        this.update(step, batches()[step - 1][share])

def saving(this, progress, name, background):
    return RollingSaves(this, progress, RollingState(folder / name, "mine", {}), None, background=background)

def full(*_, **__):
    raise OSError(28, "No space left on device")

result = {"tensors": {}, "errors": {}}
write_data, gate = FileSystemWriter.write_data, threading.Event()

def gated(*args):
    assert gate.wait(300)
    return write_data(*args)

with on_cpu():
    for precision in ("fp32", "bf16"):
        this = trainer(micro_batch=2, recipe=OptimizerRecipe(precision=precision))
        updates(this, range(1, 5))
        parts = training_state.snapshot_of(this)
        result["tensors"][precision] = len(parts.shards)
        for name, background in (("waiting", False), ("beside", True)):
            with saving(this, Progress(step=4), f"{precision}/{name}", background) as saves:
                FileSystemWriter.write_data = gated if background else write_data
                saves.save(on_disk=False)
                if background:
                    # All tensors change, and ranks talk about them, while the write has not even begun.
                    updates(this, range(5, 9))
                    gate.set()
                    saves.wait()
    FileSystemWriter.write_data = write_data

    this = trainer(micro_batch=2, recipe=OptimizerRecipe())
    for place, owner, name, broken in (
        ("begin", RollingState, "begin", 0),
        ("common", checkpoint, "_begin_state", 0),
        ("shards 0", FileSystemWriter, "write_data", 0),
        ("shards 1", FileSystemWriter, "write_data", 1),
        ("finish", FileSystemWriter, "finish", 0),
        ("manifest", checkpoint, "_write_manifest", 0),
        ("name", RollingState, "complete", 0),
    ):
        for background in (True, False):
            case, progress = f"{place} {background}", Progress(step=1)
            sound = getattr(owner, name)
            try:
                with saving(this, progress, f"faults/{case}", background) as saves:
                    saves.save(on_disk=True)
                    if rank == broken:
                        setattr(owner, name, full)
                    progress.step = 2
                    saves.save(on_disk=not background)
                    saves.wait()
            except BaseException as error:
                result["errors"][case] = str(error)
            setattr(owner, name, sound)
(folder / f"{rank}.json").write_text(json.dumps(result))
"""


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saves")
    processes = spawn(["-c", RANK, str(folder)], folder)
    assert codes(processes) == [0, 0], (folder / "stderr-0").read_text() + (folder / "stderr-1").read_text()
    return folder


def results(folder):
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_state_written_beside_training_is_byte_for_byte_the_one_training_waits_for(precision, two_ranks):
    [waiting] = (two_ranks / precision / "waiting").glob("*/step-4")
    [beside] = (two_ranks / precision / "beside").glob("*/step-4")
    expected = files(waiting)
    assert {"manifest.json", "steps.jsonl", "state/__0_0.distcp", "state/__1_0.distcp"} <= expected.keys()
    assert files(beside) == expected


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_all_ranks_hold_is_copied_by_one_of_them(precision, two_ranks):
    first, second = (result["tensors"][precision] for result in results(two_ranks))
    assert first > 20
    assert second == 0


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("place", ["begin", "common", "shards 0", "shards 1", "finish", "manifest", "name"])
def test_wherever_a_write_fails_all_ranks_know_why_and_the_state_before_stays(place, background, two_ranks):
    case = f"{place} {background}"
    for result in results(two_ranks):
        assert DISK_FULL in result["errors"][case]
    assert [path.name for path in (two_ranks / "faults" / case).glob("*/step-*")] == ["step-1"]
