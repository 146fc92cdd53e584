"""Corpora: dropped documents, splits, counts, the written files, and refused input."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from local_texts import files_corpus, made_up_text, write_texts

from twostage.common.errors import UserError
from twostage.common.storage import read_manifest, verify_payload
from twostage.corpora.corpus import normalise, prepare_corpus, read_documents
from twostage.corpora.dataspecs import CorpusSpec
from twostage.corpora.splits import split_at, split_position
from twostage.study import FilesCorpus

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"


def split_of(group: str, valid_fraction: float) -> str:
    return split_at(split_position(group), valid_fraction)


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
    ("fraction", "words"), [(1e-6, "no validation documents"), (0.999999, "no training documents")]
)
@pytest.mark.parametrize("n_files", [2, 3, 12, 60])
def test_the_advice_for_an_empty_split_fills_both(
    tmp_path: Path, fraction: float, words: str, n_files: int
) -> None:
    folder = write_texts(tmp_path / "in", [made_up_text(seed) for seed in range(n_files)])
    with pytest.raises(UserError, match=rf"corpora\.books: {words}") as caught:
        prepare_corpus("books", files_corpus(folder, suffixes=(".txt",), valid_fraction=fraction), tmp_path)
    advised = re.search(r"set valid_fraction: ([\d.e-]+\d)", str(caught.value))
    assert advised is not None
    corpus = files_corpus(folder, suffixes=(".txt",), valid_fraction=float(advised[1]))
    manifest = prepare_corpus("books", corpus, tmp_path / "out")
    assert sum(split["documents"] for split in manifest["splits"].values()) == n_files


def test_the_advice_for_a_single_file_splits_it(tmp_path: Path) -> None:
    book = tmp_path / "a book.txt"
    book.write_text("\n".join(made_up_text(seed) for seed in range(500)))
    with pytest.raises(UserError, match="a single document, but") as caught:
        prepare_corpus("books", files_corpus(book), tmp_path / "out")
    advised = re.search(r"`(split .*)`, and set paths: (\[.*\])", str(caught.value))
    assert advised is not None
    subprocess.run(advised[1], shell=True, check=True, cwd=tmp_path)
    paths = [tmp_path / pattern for pattern in yaml.safe_load(advised[2])]
    manifest = prepare_corpus("books", files_corpus(*paths), tmp_path / "out")
    assert sum(split["documents"] for split in manifest["splits"].values()) == 100


def test_copies_of_one_document_are_named_as_the_reason(tmp_path: Path) -> None:
    folder = write_texts(tmp_path / "in", [made_up_text(0)] * 100)
    with pytest.raises(
        UserError, match=r"a single document \(99 others are copies of it\).*add documents that differ"
    ):
        prepare_corpus("books", files_corpus(folder / "*.txt"), tmp_path / "out")


def test_a_group_key_with_one_value_is_named_as_the_reason(tmp_path: Path) -> None:
    rows = [{"text": made_up_text(seed), "book": "same"} for seed in range(50)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(
        UserError, match=r"all 50 documents are of one source; group_key: book has the same value"
    ):
        prepare_corpus("books", files_corpus(tmp_path / "a.jsonl", group_key="book"), tmp_path / "out")


def test_a_limit_that_keeps_one_document_is_named_as_the_reason(tmp_path: Path) -> None:
    folder = write_texts(tmp_path / "in", [made_up_text(seed) for seed in range(50)])
    with pytest.raises(UserError, match=r"raise max_bytes \(10\)"):
        prepare_corpus("books", files_corpus(folder / "*.txt", max_bytes=10), tmp_path / "out")


# Text that can't be used ----------------------------------------------------------------------------------------------


def write_latin1(folder: Path, n_bad: int, n_all: int) -> FilesCorpus:
    """Files in UTF-8 of which some are in Latin-1."""
    write_texts(folder, [f"naïve {made_up_text(seed)}" for seed in range(n_all)])
    for number in range(n_bad):
        file = folder / f"{number:04d}.txt"
        file.write_bytes(file.read_text(encoding="utf-8").encode("latin-1"))
    return files_corpus(folder, suffixes=(".txt",))


def test_one_file_in_a_hundred_may_be_in_another_encoding_and_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = prepare_corpus("books", write_latin1(tmp_path / "in", 1, 100), tmp_path / "out")
    assert (manifest["counts"]["read"], manifest["counts"]["not_text"]) == (99, 1)
    assert f"left out: {tmp_path}/in/0000.txt: not utf-8" in caplog.text
    assert "corpora.books: 1 texts left out" in caplog.text


def test_more_files_in_another_encoding_are_refused_unless_the_study_skips_them(tmp_path: Path) -> None:
    corpus = write_latin1(tmp_path / "in", 30, 60)
    with pytest.raises(
        UserError, match=r"more than 1% of 60 text files can't be read.*0000\.txt: not utf-8 at byte 2"
    ):
        prepare_corpus("books", corpus, tmp_path / "out")
    skipping = corpus.model_copy(update={"on_bad_text": "skip"})
    manifest = prepare_corpus("books", skipping, tmp_path / "out")
    assert (manifest["counts"]["read"], manifest["counts"]["not_text"]) == (30, 30)


def test_files_behind_max_bytes_do_not_excuse_those_before(tmp_path: Path) -> None:
    corpus = write_latin1(tmp_path / "in", 1, 200).model_copy(update={"max_bytes": 2000})
    with pytest.raises(UserError, match="more than 1%"):
        prepare_corpus("books", corpus, tmp_path / "out")


def test_a_corpus_in_its_own_encoding_is_read(tmp_path: Path) -> None:
    corpus = write_latin1(tmp_path / "in", 60, 60).model_copy(update={"encoding": "iso8859-1"})
    prepare_corpus("books", corpus, tmp_path / "out")
    assert all(
        text.startswith("naïve ")
        for split in ("train", "valid")
        for text in read_documents(tmp_path / "out/manifest.json", split)
    )


def test_null_texts_are_empty_documents(tmp_path: Path) -> None:
    rows = [{"text": made_up_text(seed) if seed % 5 else None} for seed in range(50)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pd.DataFrame(rows).to_parquet(tmp_path / "b.parquet")
    for name in ("a.jsonl", "b.parquet"):
        counts = prepare_corpus("books", files_corpus(tmp_path / name), tmp_path / "out")["counts"]
        assert (counts["read"], counts["empty"]) == (50, 10)


def test_manifests_and_specs_of_corpora_without_the_newer_keys_are_those_of_version_0_1(
    tmp_path: Path,
) -> None:
    folder = write_texts(tmp_path / "in", [made_up_text(seed) for seed in range(60)])
    corpus = files_corpus(folder / "*.txt").model_copy(update={"paths": ("in/*.txt",)})
    assert CorpusSpec(name="books", corpus=corpus).canonical() == (
        '{"corpus":{"group_key":null,"max_bytes":null,"paths":["in/*.txt"],"source":"files","suffixes":[".py"],'
        '"text_key":"text","valid_fraction":0.2},"name":"books","revision":1,"versions":{}}'
    )
    manifest = prepare_corpus("books", files_corpus(folder / "*.txt"), tmp_path / "out")
    assert sorted(manifest["counts"]) == [
        "empty",
        "exact_duplicates",
        "near_duplicates_of_validation",
        "read",
    ]
    assert "encoding" not in manifest["definition"]


def test_an_error_keeps_the_earlier_result(tmp_path: Path) -> None:
    folder = write_texts(tmp_path / "in", [made_up_text(seed) for seed in range(60)])
    corpus = files_corpus(folder / "*.txt")
    prepare_corpus("books", corpus, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (folder / "9999.txt").write_bytes(b"\xff")
    with pytest.raises(UserError, match="not utf-8"):
        prepare_corpus("books", corpus, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_another_encoding_is_a_change_in_both_directions(tmp_path: Path) -> None:
    corpus = write_latin1(tmp_path / "in", 60, 60)
    latin = corpus.model_copy(update={"encoding": "iso8859-1"})
    manifest = prepare_corpus("books", latin, tmp_path / "out")
    assert CorpusSpec(name="books", corpus=latin).manifest_changes(manifest) == {}
    changes = CorpusSpec(name="books", corpus=corpus).manifest_changes(manifest)
    assert changes == {"encoding": ("iso8859-1", "utf-8")}
    del manifest["definition"]["encoding"]
    changes = CorpusSpec(name="books", corpus=latin).manifest_changes(manifest)
    assert changes == {"encoding": ("utf-8", "iso8859-1")}


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
