"""Resources that the jobs of the paper's study request from Slurm, and which jobs run on the head node, with the default profile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.workflow

ON_GPUS = {"train_trunk_segment", "train_decay_branch", "evaluate_checkpoint", "evaluate_downstream"}
ON_CPUS = {
    "prepare_corpus",
    "train_tokenizer",
    "tokenize_corpus",
    "grow_checkpoint",
    "export_checkpoint",
    "simulate_toy_model",
}


@pytest.fixture(scope="module")
def jobs(pristine, tmp_path_factory) -> list[dict]:
    file = tmp_path_factory.mktemp("jobs") / "jobs.jsonl"
    # A dry-run plans with one core by default; nodes have more.
    how = ("-n", "--cores", "8", "--logger", "jobs", "--profile", "profiles/slurm")
    words = (*how, "all_figures", "all_tables", "toy_model")
    folders = (pristine.root / "src", Path(__file__).parent)
    subprocess.run(
        [sys.executable, "-m", "snakemake", *words],
        cwd=pristine.root,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders)), "JOBS_FILE": str(file)},
        check=True,
        capture_output=True,
    )
    return [json.loads(line) for line in file.read_text().splitlines()]


def resources(jobs: list[dict], rule: str, **wildcards: str) -> dict:
    [found] = [job for job in jobs if job["rule"] == rule and wildcards.items() <= job["wildcards"].items()]
    return found["resources"] | {"threads": found["threads"]}


def test_only_long_jobs_are_submitted_to_slurm(jobs):
    submitted = {job["rule"] for job in jobs if "slurm_extra" in job["resources"]}
    assert submitted == ON_GPUS | ON_CPUS
    beside = {job["rule"] for job in jobs} - submitted
    assert {"release_trunk", "aggregate_cells", "fit_law", "make_table_6"} <= beside
    kinds = (
        "release_",
        "aggregate_",
        "gather_",
        "fit_",
        "estimate_",
        "measure_",
        "plot_",
        "make_",
        "list_",
        "write_",
        "all_",
    )
    assert [rule for rule in beside if not rule.startswith((*kinds, "toy_model"))] == []


def test_gpus_are_requested_only_by_jobs_that_use_them(jobs):
    assert {job["rule"] for job in jobs if "gpu" in job["resources"]} == ON_GPUS
    assert {job["resources"]["device"] for job in jobs if job["rule"] in ON_GPUS} == {"cuda"}
    assert {job["resources"]["gpu"] for job in jobs if job["rule"] in ON_GPUS} == {1}


def test_a_corpus_gets_memory_and_time_by_its_size(jobs):
    generic = resources(jobs, "prepare_corpus", corpus="generic")
    assert (generic["mem_mb"], generic["runtime"]) == (15_860, 1390)  # 330 GB of text
    math = resources(jobs, "prepare_corpus", corpus="math")
    assert (math["mem_mb"], math["runtime"]) == (3890, 15 + 188)  # 45 GB
    tokens = resources(jobs, "tokenize_corpus", corpus="generic")
    assert (tokens["threads"], tokens["runtime"]) == (8, 15 + 344)


def test_training_gets_time_by_its_tokens_up_to_the_sites_limit(jobs):
    trunks = [job for job in jobs if job["rule"] == "train_trunk_segment"]
    base = {
        (job["wildcards"]["run"], int(job["wildcards"]["tokens"])): job["resources"]["runtime"]
        for job in trunks
        if job["wildcards"]["run"].startswith("stage1/generic/")
    }
    smallest = min(minutes for minutes in base.values())
    assert 20 < smallest < 60
    assert max(base.values()) == 1440
    assert {job["resources"]["slurm_extra"] for job in trunks} == {"--signal=TERM@300"}


def test_a_grown_checkpoint_gets_memory_by_its_size(jobs):
    small, large = (
        max(
            job["resources"]["mem_mb"]
            for job in jobs
            if job["rule"] == "grow_checkpoint" and f"/{model}/" in job["wildcards"]["run"]
        )
        for model in ("15M", "1B")
    )
    # 1B stacked twice: 60 layers of 36 M and 2 x 48 M for embedding and head make 9 GB; the job has three copies in memory.
    assert large == pytest.approx(
        2000 + 3 * 4 * (60 * (16 * 1504**2 + 2 * 1504) + 2 * 32_000 * 1504) / 1e6, rel=0.01
    )
    assert small < 3000
