"""`twostage status` with real jobs: one failed because of damaged tokens, one is training, one was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from working_copy import Workflow, copy_workflow, write_small_study

from twostage.planning.status import StudyStatus, study_status
from twostage.study import load_study

pytestmark = pytest.mark.workflow

STUDY = "config/small.yaml"
CONFIG = ("--config", f"study={STUDY}")
BASE = "stage1/generic/8k/seed-0"
FAILS = "stage2/cpt-code/8k/seed-0/D1-11264/trunk/10240/checkpoint/manifest.json"
BELOW = "stage2/cpt-code/8k/seed-0/D1-11264/decay/D2-11264/eval-code.json"
LONG = f"{BASE}/trunk/102400000/checkpoint/manifest.json"


def shrink(study) -> None:
    """Two points of stage 1, the second of 200,000 steps: it runs until it is stopped."""
    study["grid"] = {"d1": {"trunk_steps": [20, 200_000]}, "d2": {"trunk_steps": [20]}}
    study["methods"] = {"cpt-code": study["methods"]["cpt-code"]}
    del study["corpora"]["math"]


@pytest.fixture(scope="module")
def workflow(tmp_path_factory) -> Workflow:
    """The base at D1, evaluated; then stage 2 on truncated tokens."""
    copy = copy_workflow(tmp_path_factory.mktemp("status") / "repository")
    write_small_study(copy)
    copy.edit_study(STUDY, shrink)
    targets = [
        f"results/small/{BASE}/decay/D1-11264/eval-generic.json",
        "results/small/tokens/code/manifest.json",
    ]
    copy.snakemake("--cores", "2", *CONFIG, "--", *targets)
    tokens = copy.root / "results/small/tokens/code/train.bin"
    tokens.write_bytes(tokens.read_bytes()[:-1000])
    assert copy.snakemake("--cores", "1", *CONFIG, "--", f"results/small/{FAILS}", check=False).returncode
    return copy


def look(workflow: Workflow) -> StudyStatus:
    root = workflow.root
    return study_status(load_study(root / STUDY), root / "results", root / "rolling")


def job(workflow: Workflow, output: str):
    return next(job for job in look(workflow).jobs if job.output == output)


def test_done_missing_and_failed(workflow):
    status = look(workflow)
    cells = {cell.path: cell for cell in status.cells}
    assert cells[f"{BASE}/decay/D1-11264/eval-generic.json"].state == "done"
    assert cells[f"{BASE}/decay/D1-11264/eval-code.json"].state == "missing"
    failed = job(workflow, FAILS)
    assert failed.state == "failed"
    assert failed.detail.startswith("error: ")
    assert "train.bin: truncated" in failed.detail
    assert (cells[BELOW].state, cells[BELOW].detail) == ("failed", f"{FAILS}: {failed.detail}")
    assert {job.state for job in status.jobs if job.method == "data"} == {"done"}


def test_running_then_killed(workflow):
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1", *CONFIG, "--", f"results/small/{LONG}"],
        cwd=workflow.root,
        env={**os.environ, "PYTHONPATH": str(workflow.root / "src"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 300
        while not (running := job(workflow, LONG)).detail.startswith("step "):
            assert process.poll() is None, "the training ended first"
            assert time.monotonic() < deadline, "the training never started"
            time.sleep(0.2)
        assert running.state == "running"
        assert " of 199980, on " in running.detail
        below = next(cell for cell in look(workflow).cells if "/D1-112640000/" in cell.path)
        assert below.state == "running"
        assert job(workflow, FAILS).state == "failed"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + 60
    while (killed := job(workflow, LONG)).state == "running":  # until the process no longer exists
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert killed.state == "failed"
    assert killed.detail.startswith("killed after step ")
