"""The Snakemake logger plugin: reading logs, estimates, the rendered view, and real Snakemake runs with it."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import textwrap
import time
from fcntl import ioctl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.tests import MockOutputSettings, TestLogHandlerBase

from snakemake_logger_plugin_twostage import LogHandler, plain, view
from snakemake_logger_plugin_twostage.logs import ProgressLine, last_lines, last_progress, parse_progress
from snakemake_logger_plugin_twostage.state import Job, Run, short_count, short_label, study_of

BRANCH = "results/tiny/stage2/stack/m33k/seed-0/D1-1100000/decay/D2-2200000"


def line(step: int, steps: int = 1000, **more: object) -> str:
    return json.dumps(
        {"progress": {"step": step, "steps": steps, "loss": 4.1234, "tokens_per_s": 12300.0, **more}}
    )


# --- logs -------------------------------------------------------------------------------------------------------------


def test_last_progress_skips_incomplete_and_other_lines(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text(
        "start\n" + line(10) + "\n" + line(20) + '\nsaving "progress" \n{"progress": {"step": 30, "ste'
    )
    assert last_progress(str(log)) == ProgressLine(20, 1000, 4.1234, 12300.0)


def test_last_progress_in_a_big_log(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("x" * 5_000_000 + "\n" + line(7) + "\n" + "noise é\n" * 500)
    assert last_progress(str(log)) == ProgressLine(7, 1000, 4.1234, 12300.0)
    log.write_bytes(b"\xc3" + b"\xff" * 20_000)  # one long line of invalid text
    assert last_progress(str(log)) is None


def test_log_of_an_earlier_attempt_is_not_progress(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text(line(1000))
    os.utime(log, (100.0, 100.0))
    assert last_progress(str(log), since=101.0) is None
    os.utime(log, (102.0, 102.0))
    assert last_progress(str(log), since=101.0) == ProgressLine(1000, 1000, 4.1234, 12300.0)


def test_missing_log_is_not_an_error(tmp_path: Path) -> None:
    assert last_progress(str(tmp_path / "none.log")) is None
    assert last_lines(str(tmp_path / "none.log")) == []


@pytest.mark.parametrize(
    "text",
    [
        '{"progress": 3}',
        '{"progress": {"step": 3}}',
        '{"progress": {"step": "x", "steps": 4}}',
        '{"progress": {"step": 5, "steps": 4}}',
        '{"progress": {"step": 0, "steps": 0}}',
        '["progress"]',
        '{"progress": {"step": 1e999, "steps": 4}}',
    ],
)
def test_malformed_progress_is_ignored(text: str) -> None:
    assert parse_progress(text) is None


def test_progress_without_finite_loss_keeps_the_step() -> None:
    assert parse_progress(line(3, loss=float("nan"), tokens_per_s=None)) == ProgressLine(3, 1000, None, None)


@given(st.text(max_size=200))
def test_parsing_accepts_any_text(text: str) -> None:
    parse_progress(text + '"progress"')
    parse_progress('{"progress": ' + text + "}")


def test_last_lines_leave_out_progress(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("".join(f"{line(step)}\nmessage {step}\n" for step in range(100)))
    assert last_lines(str(log), 3) == ["message 97", "message 98", "message 99"]


# --- state ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "label"),
    [
        (f"{BRANCH}/eval-code.json", "stack m33k seed-0 D1-1.1M D2-2.2M eval-code"),
        (f"/home/me/{BRANCH}/checkpoint/manifest.json", "stack m33k seed-0 D1-1.1M D2-2.2M"),
        (
            "results/tiny/stage1/generic/m33k/seed-1/trunk/409600/checkpoint/manifest.json",
            "generic m33k seed-1 410k",
        ),
        ("results/tiny/tokens/code/manifest.json", "code"),
        ("results/tiny/tables/cells.csv", "cells"),
        ("results/tiny/figures/figure1.pdf", "figure1"),
        ("out.txt", "out"),
        ("manifest.json", "manifest"),
    ],
)
def test_short_label(path: str, label: str) -> None:
    assert short_label(path) == label


def test_study_of() -> None:
    assert study_of(["elsewhere/x", f"{BRANCH}/eval-code.json"]) == "tiny"
    assert study_of(["results/report.html", "out.txt"]) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (950, "950"),
        (999.6, "1k"),
        (12_345, "12.3k"),
        (999_700, "1M"),
        (4.4e9, "4.4B"),
        (3.2e12, "3200B"),
    ],
)
def test_short_count(value: float, text: str) -> None:
    assert short_count(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "…"), (0.4, "0:00"), (59.6, "1:00"), (754, "12:34"), (12_060, "3:21:00"), (187_200, "2d 04:00")],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert plain.duration(seconds) == text


def test_job_time_left_ignores_startup_and_resumed_steps() -> None:
    job = Job(1, "train", "", (), started=0.0)
    job.update(ProgressLine(500, 1000), now=60.0)  # resumed at 500 after a minute of start-up
    assert job.left(60.0) is None
    job.update(ProgressLine(600, 1000), now=70.0)  # 10 steps a second
    assert job.left(70.0) == pytest.approx(40.0)
    job.update(ProgressLine(600, 1000), now=75.0)  # the same progress 5 s later
    assert job.left(75.0) == pytest.approx(35.0)
    job.update(None, now=80.0)
    assert job.progress == ProgressLine(600, 1000)


def test_a_rolled_back_job_starts_a_new_estimate() -> None:
    job = Job(1, "train", "", (), started=0.0)
    job.update(ProgressLine(500, 1000), now=10.0)
    job.update(ProgressLine(100, 1000), now=20.0)
    assert job.left(20.0) is None


def test_run_time_left_is_work_over_parallel_jobs() -> None:
    run = Run.from_stats({"train": 8, "total": 8}, now=0.0)
    assert run.run_left(0.0) == (None, False)
    for jobid in (1, 2):
        run.job_started(jobid, "train", [], [], now=0.0)
    for jobid in (1, 2):
        run.job_finished(jobid, now=10.0)
    # Six jobs of 10 s, two in parallel.
    assert run.run_left(10.0) == (pytest.approx(30.0), True)
    for jobid in (3, 4):
        run.job_started(jobid, "train", [], [], now=10.0)
    assert run.run_left(14.0) == (pytest.approx((2 * 6 + 4 * 10) / 2), True)


def test_run_time_left_is_a_lower_bound_while_rules_are_unknown() -> None:
    run = Run.from_stats({"train": 2, "plot": 1, "total": 3}, now=0.0)
    run.job_started(1, "train", [], [], now=0.0)
    run.job_finished(1, now=10.0)
    assert run.run_left(10.0) == (pytest.approx(10.0), False)
    assert plain.time_left(run, 10.0) == "≥ 0:10"


def test_run_time_left_is_at_least_the_longest_job_and_projects_from_running_ones() -> None:
    run = Run.from_stats({"train": 2, "total": 2}, now=0.0)
    for jobid, steps in ((1, 1000), (2, 200)):
        run.job_started(jobid, "train", [], [], now=0.0)
        run.running[jobid].update(ProgressLine(0, steps), now=0.0)
        run.running[jobid].update(ProgressLine(100, steps), now=10.0)
    assert run.run_left(10.0) == (pytest.approx(90.0), True)
    assert run.mean_seconds("train", 10.0) == pytest.approx((100 + 20) / 2)


def test_failures_and_restarts_are_counted() -> None:
    run = Run.from_stats({"train": 2, "total": 2}, now=0.0)
    run.job_started(1, "train", [], [], now=0.0)
    run.job_failed(1, now=1.0)
    assert (run.failed, run.running) == (1, {})
    run.job_restarts()
    run.job_started(1, "train", [], [], now=1.0)
    run.job_finished(1, now=2.0)
    assert (run.failed, run.done, run.finished["train"]) == (0, 1, 1)


# --- view -------------------------------------------------------------------------------------------------------------


def example() -> Run:
    run = Run.from_stats({"tokenize": 2, "train_decay_branch": 30, "plot_figure": 1, "total": 33}, now=0.0)
    for jobid in (1, 2):
        run.job_started(jobid, "tokenize", ["results/tiny/tokens/code/manifest.json"], [], now=0.0)
        run.job_finished(jobid, now=5.0)
    for jobid in range(3, 8):
        run.job_started(
            jobid, "train_decay_branch", [f"{BRANCH}/checkpoint/manifest.json"], ["a.log"], now=5.0
        )
    run.running[3].update(ProgressLine(100, 1000, 5.0, 12_300.0), now=10.0)
    run.running[3].update(ProgressLine(600, 1000, 4.1234, 12_300.0), now=20.0)
    return run


def draw(run: Run, now: float, width: int, max_jobs: int = 20) -> list[str]:
    console = Console(file=io.StringIO(), width=width, record=True, force_terminal=True)
    console.print(view.render(run, now, max_jobs=max_jobs))
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_view_shows_everything_within_the_width(width: int) -> None:
    lines = draw(example(), 20.0, width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert "twostage tiny" in lines[0]
    assert "2/33 jobs" in lines[0]
    assert "0:20" in lines[0]
    assert "≥" in lines[0]
    assert "tokenize\N{NO-BREAK SPACE}2/2" in text
    assert "train_decay_branch\N{NO-BREAK SPACE}0/30" in text
    # The running job with its step, loss, rate, elapsed time and time left (400 steps at 50 a second).
    row = next(row for row in lines if "600/1000" in row)
    assert row.split()[-5:] == ["600/1000", "4.1234", "12.3k", "0:15", "0:08"]
    # Labels are complete on narrow screens, too.
    assert text.count("D1-1.1M") == text.count("D2-2.2M") == 5
    # A job without progress shows only how long it has been running.
    assert sum(row.split()[-2:] == ["0:15", "…"] for row in lines) == 4


def test_view_of_many_jobs_says_how_many_are_not_shown() -> None:
    lines = draw(example(), 20.0, 120, max_jobs=2)
    assert sum("train_decay_branch stack" in row for row in lines) == 2
    assert lines[-1].strip() == "and 3 more"


def test_view_after_a_failure_has_no_estimate_without_keep_going() -> None:
    run = example()
    run.job_failed(4, now=20.0)
    head = draw(run, 20.0, 120)[0]
    assert "1 failed" in head
    assert "left" not in head
    run.job_started(9, "train_decay_branch", [], [], now=20.0)
    head = draw(run, 20.0, 120)[0]
    assert "1 failed" in head
    assert "left ~" in head


def test_view_on_a_cluster_calls_jobs_submitted() -> None:
    run = Run.from_stats({"train": 1, "total": 1}, now=0.0, remote=True)
    run.job_started(1, "train", [], [], now=0.0)
    text = "\n".join(draw(run, 1.0, 80))
    assert "submitted" in text
    assert "running" not in text


# --- handler ----------------------------------------------------------------------------------------------------------


class TestInterface(TestLogHandlerBase):
    """The test suite that the interface package provides for plugins."""

    __test__ = True

    def get_log_handler_cls(self):
        return LogHandler

    def get_log_handler_settings(self):
        return None


def handler_and_output(monkeypatch: pytest.MonkeyPatch, **settings: object) -> tuple[LogHandler, io.StringIO]:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stderr", output)
    common = MockOutputSettings()
    common.show_failed_logs = common.printshellcmds = False
    for key, value in settings.items():
        setattr(common, key, value)
    return LogHandler(common, None), output


def record(message: str | None, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("snakemake", level, "x.py", 1, str(message), None, None)
    made.__dict__.update(extra)
    return made


def test_unknown_messages_are_printed_and_routine_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    handler, output = handler_and_output(monkeypatch)
    for message in ("Building DAG of jobs...", "Select jobs to execute...", "None", "Something new happened"):
        handler.handle(record(message))
    handler.handle(record("Building DAG of jobs... went wrong", logging.WARNING))
    assert output.getvalue() == "Something new happened\nBuilding DAG of jobs... went wrong\n"


@pytest.mark.parametrize("quiet", [None, {"rules"}, {"all"}])
def test_job_error_is_printed_with_its_log_even_when_quiet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quiet: object
) -> None:
    log = tmp_path / "train.log"
    log.write_text("".join(f"message {i}\n" for i in range(50)) + line(3) + "\n")
    handler, output = handler_and_output(monkeypatch, quiet=quiet)
    error = {"event": LogEvent.JOB_ERROR, "rule_name": "train", "rule_msg": None, "jobid": 4, "input": ["in"]}
    error |= {"output": ["out"], "log": [str(log)], "conda_env": None, "container_img": None, "aux": {}}
    handler.handle(
        record("Error in rule train", logging.ERROR, shellcmd="python train.py", indent=False, **error)
    )
    text = output.getvalue()
    assert "Error in rule train" in text
    assert "python train.py" in text
    assert "None" not in text
    assert f"last 20 lines of {log}:\n  | message 30\n" in text
    assert text.endswith("  | message 49\n")


def test_an_error_in_the_plugin_does_not_lose_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    handler, output = handler_and_output(monkeypatch)
    handler.handle(record("Error in rule odd", logging.ERROR, event=LogEvent.JOB_ERROR))  # without any field
    assert "AttributeError" in output.getvalue()
    assert output.getvalue().endswith("Error in rule odd\n")


def test_plugin_import_is_cheap() -> None:
    """Snakemake imports every installed plugin at each start, and again in each job."""
    code = "import sys, snakemake_logger_plugin_twostage; print({m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'snakemake_interface_logger_plugins'" in loaded
    assert not any(f"'{heavy}'" in loaded for heavy in ("rich", "snakemake", "torch", "numpy", "twostage"))


# --- real Snakemake ---------------------------------------------------------------------------------------------------

SNAKEFILE = """
rule all_figures:
    localrule: True
    input: "results/toy/stage1/code/m33k/seed-0/decay/D1-1100000/checkpoint/manifest.json"
