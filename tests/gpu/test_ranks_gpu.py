"""Two ranks with nccl: overlapped reduction and gathering, a sharded optimizer, and a state that one GPU can resume.

nccl refuses two ranks on one device, so a machine with a single GPU skips these tests. The same tests run with gloo on CPUs in
tests/training/test_mixed_precision.py.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from gpu_training import run, trainer

from twostage.training import state as training_state

RANK = """
import json, os, sys
from pathlib import Path
from gpu_training import batches, trainer
from twostage.training import state as training_state
from twostage.model.build import start_process_group

folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
start_process_group("cuda")
this = trainer()
settings = this.model.ddp_config
assert settings.overlap_grad_reduce and settings.overlap_param_gather
share = slice(4 * rank, 4 * rank + 4)
data = batches(12)
pairs = [this.update(step, data[step - 1][share]) for step in range(1, 7)]
training_state.save_training_state(this, folder / "state", {"step": 6})
pairs += [this.update(step, data[step - 1][share]) for step in range(7, 13)]
(folder / f"{rank}.json").write_text(json.dumps(pairs))
"""

needs_two = pytest.mark.skipif(
    torch.cuda.device_count() < 2,
    reason=f"NOT RUN: needs two GPUs (nccl takes one rank per device), found {torch.cuda.device_count()}",
)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    common["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(folder)],
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=600) for process in processes] == [0, 0]
    return folder


@needs_two
def test_two_gpus_train_what_one_does(two_ranks):
    first, second = (json.loads((two_ranks / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    np.testing.assert_allclose(first, run(trainer(), 1, 12), rtol=1e-2)


@needs_two
def test_one_gpu_resumes_a_state_of_two(two_ranks):
    this = trainer(seed=77)
    training_state.load_training_state(this, two_ranks / "state/manifest.json")
    expected = json.loads((two_ranks / "0.json").read_text())[6:]
    np.testing.assert_allclose(run(this, 7, 12), expected, rtol=1e-2)
