"""The four tests on a real Slurm that `make test` runs: a complete study, a time limit, a dead node, a killed head.

They run concurrently, each in its own working copy, because most of their time is waiting for Slurm: it checks time limits
twice a minute, declares a silent node down after half a minute, and delays requeued jobs. So no test may clean up
the cluster before the last one has finished.
"""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from slurm_study import LONG, LONG_TRUNK, RESULTS, Study, identity, metrics, progress, slurm_wakes, trunk


@pytest.fixture(scope="module")
def scenes(cluster, prepared, undisturbed, tmp_path_factory):
    """The four runs, started together; each test takes its own."""
    scenarios = (no_fault, time_limit, dead_node, killed_head)
    studies = {
        s: prepared.copy(tmp_path_factory.mktemp(s.__name__) / "repository", cluster) for s in scenarios
    }
    with ThreadPoolExecutor(len(scenarios)) as pool:
        running = {s: pool.submit(s, study) for s, study in studies.items()}
        yield {s: (running[s], studies[s]) for s in scenarios}
        for study in studies.values():
            study.stop()
    cluster.cancel_all()


def same_as_undisturbed(study: Study, undisturbed: Study) -> bool:
    return identity(study.root, LONG_TRUNK) == identity(undisturbed.root, LONG_TRUNK)


# No fault -------------------------------------------------------------------------------------------------------------


def no_fault(study: Study) -> None:
    study.run(f"{RESULTS}/tables/cells.csv")


def test_a_complete_study(scenes, cluster):
    running, study = scenes[no_fault]
    running.result()
    cells = pd.read_csv(study.results / "tables/cells.csv")
    assert sorted(cells["method"]) == ["cpt-code", "scratch"]
    submitted = study.submissions()
    assert (
        len(submitted) == 2 * 2 + 2 * 2
    )  # two runs of a segment and a branch, each evaluated on both corpora
    jobs = [cluster.job(number) for number in submitted]
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    assert {job["Restarts"] for job in jobs} == {"0"}
    assert all(job["TresPerJob"] == "gres:gpu:1" for job in jobs)
    # Slurm's log of each job, and the job's log, where the README says.
    for number, job in zip(submitted, jobs, strict=True):
        assert Path(job["StdOut"]).is_relative_to(study.root / "results/logs/slurm")
        assert Path(job["StdOut"]).name == f"{number}.log"
    assert "twostage: Slurm job" in study.log(trunk(20)).read_text()
    assert study.workflow.planned(*study.words(f"{RESULTS}/tables/cells.csv")) == {}


# A time limit ---------------------------------------------------------------------------------------------------------


def time_limit(study: Study) -> None:
    study.lengthen()
    study.site(max_walltime_min=2, grace_s=30)  # Slurm may send the signal a minute early
    head = study.start(LONG_TRUNK)
    slurm_wakes(study.hold(LONG_TRUNK), lambda: "stopped by SIGTERM" in study.story(LONG_TRUNK))
    assert head.wait(600) == 0, study.head_log() + study.logs()


def test_a_time_limit_in_mid_segment(scenes, undisturbed):
    running, study = scenes[time_limit]
    running.result()
    log = study.story(LONG_TRUNK)
    assert "stopped by SIGTERM at step" in log
    assert "goes back to the queue" in log
    [job] = study.submissions()  # no retry was used
    assert study.restarts(job) >= 1
    step = metrics(study.root, LONG_TRUNK)["resumed_from_step"]
    assert 0 < step < LONG
    assert f"stopped by SIGTERM at step {step}; the state is saved" in log
    assert f"resuming at step {step} of {LONG}" in log
    assert same_as_undisturbed(study, undisturbed)


# A dead node ----------------------------------------------------------------------------------------------------------


def dead_node(study: Study) -> None:
    study.lengthen()
    study.site(partition="fragile", save_every_min=0.01)
    cluster = study.cluster
    node = cluster.nodes[-1]
    head = study.start(LONG_TRUNK)
    cluster.wait(lambda: study.rolling_steps(LONG_TRUNK), "a rolling state")
    study.hold(LONG_TRUNK)
    dead = cluster.kill_node(node)
    assert len(dead) > 3  # its daemon, the job's step daemons, the trainer
    cluster.wait(lambda: cluster.node_states()[node].startswith("down"), "Slurm to miss the node")
    cluster.start_node(node)
    assert head.wait(600) == 0, study.head_log() + study.logs()


def test_a_node_dies_with_its_job(scenes, undisturbed):
    running, study = scenes[dead_node]
    running.result()
    [job] = study.submissions()
    assert study.restarts(job) == 1
    log = study.story(LONG_TRUNK)
    assert "stopped by SIGTERM" not in log  # the job got no signal
    step = metrics(study.root, LONG_TRUNK)["resumed_from_step"]
    assert f"resuming at step {step} of {LONG}" in log
    assert 0 < step < LONG
    assert same_as_undisturbed(study, undisturbed)


# A killed head --------------------------------------------------------------------------------------------------------


def killed_head(study: Study) -> None:
    study.lengthen()
    head = study.start(LONG_TRUNK)
    trainer = study.hold(LONG_TRUNK)
    head.send_signal(signal.SIGKILL)
    assert head.wait() == -signal.SIGKILL
    assert progress(study.log(LONG_TRUNK)) < LONG
    again = study.start(LONG_TRUNK)
    study.cluster.wait(
        lambda: "waiting for 1 jobs of an earlier snakemake" in study.head_log(), "the second head"
    )
    os.kill(trainer, signal.SIGCONT)
    assert again.wait(600) == 0, study.head_log() + study.logs()


def test_a_killed_head_leaves_nothing_to_clean_up(scenes, undisturbed):
    running, study = scenes[killed_head]
    running.result()
    assert len(study.submissions()) == 1  # trained once, by the job of the first head
    assert "planning again" in study.head_log()
    assert metrics(study.root, LONG_TRUNK)["resumed_from_step"] is None
    assert same_as_undisturbed(study, undisturbed)
    assert not list((study.root / "rolling/small/head").rglob("*.json"))
