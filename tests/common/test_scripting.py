"""A full disk is explained in one line, by jobs and by the command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")  # every write to it fails with ENOSPC

JOB = """
from twostage.common.scripting import run_script
def main():
    with open("/dev/full", "w") as stream:
        stream.write("x" * 100_000)
run_script(main)
"""


def test_a_job_on_a_full_disk_says_to_make_room(tmp_path):
    done = subprocess.run([sys.executable, "-c", JOB], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Make room" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_on_a_full_disk_says_to_make_room(tmp_path, monkeypatch, capsys):
    from twostage.cli import main, plan

    def fill(args):
        FULL.write_text("x" * 100_000)

    monkeypatch.setattr(plan, "run", fill)
    assert main(["plan", "config/tiny.yaml"]) == 2
    text = capsys.readouterr().err
    assert "Make room" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    "code", ["raise PermissionError(13, 'Permission denied', 'x')", "raise RuntimeError('x')"]
)
def test_other_errors_of_a_job_keep_their_traceback(code, tmp_path):
    script = f"from twostage.common.scripting import run_script\ndef main():\n    {code}\nrun_script(main)\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert "Traceback" in done.stderr
