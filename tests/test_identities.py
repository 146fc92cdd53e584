"""Identities of jobs are recorded: a finished study is not trained again because the library was upgraded.

The archived mini study holds every kind of method. If a test fails, a job's spec changed, and Snakemake would run that job
and all jobs below it again. Change a spec only with its stage's revision, and say so in CHANGELOG.md.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from twostage.corpora import dataspecs
from twostage.design import specs
from twostage.design.design import Design
from twostage.planning import jobs
from twostage.study import load_study

ROOT = Path(__file__).parents[1]
#: Stage -> SHA-256 over the canonical specs of all its jobs in `config/mini.yaml`, a line each, recorded at version 0.1.0.
RECORDED = {
    "tokenizer": "cebf08bfd9f815bf2fd1aa760198729ca9b9af76d17df27a7bf30995814aed4f",
    "tokenize": "d8560b7658c792bdded69837b055e2ed54708be6123b7bb4cc9fadf261ea091f",
    "trunk segment": "28ea1b44f438bc95d93d8b34e364694690144ced764931b85b5c531ae02ad8ea",
    "decay branch": "b25b5fadfbe6f649d02263a9301c84eb5b9611166c1abf8f547a3c2bdda49fb3",
    "growth": "f47f045f17684e5a04926a58e75744afe9126e435ffc1ba5866d4b3f29720e47",
    "evaluation": "df5bb9fea40cca91bce5b9e28c6bdd9f253735e620ea5feffee3f192837faf37",
}


def canonical_specs(design: Design) -> dict[str, list[str]]:
    """Stage -> canonical spec of each of its jobs, in the order of the design."""
    study, runs = design.study, list(design.runs())
    return {
        "tokenizer": [dataspecs.tokenizer_spec(study).canonical()],
        "tokenize": [dataspecs.TokenizeSpec().canonical()],
        "trunk segment": [
            specs.segment_spec(design, segment).canonical()
            for run in runs
            for segment in design.segments(run)
        ],
        "decay branch": [
            specs.branch_spec(design, branch).canonical() for run in runs for branch in design.branches(run)
        ],
        "growth": [
            specs.grow_spec(design, run).canonical() for run in runs if run.stage == 2 and design.grows(run)
        ],
        "evaluation": [
            specs.evaluate_spec(design, cell.branch, cell.corpus).canonical()
            for cell in jobs.measured_cells(design)
        ],
    }


@pytest.fixture(scope="module")
def found() -> dict[str, list[str]]:
    return canonical_specs(Design(load_study(f"{ROOT / 'config/mini.yaml'}:full")))


@pytest.mark.parametrize("stage", RECORDED)
def test_specs_are_those_of_version_0_1(stage, found):
    assert len(found[stage]) > 0
    assert hashlib.sha256("\n".join(found[stage]).encode()).hexdigest() == RECORDED[stage]
