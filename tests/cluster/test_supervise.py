"""The supervisor of a job's command, with real processes; Slurm's own part is in tests/slurm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from twostage.cluster.supervise import EXIT_STOPPED, bad_input_marker, earlier_log
from twostage.common.scripting import EXIT_BAD_INPUT

SCRIPT = Path(__file__).parents[2] / "workflow/scripts/supervise.py"


def words(log: Path, code: str) -> list[str]:
    return [sys.executable, str(SCRIPT), "--log", str(log), "--", sys.executable, "-c", code]


def run(log: Path, code: str, **environment: str) -> int:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return subprocess.run(words(log, code), env=kept | environment, check=False).returncode


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "logs/job.log"


def test_output_goes_to_the_log_and_the_code_is_handed_on(log):
    assert run(log, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(5)") == 5
    assert sorted(log.read_text().split()) == ["err", "out"]
    assert not bad_input_marker(log).exists()


def test_bad_input_leaves_a_marker_that_the_next_start_removes(log):
    assert run(log, f"raise SystemExit({EXIT_BAD_INPUT})") == EXIT_BAD_INPUT
    assert "invalid input; this job is not retried" in log.read_text()
    assert bad_input_marker(log).is_file()
    assert run(log, "pass") == 0
    assert not bad_input_marker(log).exists()


def test_a_command_that_a_signal_ended_is_told_as_a_shell_would(log):
    assert run(log, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)") == 128 + signal.SIGKILL


def test_sigterm_is_outlived_so_that_the_command_can_save(log, tmp_path):
    code = (
        "import pathlib, time\n"
        f"pathlib.Path({str(tmp_path / 'ready')!r}).touch()\n"
        f"while not pathlib.Path({str(tmp_path / 'saved')!r}).exists(): time.sleep(0.01)\n"
        f"raise SystemExit({EXIT_STOPPED})"
    )
    process = subprocess.Popen(words(log, code))
    while not (tmp_path / "ready").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    (tmp_path / "saved").touch()
    assert process.wait(60) == EXIT_STOPPED  # outside Slurm nobody requeues


def test_without_slurms_commands_a_stopped_job_is_left_to_retries(log, tmp_path):
    """Containers have none."""
    code = f"print('the state is saved'); raise SystemExit({EXIT_STOPPED})"
    assert run(log, code, SLURM_JOB_ID="7", PATH=str(tmp_path)) == EXIT_STOPPED
    assert "scontrol not found" in log.read_text()


def test_logs_of_earlier_starts_are_kept_until_a_new_story_begins(log):
    fail = "print('{}'); raise SystemExit(1)"
    for name in ("first", "second"):
        run(log, fail.format(name), SLURM_JOB_ID="7")
        log.unlink()  # as Snakemake does before each start
    assert run(log, "print('third')", SLURM_JOB_ID="8") == 0
    assert earlier_log(log).read_text().splitlines() == [
        "twostage: Slurm job 7",
        "first",
        "twostage: Slurm job 7",
        "second",
    ]
    assert log.read_text().splitlines() == ["twostage: Slurm job 8", "third"]
    assert sorted(path.name for path in log.parent.iterdir()) == ["job.log", "job.log.earlier"]
    assert run(log, "print('anew')") == 0
    assert log.read_text() == "anew\n"
    assert not earlier_log(log).exists()
