"""Local corpora: what is read, dropped, split and counted, and how unreadable input is reported."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zstandard

from twostage.corpora.dataspecs import CorpusSpec
from twostage.corpora.neardup import NearDuplicates, shingles
from twostage.corpora.readers import expand_paths, json_lines, read_files
from twostage.corpus import normalise, prepare_corpus, read_documents, split_of
from twostage.errors import UserError
from twostage.storage import read_manifest, verify_payload
from twostage.study import FilesCorpus

SCRIPTS = Path(__file__).parents[1] / "workflow/scripts"
WORDS = [f"word{number}" for number in range(5000)]


def _corpus(*paths: Path | str, **keys: Any) -> FilesCorpus:
    return FilesCorpus(source="files", paths=tuple(map(str, paths)), **{"valid_fraction": 0.2, **keys})


def _text(seed: int, n_words: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=n_words))


def _write_texts(folder: Path, texts: list[str]) -> Path:
    folder.mkdir(parents=True)
    for number, text in enumerate(texts):
        (folder / f"{number:04d}.txt").write_text(text, encoding="utf-8")
    return folder


def _rows(corpus: FilesCorpus) -> list[str]:
    return [document.text for document in read_files(corpus)]


# Reading --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_all_record_formats_give_the_same_documents(tmp_path: Path, suffix: str) -> None:
    rows = [
        {"text": f"ünï {number}\n  two", "book": f"b{number // 3}", "other": number} for number in range(3000)
    ]
    path = tmp_path / f"data{suffix}"
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif suffix.endswith(".gz"):
        path.write_bytes(gzip.compress(data))
    elif suffix.endswith(".zst"):  # two frames, as parallel packers write them
        half = len(data) // 2
        path.write_bytes(zstandard.compress(data[:half]) + zstandard.compress(data[half:]))
    else:
        path.write_bytes(data)
    documents = list(read_files(_corpus(path, group_key="book")))
    assert [document.text for document in documents] == [row["text"] for row in rows]
    assert [document.group for document in documents] == [row["book"] for row in rows]


def test_a_long_window_zst_is_read(tmp_path: Path) -> None:
    line = json.dumps({"text": _text(0, 2000)}).encode() + b"\n"
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=28, enable_ldm=True)
    (tmp_path / "a.jsonl.zst").write_bytes(
        zstandard.ZstdCompressor(compression_params=parameters).compress(line * 50)
    )
    assert len(_rows(_corpus(tmp_path / "a.jsonl.zst"))) == 50


def test_directories_are_read_sorted_by_suffix_without_hidden_folders_links_and_other_encodings(
    tmp_path: Path,
) -> None:
    for name, data in {
        "b/x.py": b"two", "a.py": b"one", "a.md": b"no", ".git/h.py": b"no", "latin.py": b"\xe9", "b/y.py": b"three",
    }.items():  # fmt: skip
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(data)
    (tmp_path / "tree/link.py").symlink_to(tmp_path / "tree/a.py")
    documents = list(read_files(_corpus(tmp_path / "tree")))
    assert [(document.text, document.group) for document in documents] == [
        ("one", "a.py"), ("two", "b/x.py"), ("three", "b/y.py"),
    ]  # fmt: skip


def test_globs_are_sorted_and_repeated_files_read_once(tmp_path: Path) -> None:
    folder = _write_texts(tmp_path / "in", ["a", "b", "c"])
    assert _rows(_corpus(folder / "0002.txt", folder / "*.txt")) == ["c", "a", "b"]
    assert len(expand_paths((f"{tmp_path}/**/*.txt",))) == 3


def test_a_file_whose_name_looks_like_a_glob_is_read(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_text("bracket")
    assert _rows(_corpus(tmp_path / "a[1].txt")) == ["bracket"]


# Unreadable input -----------------------------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.txt' does not exist"):
        _rows(_corpus(tmp_path / "nothing.txt"))


def test_a_glob_without_matches_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\*\.txt' matches no file"):
        _rows(_corpus(tmp_path / "*.txt"))


def test_a_directory_without_matching_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file in this directory ends in \.py"):
        _rows(_corpus(tmp_path))


def test_an_unsupported_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(UserError, match=r"a\.pdf: unsupported file type; use \.txt"):
        _rows(_corpus(tmp_path / "a.pdf"))


def test_text_that_is_not_utf8_is_named_with_its_position(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc\xff")
    with pytest.raises(UserError, match=r"a\.txt: not UTF-8 at byte 3"):
        _rows(_corpus(tmp_path / "a.txt"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"text": "b"', "not valid JSON"),
        ('["b"]', "a list, not a JSON object"),
        ('{"text": 7}', "holds int, not text"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n\n' + line + "\n")
    with pytest.raises(UserError, match=words) as caught:
        _rows(_corpus(tmp_path / "a.jsonl"))
    assert f"{tmp_path}/a.jsonl, line 3" in str(caught.value)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("key", ["text_key", "group_key"])
def test_a_missing_key_is_reported_with_the_keys_there_are(tmp_path: Path, suffix: str, key: str) -> None:
    path = tmp_path / f"a.{suffix}"
    frame = pd.DataFrame({"text": ["a"], "url": ["u"]})
    frame.to_parquet(path) if suffix == "parquet" else frame.to_json(path, orient="records", lines=True)
    with pytest.raises(
        UserError, match=rf"no key 'content'; the keys are \['text', 'url'\]: set {key} to one of them"
    ):
        _rows(_corpus(path, **{key: "content"}))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["truncated", "garbage", "flipped"])
def test_damaged_packed_files_are_named(tmp_path: Path, suffix: str, damage: str) -> None:
    lines = "".join(json.dumps({"text": _text(number)}) + "\n" for number in range(2000)).encode()
    packed = (
        gzip.compress(lines)
        if suffix == ".gz"
        else zstandard.ZstdCompressor(write_checksum=True).compress(lines)
    )
    middle = len(packed) // 2
    data = {
        "truncated": packed[:middle],
        "garbage": b"not packed at all",
        "flipped": packed[:middle] + bytes([packed[middle] ^ 0xFF]) + packed[middle + 1 :],
    }[damage]
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"truncated|damaged|not valid JSON") as caught:
        list(json_lines(path))
    assert str(path) in str(caught.value)


def test_zst_that_lacks_only_its_last_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(zstandard.compress(b'{"text": "a"}\n')[:-1])
    with pytest.raises(UserError, match="truncated"):
        list(json_lines(path))


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"text": ["a"] * 100}).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"a\.parquet: not a readable parquet file"):
        _rows(_corpus(path))


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
    texts = [_text(seed) for seed in range(200)]
    folder = _write_texts(tmp_path / "in", [*texts, texts[0], texts[1] + "\n", " \n\t"])
    manifest = prepare_corpus("books", _corpus(folder / "*.txt"), tmp_path / "out")
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
        folder = _write_texts(tmp_path / place / "in", [_text(seed) for seed in range(60)])
        prepare_corpus("books", _corpus(folder / "*.txt"), tmp_path / place / "out")
        results.append({path.name: path.read_bytes() for path in (tmp_path / place / "out").glob("*.zst")})
    assert len(results[0]) == 2
    assert results[0] == results[1]


def test_documents_of_one_group_are_never_on_both_sides(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(
            json.dumps({"text": f"book{n // 10} {_text(n)}", "book": f"{n // 10}"}) + "\n" for n in range(400)
        )
    )
    prepare_corpus("books", _corpus(path, group_key="book"), tmp_path / "out")
    sides = [
        {text.split()[0] for text in read_documents(tmp_path / "out/manifest.json", split)}
        for split in ("train", "valid")
    ]
    assert len(sides[0]) + len(sides[1]) == 40
    assert not sides[0] & sides[1]


def test_max_bytes_stops_after_the_document_that_reaches_it(tmp_path: Path) -> None:
    folder = _write_texts(tmp_path / "in", [f"{number:03d}" + "x" * 97 for number in range(100)])
    manifest = prepare_corpus("books", _corpus(folder / "*.txt", max_bytes=4950), tmp_path / "out")
    assert manifest["counts"]["read"] == 50
    assert sum(manifest["splits"][split]["bytes"] for split in ("train", "valid")) == 5000


def test_near_duplicates_of_validation_documents_leave_the_training_split(tmp_path: Path) -> None:
    texts = [_text(seed, 100) for seed in range(100)]
    held_out = next(n for n in range(100) if split_of(f"{n:04d}.txt", 0.2) == "valid")
    words = texts[held_out].split()
    copies = {
        "edited": " ".join([*words[:50], "EDIT", *words[51:]]),
        "quoted": _text(1000, 300) + " " + texts[held_out] + " " + _text(1001, 300),
        "third": " ".join(words[:33]) + " " + _text(1002, 67),  # a third in common: stays
    }
    names = iter(n for n in range(100, 1000) if split_of(f"{n:04d}.txt", 0.2) == "train")
    folder = _write_texts(tmp_path / "in", texts)
    for text in copies.values():
        (folder / f"{next(names):04d}.txt").write_text(text)
    manifest = prepare_corpus("books", _corpus(folder / "*.txt"), tmp_path / "out")
    train = set(read_documents(tmp_path / "out/manifest.json", "train"))
    assert manifest["counts"]["near_duplicates_of_validation"] == 2
    assert {name for name, text in copies.items() if text in train} == {"third"}
    assert texts[held_out] in set(read_documents(tmp_path / "out/manifest.json", "valid"))


def _plain_overlap(one: str, two: str) -> float:
    def grams(text: str) -> set[tuple[str, ...]]:
        words = text.lower().split()
        return {tuple(words[start : start + 8]) for start in range(max(1, len(words) - 7))}

    return len(grams(one) & grams(two)) / min(len(grams(one)), len(grams(two)))


def test_near_duplicates_equal_a_plain_implementation_with_sets() -> None:
    draw = random.Random(4)
    valid = [_text(seed, draw.randint(1, 60)) for seed in range(40)]
    train = []
    for _ in range(300):
        words = draw.choice(valid).split()
        cut = draw.randint(0, len(words))
        train.append(
            " ".join([*words[:cut], *_text(draw.randint(100, 10**6), draw.randint(0, 40)).split()]).upper()
            or "x"
        )
    expected = [any(_plain_overlap(text, other) >= 0.5 for other in valid) for text in train]
    assert NearDuplicates(valid).find(train).tolist() == expected
    assert 50 < sum(expected) < 250  # both answers occur


def test_shingles_are_counted_like_sets() -> None:
    texts = ["a b c d e f g h i", "a b", "", "a a a a a a a a a a a a"]
    hashes, owners = shingles(texts)
    assert np.bincount(owners, minlength=4).tolist() == [2, 1, 0, 1]
    assert len(set(hashes.tolist())) == 4


def test_near_duplicates_of_nothing() -> None:
    assert NearDuplicates([]).find(["a b c"]).tolist() == [False]
    assert NearDuplicates(["a b c"]).find([]).tolist() == []


@pytest.mark.parametrize("texts", [[" ", "\n"], [""]])
def test_an_empty_corpus_is_refused_and_leaves_nothing(tmp_path: Path, texts: list[str]) -> None:
    folder = _write_texts(tmp_path / "in", texts)
    with pytest.raises(UserError, match=r"corpora\.books: the corpus is empty"):
        prepare_corpus("books", _corpus(folder / "*.txt"), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("wanted", "words"), [("train", "no validation documents"), ("valid", "no training documents")]
)
def test_a_split_without_documents_is_refused(tmp_path: Path, wanted: str, words: str) -> None:
    name = next(f"{n}.txt" for n in range(100) if split_of(f"{n}.txt", 0.2) == wanted)
    (tmp_path / name).write_text("one book")
    with pytest.raises(UserError, match=rf"corpora\.books: {words}.*valid_fraction \(0\.2\)"):
        prepare_corpus("books", _corpus(tmp_path / name), tmp_path / "out")


def test_an_error_keeps_the_earlier_result(tmp_path: Path) -> None:
    folder = _write_texts(tmp_path / "in", [_text(seed) for seed in range(60)])
    corpus = _corpus(folder / "*.txt")
    prepare_corpus("books", corpus, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (folder / "9999.txt").write_bytes(b"\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        prepare_corpus("books", corpus, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


# The script -----------------------------------------------------------------------------------------------------------


def test_the_script_reports_a_mistake_in_one_line_without_traceback(tmp_path: Path) -> None:
    spec = CorpusSpec(name="books", corpus=_corpus(tmp_path / "gone.txt")).canonical()
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
    folder = _write_texts(tmp_path / "in", [_text(seed) for seed in range(60)])
    corpus = _corpus(folder / "*.txt")
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
