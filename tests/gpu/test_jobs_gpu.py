"""Complete jobs on a GPU with the workflow's script: their metrics, and stopping and resuming."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import torch
from gpu_training import SMALL
from tiny_training import arguments, identity, job, metrics, rolling_steps, train_spec, wait_until

from twostage.cluster.device_peaks import peak_tflops
from twostage.study import OptimizerRecipe

SPEC = train_spec(
    architecture=SMALL.with_shape(vocab_size=300, context=16),
    recipe=OptimizerRecipe(precision="bf16"),
    init_std=0.05,
    peak_lr=1e-3,
    stop_step=300,
)


def start(this, *, deterministic=True):
    words = [sys.executable, *arguments(this), "--device", "cuda"]
    words += ["--deterministic"] if deterministic else []
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def undisturbed(corpus_folder, tmp_path_factory):
    this = job(SPEC, tmp_path_factory.mktemp("undisturbed"), corpus_folder)
    assert start(this).wait(timeout=600) == 0
    return this.out


def test_metrics_describe_the_job(undisturbed):
    found = metrics(undisturbed)
    name = torch.cuda.get_device_name()
    assert found["device"] == name
    assert found["attention_backend"] == "sdpa"
    assert found["spec"]["recipe"]["precision"] == "bf16"
    assert found["peak_memory_bytes"] > 0
    if peak_tflops(name):
        assert 0 < found["model_flops_utilisation"] < 1


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)])
def test_a_stopped_job_resumes_bit_by_bit(stop, code, undisturbed, corpus_folder, tmp_path):
    this = job(SPEC, tmp_path, corpus_folder, save_every_s=0.0)
    process = start(this)
    wait_until(lambda: (rolling_steps(this.rolling) or [0])[-1] >= 3, process, seconds=600)
    process.send_signal(stop)
    assert process.wait(timeout=600) == code
    assert start(this).wait(timeout=600) == 0
    assert metrics(this.out)["resumed_from_step"] >= 3
    assert identity(this.out) == identity(undisturbed)


def test_two_jobs_share_one_gpu(corpus_folder, tmp_path):
    """Two concurrent jobs of the slot allocator; each sees its GPU as the only one."""
    slots = [
        sys.executable,
        "-m",
        "twostage.cluster.gpu_slots",
        "--locks",
        str(tmp_path / "locks"),
        "--gpus",
        "0",
        "--",
    ]
    jobs = [job(SPEC, tmp_path / str(index), corpus_folder) for index in range(2)]
    processes = [
        subprocess.Popen([*slots, sys.executable, *arguments(this), "--device", "cuda", "--deterministic"])
        for this in jobs
    ]
    assert [process.wait(timeout=600) for process in processes] == [0, 0]
    assert identity(jobs[0].out) == identity(jobs[1].out)
