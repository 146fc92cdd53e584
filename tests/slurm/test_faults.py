"""Faults on a real Slurm in addition to the four of test_cluster.py; docs/failures.md describes them for users.

Each test first asserts that the fault happened, then that the results equal those of an undisturbed run bit by bit.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

import pytest
from slurm_study import (
    LONG,
    LONG_TRUNK,
    RESULTS,
    decay,
    identity,
    metrics,
    slurm_wakes,
    trunk,
)

pytestmark = pytest.mark.slow


def finish(study, head, code: int = 0) -> None:
    assert head.wait(1200) == code, study.head_log() + study.logs()


def resumed_from(study, log: str) -> int:
    step = metrics(study.root, LONG_TRUNK)["resumed_from_step"]
    assert 0 < step < LONG
    assert f"resuming at step {step} of {LONG}" in log
    return step


def hold_with_state(study, states: int = 1) -> int:
    """Pause the trainer once it has saved this number of rolling states."""
    study.cluster.wait(lambda: len(study.rolling_steps(LONG_TRUNK)) >= states, "rolling states")
    return study.hold(LONG_TRUNK)


def test_scancel_of_one_job(long_study, undisturbed):
    study, cluster = long_study, long_study.cluster
    head = study.start(LONG_TRUNK)
    pid = study.hold(LONG_TRUNK)
    [job] = study.submissions()
    cluster.run("scancel", job)
    slurm_wakes(pid, lambda: cluster.job(job)["JobState"] == "CANCELLED")
    finish(study, head)
    assert study.restarts(job) == 0  # a job that the user has cancelled is not restarted
    first, second = study.submissions()
    assert first == job
    assert cluster.job(second)["JobState"] == "COMPLETED"
    resumed_from(study, study.story(LONG_TRUNK))
    assert identity(study.root, LONG_TRUNK) == identity(undisturbed.root, LONG_TRUNK)


def test_preemption_with_requeue(long_study, undisturbed):
    study, cluster = long_study, long_study.cluster
    study.site(partition="lowly", save_every_min=0.01)
    head = study.start(LONG_TRUNK)
    hold_with_state(study)
    [job] = study.submissions()
    urgent = cluster.run(
        "sbatch", "--parsable", "-p", "urgent", "--gpus=2", "-t", "5", "-o", "/dev/null", "--wrap", "sleep 3"
    ).strip()
    cluster.wait(lambda: study.restarts(job) == 1, "the preemption")
    assert f"preempted JobId={job}" in (cluster.root / "log/slurmctld.log").read_text()
    finish(study, head)
    assert cluster.job(urgent)["JobState"] == "COMPLETED"
    assert study.submissions() == [job]  # same id, no retry used
    resumed_from(study, study.story(LONG_TRUNK))
    assert identity(study.root, LONG_TRUNK) == identity(undisturbed.root, LONG_TRUNK)


def test_the_trainer_is_killed(long_study, undisturbed):
    study = long_study
    head = study.start(LONG_TRUNK)
    os.kill(hold_with_state(study), signal.SIGKILL)
    finish(study, head)
    first, second = study.submissions()
    assert study.cluster.job(first)["JobState"] == "FAILED"
    assert study.cluster.job(second)["JobState"] == "COMPLETED"
    resumed_from(study, study.story(LONG_TRUNK))
    assert identity(study.root, LONG_TRUNK) == identity(undisturbed.root, LONG_TRUNK)


def test_a_truncated_rolling_state(long_study, undisturbed):
    study = long_study
    head = study.start(LONG_TRUNK)
    pid = hold_with_state(study, states=2)
    before, newest = study.rolling_steps(LONG_TRUNK)[-2:]
    [folder] = (study.root / study.rolling_of(LONG_TRUNK)).glob(f"state/*/step-{newest}")
    payload = max((folder / "state").iterdir(), key=lambda path: path.stat().st_size)
    os.truncate(payload, payload.stat().st_size // 2)
    os.kill(pid, signal.SIGKILL)
    finish(study, head)
    log = study.story(LONG_TRUNK)
    assert f"step-{newest}: damaged rolling state, trying an earlier one" in log
    assert "truncated" in log
    assert resumed_from(study, log) == before
    assert identity(study.root, LONG_TRUNK) == identity(undisturbed.root, LONG_TRUNK)


def test_sigterm_to_snakemake_and_a_rerun(long_study, undisturbed):
    study = long_study
    branch = decay(LONG)
    head = study.start(branch)
    study.trainer(LONG_TRUNK)
    head.send_signal(signal.SIGTERM)
    finish(study, head, code=1)
    assert "Will exit after finishing currently running jobs" in study.head_log()
    assert len(study.submissions()) == 1  # the trunk; its branch was not started
    assert identity(study.root, LONG_TRUNK) == identity(undisturbed.root, LONG_TRUNK)
    study.run(branch)
    assert len(study.submissions()) == 2
    assert (study.root / branch).is_file()


def test_a_second_head_is_refused(long_study):
    study = long_study
    first = study.start(LONG_TRUNK)
    trainer = study.hold(LONG_TRUNK)
    message = study.run(LONG_TRUNK, code=1)
    os.kill(trainer, signal.SIGCONT)
    assert f"another snakemake is running it, process {first.pid} on" in message
    assert "Traceback" not in message
    finish(study, first)
    assert len(study.submissions()) == 1


@pytest.fixture
def small_disk(long_study):
    """A separate small disk for rolling state; `resize` changes its size."""
    folder = long_study.root / "rolling"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()

    def mount(options: str) -> None:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True, capture_output=True
        )

    try:
        mount("size=400k")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no mount here: {error.stderr.decode().strip()}")
    yield mount
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_during_a_save(long_study, small_disk, undisturbed):
    study = long_study
    study.run(LONG_TRUNK, options=("--retries", "0"), code=1)
    log = study.story(LONG_TRUNK)
    assert "No space left on device" in log
    assert not (study.root / LONG_TRUNK).exists()
    small_disk("remount,size=50m")
    study.run(LONG_TRUNK)
    assert identity(study.root, LONG_TRUNK) == identity(undisturbed.root, LONG_TRUNK)


@pytest.mark.parametrize("place", ["a file", "a dangling link", "a read-only disk"])
def test_results_that_cannot_be_written(place, study):
    shutil.rmtree(study.results.parent)
    if place == "a file":
        study.results.parent.write_text("")
        words = "results: is a file, but a folder is needed"
    elif place == "a dangling link":
        study.results.parent.symlink_to("/nowhere/results")
        words = "results: a link to /nowhere/results, which does not exist"
    else:
        study.results.parent.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", study.results.parent], check=True)
        words = "results: not writable (read-only disk, or another owner)"
    try:
        message = study.run(LONG_TRUNK, code=1)
    finally:
        if place == "a read-only disk":
            subprocess.run(["umount", study.results.parent], check=True)
    assert words in message
    assert "Traceback" not in message
    assert study.submissions() == []


def test_a_bad_study_is_refused_without_a_submission(study):
    before = study.cluster.all_jobs()
    study.edit(lambda fields: fields["models"]["8k"].update(batch_size=-8))
    message = study.run(trunk(20), code=1)
    assert "models.8k.batch_size" in message
    assert "Traceback" not in message
    assert study.submissions() == []
    assert study.cluster.all_jobs() == before


def test_bad_input_of_a_job_is_not_tried_again(study):
    """The profile would retry three times, but bad input is not retried: the queue gets one job."""
    tokens = study.results / "tokens/generic/train.bin"
    os.truncate(tokens, tokens.stat().st_size - 1000)
    message = study.run(trunk(20), code=1)
    log = study.log(trunk(20))
    assert "train.bin: truncated" in log.read_text()
    assert "invalid input; this job is not retried" in log.read_text()
    assert message.count("unrecognized option '--bad-input-is-not-submitted-again'") == 3
    assert len(study.submissions()) == 1
    # Once corrected, the job runs at once: the next head ignores the marker.
    shutil.copy(study.pristine / RESULTS / "tokens/generic/train.bin", tokens)
    study.run(trunk(20))
    assert len(study.submissions()) == 2


def test_too_many_gpu_hours_are_refused(study):
    study.site(max_gpu_hours=1, gpu_tflops=1e-9)
    message = study.run(trunk(20), code=1)
    assert "GPU-hours exceed this site's limit" in message
    assert study.submissions() == []


def test_never_more_jobs_than_gpus(study):
    study.site(partition="fragile")
    study.edit(lambda fields: fields.update(seeds=[0, 1, 2, 3]))
    study.run(*(trunk(20, run=f"stage1/generic/8k/seed-{seed}") for seed in range(4)))
    jobs = [study.cluster.job(number) for number in study.submissions()]
    assert len(jobs) == 4
    assert {job["NodeList"] for job in jobs} == {"n3"}
    spans = [(job["StartTime"], job["EndTime"]) for job in jobs]
    # ISO times can be compared as text; count the running jobs at each start.
    running = [sum(begin <= start < end for begin, end in spans) for start, _ in spans]
    assert max(running) == 2  # both GPUs were busy, and never more
