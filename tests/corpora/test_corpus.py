"""Corpora: dropped documents, splits, counts, the written files, and refused input."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from local_texts import files_corpus, made_up_text, write_texts

from twostage.common.errors import UserError
from twostage.common.storage import read_manifest, verify_payload
from twostage.corpora.corpus import normalise, prepare_corpus, read_documents, split_of
from twostage.corpora.dataspecs import CorpusSpec

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"


# Cleaning, splitting, counting ----------------------------------------------------------------------------------------


def test_normalise() -> None:
    assert normalise("\ufeff\n\r\n  a\r\nb\rc\x00 \n\n") == "  a\nb\nc"
    assert normalise("x\ud800y") == "x?y"


def test_the_split_is_by_group_near_the_asked_share_and_monotone_in_it() -> None:
    groups = [f"file-{number}" for number in range(20_000)]
    small = {group for group in groups if split_of(group, 0.02) == "valid"}
    large = {group for group in groups if split_of(group, 0.1) == "valid"}
    assert small < large
    assert abs(len(small) - 400) < 4 * np.sqrt(400)  # binomial, four standard deviations
    assert abs(len(large) - 2000) < 4 * np.sqrt(1800)


def test_preparing_counts_and_writes_what_it_says(tmp_path: Path) -> None:
    texts = [made_up_text(seed) for seed in range(200)]
    folder = write_texts(tmp_path / "in", [*texts, texts[0], texts[1] + "\n", " \n\t"])
    manifest = prepare_corpus("books", files_corpus(folder / "*.txt"), tmp_path / "out")
    assert (
        manifest
        == read_manifest(tmp_path / "out/manifest.json")
        == verify_payload(tmp_path / "out/manifest.json")
    )
    assert manifest["counts"] == {
        "read": 203, "empty": 1, "exact_duplicates": 2, "near_duplicates_of_validation": 0,
    }  # fmt: skip
    written = {
        split: list(read_documents(tmp_path / "out/manifest.json", split)) for split in ("train", "valid")
    }
    assert sorted(written["train"] + written["valid"]) == sorted(texts)
    for split, found in written.items():
        assert manifest["splits"][split]["documents"] == len(found)
        assert manifest["splits"][split]["bytes"] == sum(len(text.encode()) for text in found)
        hashes = sorted(hashlib.sha256(text.encode()).digest() for text in found)
        assert manifest["splits"][split]["documents_sha256"] == hashlib.sha256(b"".join(hashes)).hexdigest()
        expected = {text for number, text in enumerate(texts) if split_of(f"{number:04d}.txt", 0.2) == split}
        assert set(found) == expected
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "manifest.json",
        "train.jsonl.zst",
        "valid.jsonl.zst",
    ]


def test_preparing_twice_in_another_place_gives_the_same_bytes(tmp_path: Path) -> None:
    results = []
    for place in ("here", "there/deeper"):
        folder = write_texts(tmp_path / place / "in", [made_up_text(seed) for seed in range(60)])
        prepare_corpus("books", files_corpus(folder / "*.txt"), tmp_path / place / "out")
        results.append({path.name: path.read_bytes() for path in (tmp_path / place / "out").glob("*.zst")})
    assert len(results[0]) == 2
    assert results[0] == results[1]


def test_documents_of_one_group_are_never_on_both_sides(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(
            json.dumps({"text": f"book{n // 10} {made_up_text(n)}", "book": f"{n // 10}"}) + "\n"
            for n in range(400)
        )
    )
    prepare_corpus("books", files_corpus(path, group_key="book"), tmp_path / "out")
    sides = [
        {text.split()[0] for text in read_documents(tmp_path / "out/manifest.json", split)}
        for split in ("train", "valid")
    ]
    assert len(sides[0]) + len(sides[1]) == 40
    assert not sides[0] & sides[1]


def test_max_bytes_stops_after_the_document_that_reaches_it(tmp_path: Path) -> None:
    folder = write_texts(tmp_path / "in", [f"{number:03d}" + "x" * 97 for number in range(100)])
    manifest = prepare_corpus("books", files_corpus(folder / "*.txt", max_bytes=4950), tmp_path / "out")
    assert manifest["counts"]["read"] == 50
    assert sum(manifest["splits"][split]["bytes"] for split in ("train", "valid")) == 5000


def test_near_duplicates_of_validation_documents_leave_the_training_split(tmp_path: Path) -> None:
    texts = [made_up_text(seed, 100) for seed in range(100)]
    held_out = next(n for n in range(100) if split_of(f"{n:04d}.txt", 0.2) == "valid")
    words = texts[held_out].split()
    copies = {
        "edited": " ".join([*words[:50], "EDIT", *words[51:]]),
        "quoted": made_up_text(1000, 300) + " " + texts[held_out] + " " + made_up_text(1001, 300),
        "third": " ".join(words[:33])
        + " "
        + made_up_text(1002, 67),  # a third is shared: not a near-duplicate
    }
    names = iter(n for n in range(100, 1000) if split_of(f"{n:04d}.txt", 0.2) == "train")
    folder = write_texts(tmp_path / "in", texts)
    for text in copies.values():
        (folder / f"{next(names):04d}.txt").write_text(text)
    manifest = prepare_corpus("books", files_corpus(folder / "*.txt"), tmp_path / "out")
    train = set(read_documents(tmp_path / "out/manifest.json", "train"))
    assert manifest["counts"]["near_duplicates_of_validation"] == 2
    assert {name for name, text in copies.items() if text in train} == {"third"}
    assert texts[held_out] in set(read_documents(tmp_path / "out/manifest.json", "valid"))


@pytest.mark.parametrize("texts", [[" ", "\n"], [""]])
def test_an_empty_corpus_is_refused_and_leaves_nothing(tmp_path: Path, texts: list[str]) -> None:
    folder = write_texts(tmp_path / "in", texts)
    with pytest.raises(UserError, match=r"corpora\.books: the corpus is empty"):
        prepare_corpus("books", files_corpus(folder / "*.txt"), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("wanted", "words"), [("train", "no validation documents"), ("valid", "no training documents")]
)
def test_a_split_without_documents_is_refused(tmp_path: Path, wanted: str, words: str) -> None:
    name = next(f"{n}.txt" for n in range(100) if split_of(f"{n}.txt", 0.2) == wanted)
    (tmp_path / name).write_text("one book")
    with pytest.raises(UserError, match=rf"corpora\.books: {words}.*valid_fraction \(0\.2\)"):
        prepare_corpus("books", files_corpus(tmp_path / name), tmp_path / "out")


def test_an_error_keeps_the_earlier_result(tmp_path: Path) -> None:
    folder = write_texts(tmp_path / "in", [made_up_text(seed) for seed in range(60)])
    corpus = files_corpus(folder / "*.txt")
    prepare_corpus("books", corpus, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (folder / "9999.txt").write_bytes(b"\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        prepare_corpus("books", corpus, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


# The script -----------------------------------------------------------------------------------------------------------


def test_the_script_reports_a_mistake_in_one_line_without_traceback(tmp_path: Path) -> None:
    spec = CorpusSpec(name="books", corpus=files_corpus(tmp_path / "gone.txt")).canonical()
    command = [
        sys.executable,
        str(SCRIPTS / "prepare_corpus.py"),
        "--spec",
        spec,
        "--out",
        str(tmp_path / "out/manifest.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: paths: ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out/manifest.json").exists()


def test_the_script_writes_what_the_library_writes(tmp_path: Path) -> None:
    folder = write_texts(tmp_path / "in", [made_up_text(seed) for seed in range(60)])
    corpus = files_corpus(folder / "*.txt")
    spec = CorpusSpec(name="books", corpus=corpus).canonical()
    command = [
        sys.executable,
        str(SCRIPTS / "prepare_corpus.py"),
        "--spec",
        spec,
        "--out",
        str(tmp_path / "out/manifest.json"),
    ]
    subprocess.run(command, check=True)
    assert read_manifest(tmp_path / "out/manifest.json") == prepare_corpus(
        "books", corpus, tmp_path / "again"
    )
