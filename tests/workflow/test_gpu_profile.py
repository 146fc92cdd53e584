"""profiles/gpu: how many jobs share a GPU, and that Snakemake's count equals what a job uses."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import yaml
from working_copy import ROOT

from twostage.design.design import Design
from twostage.design.paths import Branch, Segment, Stage1Run
from twostage.study import load_study

pytestmark = pytest.mark.workflow

PROFILE = yaml.safe_load((ROOT / "profiles/gpu/config.yaml").read_text())


@pytest.mark.parametrize(("model", "units"), [("15M", 1), ("44M", 2), ("0.1B", 4), ("1B", 4)])
def test_small_models_share_a_gpu(model, units, pristine):
    study = load_study(str(pristine.root / "config/paper.yaml"))
    design = Design(study)
    run = Stage1Run(study.stage1.corpus, model, 0)
    first = study.grid_of(model).d1.points[0]
    tokens = first * design.tokens_per_step(model)
    target = f"results/paper/{Segment(run, tokens).folder}/metrics.json"
    text = pristine.snakemake("-n", "-p", "--profile", "profiles/gpu", "--", target).stdout
    (command,) = re.findall(r"^.*train\.py.*$", text, flags=re.MULTILINE)
    assert f"python -m twostage.cluster.gpu_slots --capacity 4 --units {units} -- python" in command
    assert "--device cuda" in command
    # Snakemake's count, from the expression that it evaluates.
    counted = PROFILE["set-resources"]["train_trunk_segment"]["gpu_units"]
    assert eval(counted, {"wildcards": SimpleNamespace(run=run.path)}) == units


def test_no_gpu_is_requested_without_the_profile(pristine):
    study = load_study(str(pristine.root / "config/tiny.yaml"))
    design = Design(study)
    run = Stage1Run(study.stage1.corpus, "33k", 0)
    steps = study.grid.d1.points[0]
    branch = Branch(run, round(1.1 * steps) * design.tokens_per_step("33k"))
    text = pristine.snakemake("-n", "-p", "--", f"results/tiny/{branch.folder}/metrics.json").stdout
    commands = re.findall(r"^.*train\.py.*$", text, flags=re.MULTILINE)
    assert len(commands) == 2
    assert all("gpu_slots" not in command and "--device cpu" in command for command in commands)


def test_units_are_those_of_whole_gpus():
    (total,) = PROFILE["resources"]
    assert int(total.removeprefix("gpu_units=")) % 4 == 0
    # Every rule that runs on a GPU is started by the allocator, with the same share.
    for rule in PROFILE["set-resources"].values():
        assert rule["device"] == "cuda"
        assert "--capacity 4" in rule["launcher"]
