"""Run the command `twostage doctor` on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def doctor(*argv: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command. PATH has only this Python environment, because other tests may run Slurm on this machine."""
    environment = {"PATH": str(Path(sys.executable).parent), "SLURM_CONF": ""} | environment
    return subprocess.run(
        [sys.executable, "-m", "twostage.cli", "doctor", *map(str, argv)],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_this_machine_is_ready_for_the_tiny_study():
    done = doctor("config/tiny.yaml", "--device", "cpu", "--json")
    report = json.loads(done.stdout)
    wrong = [check for check in report["checks"] if check["status"] == "missing"]
    assert (done.returncode, report["ready"], wrong) == (0, True, []), done.stderr
    assert report["machine"] == "cpu"
    groups = list(dict.fromkeys(check["group"] for check in report["checks"]))
    assert groups == ["environment", "gpu", "attention", "storage", "data", "slurm", "limits", "container"]
    assert all(check["fix"] for check in report["checks"] if check["status"] == "warn")


def test_checking_for_gpus_on_a_machine_without_lists_what_is_missing():
    done = doctor("--device", "cuda", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert "as a cuda machine" in done.stdout
    assert "run the doctor on a GPU node" in done.stdout
    assert "Not ready: fix the lines marked missing." in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 160


def test_a_results_path_that_is_a_file_fails_the_command(tmp_path):
    (tmp_path / "results").write_text("")
    done = doctor("--device", "cpu", "--root", tmp_path, "--json")
    assert done.returncode == 1
    [wrong] = [check for check in json.loads(done.stdout)["checks"] if check["status"] == "missing"]
    assert wrong["name"] == "results"
    assert "is a file, not a folder" in wrong["found"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("config/none.yaml",), "config/none.yaml: no such study file"),
        (("--root", "nowhere"), "--root: nowhere does not exist"),
        (("--lock", "nowhere.txt"), "--lock: nowhere.txt does not exist"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(argv, words):
    done = doctor(*argv)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert words in line
