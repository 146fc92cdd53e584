"""Training flags and walltimes of a profile: they reach the command and never cause retraining."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from made_up_speeds import size, write_speeds
from working_copy import Workflow, copy_workflow, write_small_study

from twostage.design.flops import flops_per_token
from twostage.study import load_study

pytestmark = pytest.mark.workflow

STUDY = ("--config", "study=config/small.yaml")
SEGMENT = "results/small/stage1/generic/8k/seed-0/trunk/10240/metrics.json"
BRANCH = "results/small/stage1/generic/8k/seed-0/decay/D1-11264/metrics.json"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Workflow:
    """The small study with its first trunk segment trained on the CPU, without a site."""
    workflow = copy_workflow(tmp_path_factory.mktemp("flags") / "repository")
    write_small_study(workflow)
    workflow.snakemake("--cores", "2", *STUDY, "--", SEGMENT)
    return workflow


#: The GPU of profiles/slurm/site.yaml.
GPU = {"device": "made-up GPU", "peak_tflops": 989}


def slurm(workflow: Workflow, **site) -> tuple[str, ...]:
    """Return the arguments of a Slurm run with `site` as its site file."""
    (workflow.root / "site.yaml").write_text(yaml.safe_dump({"site": site}))
    return ("--profile", "profiles/slurm", "--configfile", "site.yaml", *STUDY)


def commands(workflow: Workflow, *words: str) -> list[str]:
    """Commands of all training jobs that a dry-run plans."""
    return re.findall(r"^.*train\.py.*$", workflow.snakemake("-n", "-p", *words).stdout, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("site", "flags"),
    [
        ({}, {"--deterministic"}),
        ({"deterministic": False, "compile": True}, {"--compile"}),
        ({"compile": True}, {"--deterministic", "--compile"}),
        ({"device": "cpu"}, set()),
    ],
)
def test_a_sites_choice_reaches_every_training_command(site, flags, trained):
    found = commands(trained, *slurm(trained, **site), "-F", "--", BRANCH)
    assert len(found) == 2  # segment and branch
    for command in found:
        assert {"--deterministic", "--compile"} & set(command.split()) == flags
        assert f"--device {site.get('device', 'cuda')}" in command


@pytest.mark.parametrize(("profile", "flags"), [("gpu", {"--deterministic"}), ("local", set())])
def test_the_choice_of_a_profile_without_a_site_reaches_the_command_too(profile, flags, trained):
    found = commands(trained, "--profile", f"profiles/{profile}", *STUDY, "-F", "--", BRANCH)
    assert [{"--deterministic", "--compile"} & set(command.split()) for command in found] == [flags] * 2


def test_no_choice_trains_anything_again(trained):
    assert trained.planned(*STUDY, "--", SEGMENT) == {}
    assert trained.planned(*slurm(trained), "--", SEGMENT) == {}
    assert trained.planned(*slurm(trained, deterministic=False, compile=True), "--", SEGMENT) == {}
    assert trained.planned("--profile", "profiles/gpu", *STUDY, "--", SEGMENT) == {}
    # The same dry-runs do plan missing outputs.
    assert trained.planned(*slurm(trained), "--", BRANCH) == {"train_decay_branch": 1}


def test_walltime_follows_the_benchmark_where_it_covers_the_model(tmp_path, monkeypatch):
    workflow = copy_workflow(tmp_path / "repository")
    write_small_study(workflow)
    workflow.edit_study("config/small.yaml", lambda study: study.update(recipe={"precision": "bf16"}))
    model = load_study(str(workflow.root / "config/small.yaml")).architecture("8k")
    plugin = "snakemake_logger_plugin_jobs"
    shutil.copytree(Path(__file__).parent / plugin, workflow.root / "src" / plugin)
    monkeypatch.setenv("JOBS_FILE", str(tmp_path / "jobs.jsonl"))

    def plan() -> tuple[str, int]:
        """Return the output of a dry-run, and the minutes that the training job requests."""
        site = slurm(workflow, throughput="made-up.json")
        said = workflow.snakemake("-n", "--logger", "jobs", *site, "--", SEGMENT).stdout
        jobs = [json.loads(line) for line in (tmp_path / "jobs.jsonl").read_text().splitlines()]
        minutes = [job["resources"]["runtime"] for job in jobs if job["rule"] == "train_trunk_segment"]
        return said, minutes[-1]

    # Two hours for the segment's 20 steps of 8 x 64 tokens: 15 + 5 minutes, and 1.5 x 120.
    speed = flops_per_token(model) * 20 * 8 * 64 / 7200
    write_speeds(workflow.root / "made-up.json", [size(model.n_params, speed)], machine=GPU)
    said, minutes = plan()
    assert "site.throughput" not in said
    assert minutes == 200
    write_speeds(workflow.root / "made-up.json", [size(2 * model.n_params, speed)], machine=GPU)
    said, minutes = plan()
    assert said.count(f"site.throughput: no speed for a model of {model.n_params:,} parameters") == 1
    assert "its walltime is estimated from assumed_mfu: 0.3" in said
    assert minutes == 21  # a short training, rounded up


def test_an_invalid_throughput_file_gives_one_message(trained):
    done = trained.snakemake("-n", *slurm(trained, throughput="none.json"), "--", SEGMENT, check=False)
    assert done.returncode
    assert "none.json: not a readable benchmark file" in done.stdout
    assert "Traceback" not in done.stdout
