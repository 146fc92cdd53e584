"""The GPU benchmark as a dry run on a CPU: all parts run, and the output is marked as a dry run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from twostage.common.errors import UserError
from twostage.planning.throughput import load_throughput

SCRIPT = Path(__file__).parents[1] / "benchmarks/gpu/run.py"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("benchmark") / "dry.json"
    command = [sys.executable, str(SCRIPT), "--out", str(out), "--device", "cpu", "--sizes", "tiny"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, out


def test_every_check_passes_on_a_cpu(dry_run):
    report = json.loads(dry_run[1].read_text())
    assert len(report["checks"]) == 5
    assert all(found["ok"] for found in report["checks"])
    (curve,) = [found for found in report["checks"] if "bf16 loss" in found["check"]]
    assert curve["learned"] > 0.5
    assert curve["worst_step"] > 0


def test_every_part_has_results(dry_run):
    report = json.loads(dry_run[1].read_text())
    (size,) = report["sizes"]
    assert {"ours", "plain compiled PyTorch", "transformers"} <= set(size["variants"])
    assert all(found["tokens_per_s"] > 0 for found in size["variants"].values())
    # The three loops start from different random weights, all with nearly the loss of a uniform guess.
    assert all(abs(found["first_loss"] - 6.24) < 0.5 for found in size["variants"].values())
    assert size["split"]["forward_s"] > 0
    (packed,) = report["packing"]
    assert set(packed["jobs"]) == {"1", "2"}
    (state,) = report["checkpoints"]
    assert state["bytes"] > 12 * size["n_params"]


def test_a_dry_run_is_not_accepted_as_a_measurement(dry_run):
    text, out = dry_run
    assert text.count("DRY RUN ON A CPU") == 2
    with pytest.raises(UserError, match="a dry run on a CPU"):
        load_throughput(out)


def test_a_failed_check_ends_the_run_and_is_kept(tmp_path):
    out = tmp_path / "gpu.json"
    command = [sys.executable, str(SCRIPT), "--out", str(out), "--device", "cpu", "--checks", "nonsense"]
    done = subprocess.run([*command, "--sizes", "tiny"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    report = json.loads(out.read_text())
    assert [found["ok"] for found in report["checks"]] == [False]
    assert report["sizes"] == []
