"""States of jobs and cells, from outputs, leases and the last lines of logs."""

from __future__ import annotations

import json
import os
import time

import pytest
from finished_outputs import finish
from results_tree import build, make_design, write

from twostage.cli import main
from twostage.cluster.lease import STALE_S, Lease, live_owner
from twostage.design.paths import Branch, Segment, Stage1Run, Stage2Run
from twostage.planning.status import ANALYSIS, study_status

TOKENS = 8 * 128
DESIGN = make_design(steps=(100, 200))
BASE = Stage1Run("generic", "33k", 0)
STACK = Stage2Run("stack", "33k", 0, 110 * TOKENS)
FIRST = Segment(STACK, 100 * TOKENS)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def results(here):
    return here / "results/synthetic"


def job(output: str):
    return next(job for job in study_status(DESIGN.study).jobs if job.output == output)


def cell(path: str):
    return next(cell for cell in study_status(DESIGN.study).cells if cell.path == path)


def log(results, name: str, text: str):
    path = results / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_everything_is_missing_before_the_first_run(here):
    status = study_status(DESIGN.study)
    assert {job.state for job in status.jobs} == {cell.state for cell in status.cells} == {"missing"}
    # By hand: 5 runs of 2 segments and 2 branches; 2 growths; 2 x 2 + 4 x 2 + 4 evaluations; 2 corpora and a tokenizer.
    costly = [job for job in status.jobs if job.method != ANALYSIS]
    assert len(costly) == 5 * 4 + 2 + 16 + 2 + 1 + 2
    assert len(status.cells) == 16


def test_measured_cells_are_done(results):
    build(DESIGN, results)
    status = study_status(DESIGN.study)
    assert {cell.state for cell in status.cells} == {"done"}
    counts = status.count("cells")
    assert {key: dict(states) for key, states in counts.items()} == {
        ("base", "33k"): {"done": 4},
        ("cpt-code", "33k"): {"done": 8},
        ("stack", "33k"): {"done": 4},
    }


def test_a_released_checkpoint_is_done(results):
    write(results / FIRST.manifest, {})
    write((results / FIRST.manifest).with_name("released.json"), {})
    assert (job(FIRST.manifest).state, job(FIRST.manifest).detail) == ("done", "payload released")


def test_a_failure_shows_the_logs_last_line_and_stops_the_cells_below(results):
    text = 'a warning\n{"progress": {"step": 9, "steps": 100}}\nerror: loss is nan at step 9: the run diverged\n\n'
    path = log(results, f"{STACK.path}/trunk-{FIRST.tokens}", text)
    failed = job(FIRST.manifest)
    assert failed.state == "failed"
    assert failed.detail == "error: loss is nan at step 9: the run diverged"
    assert failed.log == str(path.relative_to(results.parents[1]))
    for branch in DESIGN.branches(STACK):
        below = cell(branch.evaluation("generic"))
        assert below.state == "failed"
        assert below.detail == f"{FIRST.manifest}: {failed.detail}"
    other = Stage2Run("stack", "33k", 0, 220 * TOKENS)
    assert cell(DESIGN.branches(other)[0].evaluation("generic")).state == "missing"


def test_failed_jobs_before_a_finished_checkpoint_do_not_matter(results):
    """The decay branch is done, so an error in the log of its trunk is ignored."""
    branch = Branch(BASE, 110 * TOKENS)
    write(results / branch.manifest, {})
    log(results, f"{BASE.path}/trunk-{100 * TOKENS}", "error: disk full\n")
    assert cell(branch.evaluation("generic")).state == "missing"
    assert job(Segment(BASE, 100 * TOKENS).manifest).state == "failed"


def test_a_killed_job_is_reported_as_killed(results):
    log(results, f"{STACK.path}/grow", "")
    grown = job(f"{STACK.path}/init/checkpoint/manifest.json")
    assert (grown.state, grown.detail) == ("failed", "killed before any message")
    log(results, f"{STACK.path}/trunk-{FIRST.tokens}", 'a warning\n{"progress": {"step": 7, "steps": 100}}\n')
    assert job(FIRST.manifest).detail == "killed after step 7 of 100"


def test_the_supervisors_remarks_do_not_hide_the_jobs_last_message(results):
    job_log = f"{STACK.path}/trunk-{FIRST.tokens}"
    log(
        results,
        job_log,
        "twostage: Slurm job 7\nerror: no tokens\ntwostage: bad input; this job is not tried again\n",
    )
    assert job(FIRST.manifest).detail == "error: no tokens"
    progress = '{"progress": {"step": 7, "steps": 100}}\n'
    log(results, job_log, f"{progress}saved\ntwostage: stopped in time; job 7 goes back to the queue\n")
    waiting = job(FIRST.manifest)
    assert (waiting.state, waiting.detail) == ("running", "step 7 of 100, in the queue again")


