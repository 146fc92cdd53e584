"""Data parallel training on two nodes, started by the rules (srun) and by hand (torchrun in srun), compared with one process."""

from __future__ import annotations

import json
import shlex
import sys

import pytest
from slurm_study import LONG, LONG_TRUNK, NAME, RUN, TOKENS_PER_STEP, identity, metrics, parts_of, progress

from twostage.design.design import Design
from twostage.design.paths import Segment, parse_run
from twostage.design.specs import segment_spec
from twostage.study import load_study

pytestmark = pytest.mark.slow

STEPS = 50


def first_losses(root) -> list[float]:
    lines = (root / LONG_TRUNK).parents[1].joinpath("steps.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines[:STEPS]]


def four_ranks(study) -> None:
    """A site where every training job takes four GPUs, two on each of two nodes."""
    study.lengthen()
    study.site(max_gpus_per_job=4, target_job_h=1e-9)


def test_two_nodes_through_the_profile_stop_together_and_resume(
    study, prepared, cluster, undisturbed, tmp_path
):
    four_ranks(study)
    head = study.start(LONG_TRUNK)
    cluster.wait(lambda: progress(study.log(LONG_TRUNK)), "training")
    [job] = study.submissions()
    assert cluster.job(job)["NumNodes"] == "2"
    assert cluster.job(job)["TresPerJob"] == "gres:gpu:4"
    assert len(study.processes("train.py")) == 4
    cluster.run("scancel", "--signal=TERM", job)  # as Slurm does before a time limit
    assert head.wait(1200) == 0, study.head_log() + study.logs()
    assert study.restarts(job) == 1
    found = metrics(study.root, LONG_TRUNK)
    assert found["ranks"] == 4
    assert 0 < found["resumed_from_step"] < LONG
    assert f"stopped by SIGTERM at step {found['resumed_from_step']}" in study.story(LONG_TRUNK)
    assert first_losses(study.root) == pytest.approx(first_losses(undisturbed.root), rel=1e-5)

    whole = prepared.copy(tmp_path / "whole", cluster)
    four_ranks(whole)
    whole.run(LONG_TRUNK)
    assert metrics(whole.root, LONG_TRUNK)["resumed_from_step"] is None
    assert identity(study.root, LONG_TRUNK) == identity(whole.root, LONG_TRUNK)


def test_two_nodes_by_torchrun_through_srun(study, cluster, undisturbed):
    study.lengthen()
    design = Design(load_study(study.root / f"config/{NAME}.yaml"))
    spec = segment_spec(design, Segment(parse_run(RUN), LONG * TOKENS_PER_STEP))
    run, kind, what = parts_of(LONG_TRUNK)
    command = [
        *("srun", "--nodes=2", "--ntasks-per-node=1", sys.executable, "-m", "torch.distributed.run"),
        *("--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:29517"),
        *("--rdzv-id=7", "workflow/scripts/train.py", "--spec", spec.canonical(), "--out", LONG_TRUNK),
        *(
            "--data",
            f"results/{NAME}/tokens/generic/manifest.json",
            "--rolling",
            f"rolling/{run}/{kind}-{what}",
        ),
    ]
    environment = f"PYTHONPATH={shlex.quote(str(study.root / 'src'))} OMP_NUM_THREADS=1"
    job = cluster.run(
        *("sbatch", "--parsable", "--nodes=2", "--ntasks-per-node=1", "--mem=4000", "-t", "60"),
        *("-D", str(study.root), "-o", str(study.root / "torchrun.log")),
        *("--wrap", f"{environment} {shlex.join(command)}"),
    ).strip()
    cluster.wait(lambda: job not in cluster.jobs(), "torchrun", 900)
    log = (study.root / "torchrun.log").read_text()
    assert cluster.job(job)["JobState"] == "COMPLETED", log
    assert metrics(study.root, LONG_TRUNK)["ranks"] == 2
    assert first_losses(study.root) == pytest.approx(first_losses(undisturbed.root), rel=1e-5)
