"""Shares of GPUs, with real processes: never more than a GPU has, and released however a job ends."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from twostage.cluster.gpu_slots import acquire, main, visible_gpus
from twostage.common.errors import UserError

# A job: notes when it begins and ends, and on which GPU.
JOB = """
import json, os, sys, time
folder, name, seconds = sys.argv[1:]
note = lambda what: open(f"{folder}/{name}", "a").write(json.dumps([what, os.environ["CUDA_VISIBLE_DEVICES"], time.monotonic(), os.getpid()]) + "\\n")
note("begin"); time.sleep(float(seconds)); note("end")
"""


def start(folder, name, *, units=1, seconds=0.4, gpus="0,1", capacity=2):
    slots = [sys.executable, "-m", "twostage.cluster.gpu_slots", "--locks", str(folder / "locks")]
    slots += ["--gpus", gpus, "--capacity", str(capacity), "--units", str(units), "--"]
    return subprocess.Popen([*slots, sys.executable, "-c", JOB, str(folder), name, str(seconds)])


def notes(folder, name):
    path = folder / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def release(grant):
    for descriptor in grant.descriptors:
        os.close(descriptor)


def is_held(lock):
    """Whether some process has this lock: a unit in use, or the lock of the process that waits for units."""
    if not lock.exists():
        return False
    with lock.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def most_at_once(folder, names, units):
    """The largest number of units in use on each GPU, by the jobs' own clocks."""
    events = []
    for name in names:
        (_, gpu, begin, _), (_, _, end, _) = notes(folder, name)
        events += [(begin, gpu, units[name]), (end, gpu, -units[name])]
    use, most = Counter(), Counter()
    for _, gpu, change in sorted(events):
        use[gpu] += change
        most[gpu] = max(most[gpu], use[gpu])
    return most


def test_a_gpu_never_has_more_jobs_than_units(tmp_path):
    units = {f"job-{n}": 2 if n in (3, 7) else 1 for n in range(9)}
    processes = [start(tmp_path, name, units=need) for name, need in units.items()]
    assert [process.wait(timeout=120) for process in processes] == [0] * 9
    most = most_at_once(tmp_path, units, units)
    assert most == {"0": 2, "1": 2}  # full, and not above


def test_jobs_go_to_the_emptiest_gpu(tmp_path):
    grants = [acquire(tmp_path, ["0", "1"], capacity=2, units=1) for _ in range(4)]
    assert [grant.gpu for grant in grants] == ["0", "1", "0", "1"]
    release(grants[1])
    assert acquire(tmp_path, ["0", "1"], capacity=2, units=1).gpu == "1"


def test_the_command_replaces_the_allocator_and_its_code_comes_back(tmp_path):
    command = [
        sys.executable,
        "-m",
        "twostage.cluster.gpu_slots",
        "--locks",
        str(tmp_path),
        "--gpus",
        "3",
        "--",
    ]
    code = "import os, sys; print(os.getpid(), os.environ['CUDA_VISIBLE_DEVICES'], os.environ['TWOSTAGE_GPU_SHARE']); sys.exit(7)"
    process = subprocess.Popen([*command, sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 7
    assert out.split() == [str(process.pid), "3", "0.25"]


def test_a_killed_job_frees_its_units(tmp_path):
    first = start(tmp_path, "first", units=2, seconds=300, gpus="0")
    wait_for(lambda: notes(tmp_path, "first"))
    second = start(tmp_path, "second", units=2, seconds=0, gpus="0")
    wait_for(lambda: is_held(tmp_path / "locks/turnstile.lock"))
    assert second.poll() is None
    assert not notes(tmp_path, "second")  # it waits
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert second.wait(timeout=60) == 0
    assert notes(tmp_path, "second")[0][1] == "0"


def test_a_job_that_needs_a_whole_gpu_is_not_passed_by_small_ones(tmp_path):
    small = start(tmp_path, "small", seconds=1.0, gpus="0")
    wait_for(lambda: notes(tmp_path, "small"))
    large = start(tmp_path, "large", units=2, seconds=0.1, gpus="0")
    lock = tmp_path / "locks/turnstile.lock"
    wait_for(lambda: is_held(lock))
    later = start(tmp_path, "later", seconds=0, gpus="0")  # would fit next to `small`
    assert [process.wait(timeout=60) for process in (small, large, later)] == [0, 0, 0]
    assert notes(tmp_path, "large")[0][2] < notes(tmp_path, "later")[0][2]


def test_a_waiter_that_is_killed_blocks_nobody(tmp_path):
    holder = acquire(tmp_path / "locks", ["0"], capacity=2, units=2)
    waiter = start(tmp_path, "waiter", gpus="0")
    wait_for(lambda: is_held(tmp_path / "locks/turnstile.lock"))
    waiter.kill()
    waiter.wait()
    release(holder)
    release(acquire(tmp_path / "locks", ["0"], capacity=2, units=2))


@pytest.mark.parametrize(
    ("gpus", "units", "words"),
    [
        ([], 1, "--gpus"),
        (["0", "0"], 1, "each once"),
        (["0"], 3, "--units: 3 is not in 1 .. 2"),
        (["0"], 0, "--units"),
    ],
)
def test_impossible_requests_are_refused(gpus, units, words, tmp_path):
    with pytest.raises(UserError, match=words.replace(".", r"\.")):
        acquire(tmp_path, gpus, capacity=2, units=units)


def test_gpus_are_those_that_are_visible(monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    assert visible_gpus() == ["2", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UserError, match="list GPUs with --gpus"):
        visible_gpus()
    with pytest.raises(SystemExit, match="error: no GPU found"):
        main(["--", "true"])
    with pytest.raises(SystemExit):
        main(["--gpus", "0"])
    assert "a command is needed" in capsys.readouterr().err


def test_nvidia_smi_counts_where_nothing_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert visible_gpus() == ["0", "1"]


def test_the_module_needs_no_torch():
    code = "import sys, twostage.cluster.gpu_slots; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