def test_a_job_that_has_just_started_runs_while_snakemake_holds_its_lock(results, here):
    grown = f"{STACK.path}/init/checkpoint/manifest.json"
    (here / ".snakemake/locks").mkdir(parents=True)
    (here / ".snakemake/locks/0.input.lock").touch()
    for text, state in (
        ("", "running"),
        ("x.py:3: FutureWarning: old\n", "running"),
        ("error: base is damaged\n", "failed"),
        ("Traceback (most recent call last):\n  ...\nKeyError: 'x'\n", "failed"),
    ):
        log(results, f"{STACK.path}/grow", text)
        assert job(grown).state == state


def test_a_job_with_a_live_lease_is_running_whatever_its_log_says(results, here):
    log(results, f"{STACK.path}/trunk-{FIRST.tokens}", 'a warning\n{"progress": {"step": 7, "steps": 100}}\n')
    with Lease(here / f"rolling/synthetic/{STACK.path}/trunk-{FIRST.tokens}/lease"):
        running = job(FIRST.manifest)
        assert running.state == "running"
        assert running.detail.startswith("step 7 of 100, on ")
        assert cell(DESIGN.branches(STACK)[1].evaluation("generic")).state == "running"
    assert job(FIRST.manifest).state == "failed"


@pytest.mark.parametrize(("age_s", "alive"), [(1, True), (STALE_S - 20, True), (STALE_S + 20, False)])
def test_a_lease_of_another_machine_expires_with_its_heartbeat(tmp_path, age_s, alive):
    lease = tmp_path / "lease-3.json"
    write(lease, {"nonce": "x", "host": "node17", "boot": "b", "pid_namespace": "n", "pid": 1})
    os.utime(lease, (time.time() - age_s,) * 2)
    assert (live_owner(tmp_path) is not None) == alive


def test_a_free_folder_has_no_owner(tmp_path):
    assert live_owner(tmp_path / "nowhere") is None
    with Lease(tmp_path / "lease"):
        assert live_owner(tmp_path / "lease")["pid"] == os.getpid()
    assert live_owner(tmp_path / "lease") is None


# The command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def study_file(results, here):
    fields = DESIGN.study.model_dump(mode="json", exclude_none=True)
    del fields["name"]
    (here / "synthetic.yaml").write_text(json.dumps(fields))
    log(results, f"{STACK.path}/trunk-{FIRST.tokens}", "error: no space left\n")
    return "synthetic.yaml"


def test_summary_names_the_failure_and_its_log(study_file, capsys):
    assert main(["status", study_file]) == 0
    text = capsys.readouterr().out
    assert f"failed {FIRST.manifest}: error: no space left" in text
    assert f"log: results/synthetic/logs/{STACK.path}/trunk-{FIRST.tokens}.log" in text
    row = next(line for line in text.splitlines() if line.startswith("│ stack"))
    # Cells done, outdated, running, failed, missing; jobs likewise: 2 runs of 4, 2 growths, 4 evaluations, one of them failed.
    fields = [field.strip() for field in row.split("│")[3:-1]]
    assert fields == ["·", "·", "·", "2", "2", "·", "·", "·", "1", "13"]


def test_outdated_jobs_and_deleted_files_are_shown(here, results, capsys, study_file):
    finish(DESIGN, results)
    branch = Branch(BASE, 110 * TOKENS)
    write(results / branch.manifest, {"payload": {"model.safetensors": {"bytes": 1, "sha256": "0"}}})
    assert job(branch.manifest).detail == "deleted: model.safetensors"
    assert job(Branch(STACK, 110 * TOKENS).manifest).state == "outdated"  # it has the key of another base
    assert main(["status", study_file]) == 0
    text = capsys.readouterr().out
    assert "deleted files of 1 checkpoints" in text
    assert f"{branch.manifest}" in text


def test_every_cell_can_be_listed_and_chosen_by_state(study_file, capsys):
    assert main(["status", study_file, "--cells"]) == 0
    assert capsys.readouterr().out.count("/eval-") == 16
    assert main(["status", study_file, "--cells", "--state", "failed"]) == 0
    listed = [line for line in capsys.readouterr().out.splitlines() if "/eval-" in line]
    assert len(listed) == 2
    assert all(line.startswith(f"failed  stage2/stack/33k/seed-0/D1-{110 * TOKENS}/") for line in listed)


def test_json_holds_everything(study_file, capsys):
    assert main(["status", study_file, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["totals"]["cells"] == {"missing": 14, "failed": 2}
    assert len([job for job in record["jobs"] if job["method"] != ANALYSIS]) == 43
    entry = record["cells"][0]
    assert (entry["method"], entry["d1_tokens"], entry["corpus"]) == ("base", None, "generic")


def test_state_without_a_list_is_refused(study_file, capsys):
    assert main(["status", study_file, "--state", "failed"]) == 2
    assert "--state: needs --cells or --jobs" in capsys.readouterr().err
