"""Paths at which results cannot be written."""

from __future__ import annotations

import os

import pytest

from twostage.cluster.folders import check_folder
from twostage.common.errors import UserError


@pytest.mark.parametrize("name", [".", "new", "new/below"])
def test_a_folder_that_is_there_or_can_be_made_is_fine(name, tmp_path):
    check_folder(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_link_to_a_folder_is_fine(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "disk")
    check_folder(tmp_path / "results/small")


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "results").write_text("")
    for path in ("results", "results/small"):
        with pytest.raises(UserError, match=r"/results: is a file, but a folder is needed"):
            check_folder(tmp_path / path)


def test_a_dangling_link_is_named_with_its_target(tmp_path):
    (tmp_path / "results").symlink_to("/nowhere/at/all")
    for path in ("results", "results/small"):
        with pytest.raises(UserError, match=r"/results: a link to /nowhere/at/all, which does not exist"):
            check_folder(tmp_path / path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; tests/slurm mounts a read-only disk")
def test_a_place_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(UserError, match="not writable"):
        check_folder(tmp_path / "results")
