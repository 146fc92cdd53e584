"""The head's lock and its record of runs; what it does with Slurm's queue is tested on a real one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from twostage.cluster.head import Head, restart_command
from twostage.common.errors import UserError


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def head(tmp_path, said) -> Head:
    return Head(tmp_path / "head", "mini", said.append)


def test_a_living_head_is_named_and_the_second_one_refused(head, tmp_path, said):
    head.claim()
    assert said == []
    second = Head(tmp_path / "head", "mini", said.append)
    with pytest.raises(
        UserError, match=f"study mini: another snakemake .* process {os.getpid()} on "
    ) as error:
        second.claim()
    assert "Ctrl-C" in str(error.value)
    assert "checking whether the owner" in said[0]
    head.release()
    second.claim()
    second.release()


def test_the_lock_of_a_dead_head_is_taken_over(head, tmp_path):
    code = (
        "import os, sys; from twostage.cluster.head import Head\n"
        f"head = Head({str(tmp_path / 'head')!r}, 'mini', print); head.claim(); head.record('run-1'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert list((tmp_path / "head/lease").iterdir())
    head.claim()
    assert head.earlier_runs() == ["run-1"]
    head.record("run-2")
    assert head.earlier_runs() == ["run-1", "run-2"]
    head.release()
    assert head.earlier_runs() == []
    assert not list((tmp_path / "head/lease").iterdir())


def test_without_earlier_runs_the_queue_is_not_asked(head, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert head.settle_earlier_runs() is False


def test_a_queue_that_does_not_answer_is_an_error_with_the_fix(head, tmp_path, monkeypatch):
    squeue = tmp_path / "bin/squeue"
    squeue.parent.mkdir()
    squeue.write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(squeue.parent), prepend=os.pathsep)
    head.record("run-1")
    with pytest.raises(UserError, match="squeue failed: Unable to contact slurm controller; run"):
        head.settle_earlier_runs()
    assert head.earlier_runs() == ["run-1"]


def test_a_restart_repeats_the_command_line():
    code = "from twostage.cluster.head import restart_command; print(restart_command())"
    command = [sys.executable, "-c", code, "a b", ""]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == repr(command)
    assert restart_command()[0]


ALARMS = """
from twostage.cluster.head import remove_rate_limit

onstart:
    remove_rate_limit(workflow.scheduler)

onsuccess:
    print("limit:", workflow.scheduler.job_rate_limiter and workflow.scheduler.job_rate_limiter.max_jobs)

rule all:
    input: "one.txt"

rule one:
    output: "one.txt"
    shell: "touch {output}"
"""


@pytest.mark.parametrize(
    ("options", "limit"),
    [((), "None"), (("--max-jobs-per-timespan", "50/1s"), "50")],
    ids=["default", "chosen"],
)
def test_only_the_default_limit_of_jobs_is_taken_away(tmp_path, options, limit):
    (tmp_path / "Snakefile").write_text(ALARMS)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"limit: {limit}" in done.stdout
