"""Local files to documents: what is read, in which order, and how unreadable input is reported."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest
import zstandard
from local_texts import files_corpus, made_up_text, write_texts

from twostage.common.errors import UserError
from twostage.corpora.files import expand_paths
from twostage.corpora.readers import read_files
from twostage.corpora.records import json_lines
from twostage.study import FilesCorpus


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
    documents = list(read_files(files_corpus(path, group_key="book")))
    assert [document.text for document in documents] == [row["text"] for row in rows]
    assert [document.group for document in documents] == [row["book"] for row in rows]


def test_a_long_window_zst_is_read(tmp_path: Path) -> None:
    line = json.dumps({"text": made_up_text(0, 2000)}).encode() + b"\n"
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=28, enable_ldm=True)
    (tmp_path / "a.jsonl.zst").write_bytes(
        zstandard.ZstdCompressor(compression_params=parameters).compress(line * 50)
    )
    assert len(_rows(files_corpus(tmp_path / "a.jsonl.zst"))) == 50


def test_folders_are_read_sorted_by_suffix_without_hidden_folders_and_repeated_links(tmp_path: Path) -> None:
    for name, data in {
        "b/x.py": b"two", "a.py": b"one", "a.md": b"no", ".git/h.py": b"no", "b/y.py": b"three",
    }.items():  # fmt: skip
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(data)
    (tmp_path / "tree/link.py").symlink_to(tmp_path / "tree/a.py")
    documents = list(read_files(files_corpus(tmp_path / "tree")))
    assert [(document.text, document.group) for document in documents] == [
        ("one", "a.py"), ("two", "b/x.py"), ("three", "b/y.py"),
    ]  # fmt: skip


def test_globs_are_sorted_and_repeated_files_read_once(tmp_path: Path) -> None:
    folder = write_texts(tmp_path / "in", ["a", "b", "c"])
    assert _rows(files_corpus(folder / "0002.txt", folder / "*.txt")) == ["c", "a", "b"]
    assert len(expand_paths((f"{tmp_path}/**/*.txt",))) == 3


def test_a_file_whose_name_looks_like_a_glob_is_read(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_text("bracket")
    assert _rows(files_corpus(tmp_path / "a[1].txt")) == ["bracket"]


def test_names_that_start_with_a_tilde_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("~draft.txt").write_text("draft")
    assert _rows(files_corpus("~draft.txt")) == ["draft"]


def test_a_folder_of_records_is_read_as_records(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b/c.ndjson", "b/d.json", "e.txt"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(json.dumps({"text": name}) + "\n")
    corpus = files_corpus(tmp_path / "in", suffixes=(".jsonl", ".ndjson", ".json", ".txt"))
    assert _rows(corpus) == ["a.jsonl", "b/c.ndjson", "b/d.json", '{"text": "e.txt"}\n']


@pytest.mark.parametrize("suffixes", [(".py",), (".ndjson", ".json.gz", ".gz")])
def test_endings_of_records_in_suffixes_do_not_make_them_text(
    tmp_path: Path, suffixes: tuple[str, ...]
) -> None:
    (tmp_path / "a.ndjson").write_text('{"text": "a"}\n')
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(b'{"text": "b"}\n'))
    assert _rows(files_corpus(tmp_path / "a.ndjson", tmp_path / "b.json.gz", suffixes=suffixes)) == ["a", "b"]


def test_a_folder_of_links_is_read_and_each_real_file_once(tmp_path: Path) -> None:
    """As in the cache of Hugging Face: names are links to files elsewhere."""
    blobs = write_texts(tmp_path / "blobs", [f"text {number}" for number in range(60)])
    (tmp_path / "snap").mkdir()
    for blob in blobs.iterdir():
        (tmp_path / "snap" / f"name-{blob.name}").symlink_to(blob)
        (tmp_path / "snap" / f"other-{blob.name}").symlink_to(blob)
    documents = list(
        read_files(files_corpus(tmp_path / "snap", tmp_path / "blobs/*.txt", suffixes=(".txt",)))
    )
    assert [document.group for document in documents] == [f"name-{number:04d}.txt" for number in range(60)]


def test_a_link_without_a_target_is_missing_text(tmp_path: Path) -> None:
    """As in a datalad folder whose content was not fetched."""
    write_texts(tmp_path / "in", ["a", "b"])
    (tmp_path / "in/c.txt").symlink_to(tmp_path / "not fetched")
    with pytest.raises(UserError, match=r"c\.txt: a link without a target; fetch the file"):
        _rows(files_corpus(tmp_path / "in", suffixes=(".txt",)))
    assert _rows(files_corpus(tmp_path / "in", suffixes=(".txt",), on_bad_text="skip")) == ["a", "b"]


# Unreadable input -----------------------------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.txt' does not exist"):
        _rows(files_corpus(tmp_path / "nothing.txt"))


def test_a_glob_without_matches_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\*\.txt' matches no file"):
        _rows(files_corpus(tmp_path / "*.txt"))


def test_a_directory_without_matching_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file in this folder ends in \.py"):
        _rows(files_corpus(tmp_path))


def test_a_path_that_the_system_refuses_is_named() -> None:
    with pytest.raises(UserError, match=r"xxx: can't be read \(File name too long\)"):
        _rows(files_corpus("x" * 300))


@pytest.mark.parametrize("encoding", ["utf9", "base64", "rot13", "", "hex"])
def test_an_encoding_that_is_none_is_refused(encoding: str) -> None:
    with pytest.raises(ValueError, match="is not an encoding of text that Python knows; write"):
        files_corpus("a.txt", encoding=encoding)


def test_a_parquet_file_is_never_packed_text(tmp_path: Path) -> None:
    (tmp_path / "a.parquet.gz").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.parquet\.gz: unsupported file type"):
        _rows(files_corpus(tmp_path / "a.parquet.gz", suffixes=(".gz",)))


def test_an_unsupported_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(UserError, match=r"a\.pdf: unsupported file type; use \.txt"):
        _rows(files_corpus(tmp_path / "a.pdf"))


def test_text_that_is_not_utf8_is_named_with_its_position(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc\xff")
    with pytest.raises(UserError, match=r"a\.txt: not utf-8 at byte 3"):
        _rows(files_corpus(tmp_path / "a.txt"))


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
        _rows(files_corpus(tmp_path / "a.jsonl"))
    assert f"{tmp_path}/a.jsonl, line 3" in str(caught.value)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("key", ["text_key", "group_key"])
def test_a_missing_key_is_reported_with_the_keys_there_are(tmp_path: Path, suffix: str, key: str) -> None:
    path = tmp_path / f"a.{suffix}"
    frame = pd.DataFrame({"text": ["a"], "url": ["u"]})
    frame.to_parquet(path) if suffix == "parquet" else frame.to_json(path, orient="records", lines=True)
    with pytest.raises(UserError, match=rf"{key}: no field 'content'; choose one of \['text', 'url'\]"):
        _rows(files_corpus(path, **{key: "content"}))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["truncated", "garbage", "flipped"])
def test_damaged_packed_files_are_named(tmp_path: Path, suffix: str, damage: str) -> None:
    lines = "".join(json.dumps({"text": made_up_text(number)}) + "\n" for number in range(2000)).encode()
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
        _rows(files_corpus(path))
