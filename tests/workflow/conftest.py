"""Fixtures of the workflow tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from working_copy import Workflow, copy_workflow


@pytest.fixture(scope="session")
def pristine(tmp_path_factory) -> Workflow:
    """A copy that no test changes."""
    return copy_workflow(tmp_path_factory.mktemp("pristine") / "repository")


@pytest.fixture(scope="session")
def job_counts(pristine: Workflow) -> Callable[..., dict[str, int]]:
    """`planned` of the unchanged copy; each dry-run is done once."""
    return cache(pristine.planned)
