"""Fixtures of the Slurm tests: one cluster per module, and copies of the workflow that run on it."""

from __future__ import annotations

from collections.abc import Iterator

import packages
import pytest
from cluster import Cluster, remove_dead_cluster
from slurm_study import Study, prepare_study


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "slurm" in item.path.parts:
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Slurm of our own with two nodes of two GPUs; skips, with the reason, where none may or can be started."""
    remove_dead_cluster()
    if packages.missing():
        try:
            packages.install()
        except RuntimeError as error:
            pytest.skip(f"no Slurm: {error}")
    if why := packages.refusal():
        pytest.skip(f"no Slurm: {why}")
    with Cluster(tmp_path_factory.mktemp("slurm") / "cluster") as running:
        yield running


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The workflow with a small study whose tokens are made; tests train on copies."""
    return prepare_study(tmp_path_factory.mktemp("prepared") / "repository")


@pytest.fixture
def study(prepared: Study, cluster: Cluster, tmp_path) -> Iterator[Study]:
    """A copy of `prepared` on the running cluster, which is empty again afterwards."""
    copy = prepared.copy(tmp_path / "repository", cluster)
    yield copy
    copy.stop()
    cluster.cancel_all()
