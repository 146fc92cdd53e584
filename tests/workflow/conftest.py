"""Fixtures of the workflow tests."""

from __future__ import annotations

import pytest
from working_copy import Workflow, copy_workflow


@pytest.fixture(scope="session")
def pristine(tmp_path_factory) -> Workflow:
    """A copy that no test changes."""
    return copy_workflow(tmp_path_factory.mktemp("pristine") / "repository")
