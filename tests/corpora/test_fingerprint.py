"""Whether the text of a prepared corpus has changed, from the names and sizes of its files."""

from __future__ import annotations

import shutil

import pytest

from twostage.corpora.corpus import prepare_corpus
from twostage.corpora.dataspecs import CorpusSpec
from twostage.study import FilesCorpus


def corpus(paths: str, **keys) -> FilesCorpus:
    return FilesCorpus(source="files", paths=(paths,), suffixes=(".txt",), valid_fraction=0.3, **keys)


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """The manifest of twenty prepared files in the folder `texts`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts").mkdir()
    for number in range(20):
        (tmp_path / f"texts/{number}.txt").write_text(f"document {number} about rivers, stones and clouds")
    return prepare_corpus("words", corpus("texts"), tmp_path / "prepared")


def changes(manifest, now: FilesCorpus) -> dict:
    return CorpusSpec(name="words", corpus=now).manifest_changes(manifest)


@pytest.mark.parametrize("paths", ["texts", "./texts", "texts/../texts/"])
def test_another_spelling_of_a_path_is_no_change(manifest, paths):
    assert changes(manifest, corpus(paths)) == {}


def test_a_moved_folder_is_no_change(manifest, tmp_path):
    shutil.move(tmp_path / "texts", tmp_path / "moved")
    assert changes(manifest, corpus("moved")) == {}
    assert changes(manifest, corpus("texts")) == {}  # removed after it was prepared


@pytest.mark.parametrize("paths", ["texts", "./texts"])
def test_an_added_file_is_the_change_and_not_the_path(manifest, tmp_path, paths):
    (tmp_path / "texts/new.txt").write_text("new")
    found = changes(manifest, corpus(paths))
    assert found.keys() == {"files"}
    assert found["files"][0].startswith("20 files of ")
    assert found["files"][1].startswith("21 files of ")


def test_a_limit_above_the_text_is_no_change(manifest):
    assert changes(manifest, corpus("texts", max_bytes=1_000_000)) == {}
    assert changes(manifest, corpus("texts", max_bytes=100)) == {"max_bytes": (None, 100)}


def test_a_version_0_1_manifest_is_compared_by_the_files_that_exist(manifest):
    old = {key: value for key, value in manifest.items() if key not in ("sources", "text_bytes", "revision")}
    assert changes(old, corpus("./texts")) == {}
    assert changes(old, corpus("elsewhere")).keys() == {"paths"}
