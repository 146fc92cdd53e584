"""Fixtures of the workflow tests."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from working_copy import Workflow, copy_workflow, write_small_study

from twostage.common.storage import write_atomic


@pytest.fixture(scope="session")
def pristine(tmp_path_factory) -> Workflow:
    """A copy that no test changes."""
    return copy_workflow(tmp_path_factory.mktemp("pristine") / "repository")


@pytest.fixture(scope="session")
def job_counts(pristine: Workflow) -> Callable[..., dict[str, int]]:
    """`planned` of the unchanged copy; each dry-run is done once."""
    return cache(pristine.planned)


#: Written when the training of the shared study ends: "trained" or "failed".
OUTCOME = "outcome"


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workflow:
    """The small study, trained once for all test processes; tests that change it use a copy."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "small"
    try:
        shared.mkdir()
    except FileExistsError:
        return _trained_elsewhere(shared)
    workflow = copy_workflow(shared / "repository")
    write_small_study(workflow)
    outcome = "failed"
    try:
        workflow.snakemake(
            "--cores", "2", "--config", "study=config/small.yaml", "--", "all_figures", "all_tables"
        )
        outcome = "trained"
    finally:
        write_atomic(shared / OUTCOME, outcome)
    return workflow


def _trained_elsewhere(shared: Path) -> Workflow:
    """Wait for the process that trains the study."""
    outcome = shared / OUTCOME
    while not outcome.exists():  # Workflow.snakemake has a time limit
        time.sleep(1)
    assert outcome.read_text() == "trained", "another test process could not train the small study"
    return Workflow(shared / "repository")
