"""Fixtures of the Slurm tests: one cluster per module, and copies of the workflow that run on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import packages
import pytest
from cluster import Cluster, remove_dead_cluster
from slurm_study import LONG_TRUNK, NAME, Study, prepare_study


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="session")
def allowed() -> None:
    """Skip, with the reason, if a Slurm cluster must not or cannot be started here."""
    remove_dead_cluster()
    try:
        packages.install()
    except RuntimeError as error:
        pytest.skip(f"no Slurm: {error}")
    if why := packages.refusal():
        pytest.skip(f"no Slurm: {why}")


@pytest.fixture(scope="module")
def cluster(allowed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Slurm cluster with three nodes of two GPUs."""
    with Cluster(tmp_path_factory.mktemp("slurm") / "cluster") as running:
        yield running


@pytest.fixture(scope="session")
def prepared(allowed, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The workflow with a small study and its tokens; tests train in copies."""
    return prepare_study(tmp_path_factory.mktemp("prepared") / "repository")


@pytest.fixture
def study(prepared: Study, cluster: Cluster, tmp_path) -> Iterator[Study]:
    """A copy of `prepared` on the running cluster; afterwards all jobs are cancelled."""
    copy = prepared.copy(tmp_path / "repository", cluster)
    yield copy
    copy.stop()
    cluster.cancel_all()


@pytest.fixture(scope="session")
def undisturbed(prepared: Study, tmp_path_factory) -> Study:
    """A long trunk segment and its branch, trained on this machine without Slurm and without a fault."""
    copy = prepared.copy(tmp_path_factory.mktemp("undisturbed") / "repository", None)
    copy.lengthen()
    copy.workflow.snakemake("--cores", "1", "--config", f"study=config/{NAME}.yaml", "--", LONG_TRUNK)
    return copy


@pytest.fixture
def long_study(study: Study) -> Study:
    """`study` with one trunk segment that takes some seconds and saves its state about every second."""
    study.lengthen()
    study.site(save_every_min=0.02)
    return study
