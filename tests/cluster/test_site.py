"""The site file: defaults, refusals, and that the committed file sets only defaults."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from twostage.cluster.site import Site, parse_site
from twostage.common.errors import UserError

ROOT = Path(__file__).parents[2]


def test_no_section_is_no_site():
    assert parse_site(None) is None


def test_the_committed_file_lists_every_key_with_its_default():
    fields = yaml.safe_load((ROOT / "profiles/slurm/site.yaml").read_text())
    assert fields.keys() == {"site"}
    assert parse_site(fields["site"]) == Site()
    assert fields["site"].keys() == Site.model_fields.keys()


def test_jobs_without_a_gpu_may_have_a_limit_of_their_own():
    assert parse_site({"max_walltime_min": 600}).cpu_walltime_min == 600
    assert parse_site({"max_walltime_min": 600, "cpu_max_walltime_min": 4320}).cpu_walltime_min == 4320


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        ({}, "--deterministic"),
        ({"compile": True}, "--deterministic --compile"),
        ({"deterministic": False}, ""),
        ({"device": "cpu"}, ""),
    ],
)
def test_kernels_are_chosen_for_gpus_alone(fields, flags):
    assert parse_site(fields).train_flags == flags


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"partiton": "gpu"}, ["site.partiton: unknown key; known keys are partition, cpu_partition"]),
        ({"gpus_per_node": 0}, ["site.gpus_per_node:", "greater than or equal to 1 (got 0)"]),
        ({"assumed_mfu": 40}, ["site.assumed_mfu:", "(got 40)"]),
        ({"grace_s": 600, "max_walltime_min": 11}, ["grace_s: 600", "max_walltime_min: 11; lower"]),
        ({"gpus_per_node": 1, "max_gpus_per_job": 2}, ["max_gpus_per_job", "set it to 1"]),
        ({"device": "cpu", "compile": True}, ["compile: needs a GPU"]),
        ({"device": "cpu", "throughput": "gpu.json"}, ["throughput: needs a GPU"]),
        (["gpu"], ["site: must be a mapping of keys"]),
    ],
)
def test_a_mistake_names_key_value_and_fix(fields, words):
    with pytest.raises(UserError) as error:
        parse_site(fields)
    for word in words:
        assert word in str(error.value)