rule tokenize:
    output: "results/toy/tokens/code/manifest.json"
    shell: "touch {output}"
rule train_decay_branch:
    input: rules.tokenize.output
    output: "results/toy/stage1/code/m33k/seed-0/decay/D1-1100000/checkpoint/manifest.json"
    log: "train.log"
    shell:
        '''
        echo 'loading tokens' > {log}
        echo '{{"progress": {{"step": 40, "steps": 100, "loss": 4.1234, "tokens_per_s": 12300.0}}}}' >> {log}
        %s
        touch {output}
        '''
"""
# Runs until the test has seen its text on the screen, at most a minute, so that the speed of the machine does not matter.
WAIT = "for i in $(seq 600); do if [ -e seen ]; then break; fi; sleep 0.1; done"
FAIL = "echo 'ValueError: loss is NaN at step 41; lower learning_rate' >> {log}; exit 3"


def command(folder: Path, step: str, *options: str) -> list[str]:
    (folder / "Snakefile").write_text(textwrap.dedent(SNAKEFILE % step))
    return [sys.executable, "-m", "snakemake", "--logger", "twostage", "--cores", "1", *options]


@pytest.mark.workflow
def test_plain_run_then_nothing_to_do(tmp_path: Path) -> None:
    run = [*command(tmp_path, "true"), "--rerun-triggers", "mtime"]
    first = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    lines = first.stderr.splitlines()
    # Only the two durations are unknown.
    assert [row.rsplit(" ", 1)[0].rstrip() for row in lines] == [
        "twostage: study toy: 3 jobs to run (1 tokenize, 1 train_decay_branch, 1",
        "[1/3] tokenize code",
        "[2/3] train_decay_branch code m33k seed-0 D1-1.1M  loss 4.1234  12.3k tokens/s",
        "[3/3] all_figures",
        "twostage: finished 3 of 3 jobs in",
    ]
    second = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert second.returncode == 0
    assert second.stderr.startswith("Nothing to be done")


@pytest.mark.workflow
def test_dry_run_keeps_job_counts_and_reasons(tmp_path: Path) -> None:
    done = subprocess.run(command(tmp_path, "true", "-n"), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Job stats:")
    assert "rule train_decay_branch:" in done.stdout
    assert "reason: Missing output files: results/toy/tokens/code/manifest.json" in done.stdout
    assert "This was a dry-run" in done.stdout
    assert "Snakemake version" not in done.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.workflow
def test_failing_job_without_terminal(tmp_path: Path) -> None:
    done = subprocess.run(command(tmp_path, FAIL), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Error in rule train_decay_branch" in done.stderr
    assert "returned non-zero exit status 3" in done.stderr
    assert done.stderr.count("echo 'loading tokens' > train.log") == 1
    quoted = "  | loading tokens\n  | ValueError: loss is NaN at step 41; lower learning_rate\n"
    assert f"last 2 lines of train.log:\n{quoted}" in done.stderr
    assert "At least one job did not complete successfully" in done.stderr
    assert "twostage: stopped after 1 of 3 jobs, 1 failed" in done.stderr


@pytest.mark.workflow
def test_missing_input_is_reported(tmp_path: Path) -> None:
    run = command(tmp_path, "true")
    (tmp_path / "Snakefile").write_text(
        'rule a:\n    input: "absent.csv"\n    output: "b"\n    shell: "true"\n'
    )
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "MissingInputException" in done.stderr
    assert "absent.csv" in done.stderr


def in_terminal(run: list[str], folder: Path, columns: int, seen: str) -> tuple[str, int]:
    """Run in a pseudo-terminal and create the file `seen` once that text is shown. Return output and exit status."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment["TERM"] = "xterm-256color"
    process = subprocess.Popen(run, cwd=folder, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    output = b""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if not select.select([master], [], [], 1.0)[0]:
            continue
        try:
            chunk = os.read(master, 65536)
        except OSError:  # on Linux: the other side has closed
            break
        output += chunk
        if seen.encode() in output:
            (folder / "seen").touch()
    else:
        process.kill()
    os.close(master)
    return output.decode(), process.wait()


@pytest.mark.workflow
@pytest.mark.parametrize("columns", [80, 120])
def test_live_view_at_a_terminal(tmp_path: Path, columns: int) -> None:
    output, status = in_terminal(command(tmp_path, WAIT), tmp_path, columns, seen="40/100")
    assert status == 0, output
    for text in ("1/3 jobs", "train_decay_branch", "tokens/s", "4.1234", "12.3k", "elapsed", "left"):
        assert text in output
    for noise in ("Select jobs", "Building DAG", "Finished jobid"):
        assert noise not in output
    # The cursor is hidden during the view and shown again at the end.
    assert output.rfind("\x1b[?25h") > output.find("\x1b[?25l") > -1
    after = output[output.rfind("\x1b[?25h") :]
    assert "\x1b[2K" in after  # the view is erased
    assert "twostage: finished 3 of 3 jobs" in after  # and one line remains


@pytest.mark.workflow
def test_failing_job_at_a_terminal(tmp_path: Path) -> None:
    output, status = in_terminal(command(tmp_path, f"{WAIT}; {FAIL}"), tmp_path, 80, seen="40/100")
    assert status == 1, output
    assert "last 2 lines of train.log:" in output
    assert "ValueError: loss is NaN at step 41; lower learning_rate" in output
    assert "1 failed" in output[output.rfind("\x1b[?25h") :]
    # The error text is red; the view that is redrawn below it is not.
    assert "\x1b[1;31mtwostage" not in output[: output.rfind("\x1b[?25h")]
