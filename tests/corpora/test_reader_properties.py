"""Local files with random content: what is read equals what was written, or the error names the file and the line.

Text, encodings, byte-order marks, line ends, sizes, compression, folders with links. The fuzz test damages files.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import zstandard
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from local_texts import files_corpus

from twostage.common.errors import UserError
from twostage.corpora.corpus import normalise
from twostage.corpora.files import RECORDS, corpus_files
from twostage.corpora.readers import BadText, read_files

PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}
LINES = [ending for ending in RECORDS if ending != ".parquet"]
ENCODINGS = (
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-32",
    "latin-1",
    "cp1252",
    "shift_jis",
    "gb18030",
    "koi8-r",
)
#: Half of the texts are short words that most encodings have.
TEXTS = st.one_of(st.text(), st.text('aé€ \n\r\t"\\{}[],:\u2028\x85\x1c\ufeff日', max_size=20))
#: Around the size of the buffers (1 MiB).
SIZES = (0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1)
quick = settings(deadline=None, max_examples=60)


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder for each example; a fixture would be shared by all."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def encoded(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        assume(False)
        raise


def texts_of(*paths: Path, **keys: Any) -> list[str]:
    return [document.text for document in read_files(files_corpus(*paths, **keys))]


# Text -----------------------------------------------------------------------------------------------------------------


@quick
@given(TEXTS, st.sampled_from(ENCODINGS), st.sampled_from(list(PACK)))
def test_a_text_file_is_read_as_it_was_written(text: str, encoding: str, packing: str) -> None:
    with folder() as here:
        path = here / f"a.txt{packing}"
        path.write_bytes(PACK[packing](encoded(text, encoding)))
        assert list(map(normalise, texts_of(path, encoding=encoding))) == [normalise(text)]


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("size", SIZES)
def test_texts_and_lines_of_any_size_are_read(tmp_path: Path, size: int, packing: str) -> None:
    texts = ["é" * (size // 2), "x" * size, "end"]
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt{packing}").write_bytes(PACK[packing](text.encode()))
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    (tmp_path / f"a.jsonl{packing}").write_bytes(PACK[packing](lines.encode()))
    assert texts_of(*(tmp_path / f"{number}.txt{packing}" for number in range(3))) == texts
    assert texts_of(tmp_path / f"a.jsonl{packing}") == texts


@quick
@given(st.binary())
def test_bytes_that_are_not_utf8_are_refused_and_counted(data: bytes) -> None:
    with folder() as here:
        (here / "a.txt").write_bytes(data)
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            with pytest.raises(UserError, match=rf"a\.txt: not utf-8 at byte {error.start};"):
                texts_of(here / "a.txt")
            bad = BadText()
            assert list(read_files(files_corpus(here / "a.txt", on_bad_text="skip"), bad)) == []
            assert bad.count == 1
        else:
            assert texts_of(here / "a.txt") == [text]


# Records --------------------------------------------------------------------------------------------------------------

RECORD_TEXTS = st.lists(st.one_of(TEXTS, st.none()), max_size=8)


@quick
@given(
    RECORD_TEXTS,
    st.sampled_from(LINES),
    st.sampled_from(list(PACK)),
    st.sampled_from(ENCODINGS),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.sampled_from(["", "\n", "  \r\n"]),
)
def test_json_lines_are_read_as_they_were_written(
    texts: list[str | None],
    ending: str,
    packing: str,
    encoding: str,
    line_end: str,
    ascii_only: bool,
    blank: str,
) -> None:
    rows = (json.dumps({"data": {"text": text}, "n": 1}, ensure_ascii=ascii_only) for text in texts)
    data = encoded("".join(row + line_end + blank for row in rows), encoding)
    with folder() as here:
        path = here / f"a{ending}{packing}"
        path.write_bytes(PACK[packing](data))
        assert texts_of(path, encoding=encoding, text_key="data.text") == [text or "" for text in texts]


@quick
@given(RECORD_TEXTS, st.sampled_from(list(PACK)), st.sampled_from([None, 0, 2]), st.booleans())
def test_a_json_list_is_read_as_it_was_written(
    texts: list[str | None], packing: str, indent: int | None, mark: bool
) -> None:
    data = json.dumps([{"text": text} for text in texts], indent=indent)
    with folder() as here:
        path = here / f"a.json{packing}"
        path.write_bytes(PACK[packing](data.encode("utf-8-sig" if mark else "utf-8")))
        assert texts_of(path) == [text or "" for text in texts]


@quick
@given(RECORD_TEXTS.filter(len))
def test_parquet_is_read_as_it_was_written(texts: list[str | None]) -> None:
    with folder() as here:
        pd.DataFrame({"data": [{"text": text} for text in texts]}).to_parquet(here / "a.parquet")
        assert texts_of(here / "a.parquet", text_key="data.text") == [text or "" for text in texts]


BAD_LINES = {
    "not JSON": b'{"text": "a"',
    "5,000 digits": b'{"text": "a", "n": ' + b"9" * 5000 + b"}",
    "100,000 levels": b'{"text": "a", "n": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "levels without end": b"[" * 100_000,
    "not UTF-8": b'{"text": "\xff"}',
    "no text": b'{"title": "a"}',
    "text of another type": b'{"text": {"a": 1}}',
    "a list": b"[1]",
    "a number": b"1",
    "a NUL": b"\0",
}


@pytest.mark.parametrize("bad", BAD_LINES)
@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson.gz", "a.json.zst"])
@pytest.mark.parametrize("place", [2, 5])
def test_a_bad_line_is_named_by_file_and_number(tmp_path: Path, bad: str, name: str, place: int) -> None:
    lines = [b'{"text": "good"}'] * 6
    lines[place - 1] = BAD_LINES[bad]
    (tmp_path / name).write_bytes(PACK[re.sub(r"a\.\w+", "", name)](b"\n".join(lines)))
    with pytest.raises(UserError, match=rf"/{re.escape(name)}, line {place}: "):
        texts_of(tmp_path / name)


@pytest.mark.parametrize("bad", ['{"text": "a" "b"}', "1 2", '"a\nb"'])
def test_a_mistake_in_a_json_list_is_named_by_its_line(tmp_path: Path, bad: str) -> None:
    (tmp_path / "a.json").write_text('\n\n[\n{"text": "a"},\n\n' + bad + "\n]\n")
    with pytest.raises(UserError, match=r"a\.json, line 6: not valid JSON"):
        texts_of(tmp_path / "a.json")


@pytest.mark.parametrize("ending", LINES)
def test_lines_that_are_not_utf8_can_be_skipped(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"a{ending}").write_bytes(b'{"text": "a"}\n{"text": "\xff"}\n{"text": "b"}\n')
    bad = BadText()
    corpus = files_corpus(tmp_path / f"a{ending}", on_bad_text="skip")
    assert [document.text for document in read_files(corpus, bad)] == ["a", "b"]
    assert bad.count == 1
    assert "line 2" in bad.problems[0]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_file_that_is_not_in_the_wide_encoding_of_the_study_is_named(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"text": "a"}\n'.encode(encoding) + b"\x00")
    with pytest.raises(UserError, match=rf"a\.jsonl, after line \d: not {encoding}"):
        texts_of(tmp_path / "a.jsonl", encoding=encoding)


@pytest.mark.parametrize("packing", [packing for packing in PACK if packing])
def test_no_part_of_a_packed_file_is_taken_for_all_of_it(tmp_path: Path, packing: str) -> None:
    whole = PACK[packing](b"".join(b'{"text": "%d"}\n' % number for number in range(50)))
    path = tmp_path / f"a.jsonl{packing}"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"a\.jsonl.*(truncated|damaged)"):
            texts_of(path)


# Folders --------------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "[2024] c", ".hidden"])
PLACES = st.lists(NAMES, max_size=3).map(lambda names: "/".join(names))


@quick
@given(
    st.lists(st.tuples(PLACES, st.sampled_from("xyz")), min_size=1, max_size=8),
    st.lists(
        st.tuples(PLACES, st.sampled_from(["x.txt", "up", "up2"]), PLACES, st.sampled_from(["", "x.txt"])),
        max_size=6,
    ),
    st.booleans(),
)
def test_each_real_file_is_read_once_whatever_links_there_are(
    files: list[tuple[str, str]], links: list[tuple[str, str, str, str]], as_glob: bool
) -> None:
    with folder() as here:
        root = here / "[1] root"
        for place, name in files:
            (root / place).mkdir(parents=True, exist_ok=True)
            (root / place / f"{name}.txt").write_text(f"{place}/{name}")
        for place, name, target, target_name in links:
            link = root / place / name
            if (root / place).is_dir() and not os.path.lexists(link):
                link.symlink_to(root / target / target_name)
        expected = reachable(root)
        assume(expected)
        paths = f"{root}/**/*.txt" if as_glob else root
        found = corpus_files(files_corpus(paths, suffixes=(".txt",)))
        assert sorted(os.path.realpath(file.path) for file in found) == sorted(expected)
        by_link = [file for file in found if os.path.realpath(file.path) != str(file.path)]
        own_paths = {os.path.realpath(path) for path in plain_files(root)}
        assert not own_paths & {os.path.realpath(file.path) for file in by_link} or as_glob


def plain_files(root: Path) -> Iterator[Path]:
    """Files that no link leads to."""
    for place, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if not Path(place, name).is_symlink())


def reachable(root: Path) -> set[str]:
    """Real paths of all .txt files, by repeated look-ups until nothing new is found."""
    folders, found = {os.path.realpath(root)}, set[str]()
    while True:
        inside = [Path(place, name) for place in folders for name in Path(place).iterdir()]
        new = {os.path.realpath(path) for path in inside if path.is_dir() and not path.name.startswith(".")}
        found |= {
            os.path.realpath(path) for path in inside if path.name.endswith(".txt") and not path.is_dir()
        }
        if new <= folders:
            return found
        folders |= new


# Damaged files --------------------------------------------------------------------------------------------------------


def sample_files() -> dict[str, bytes]:
    rows = [{"text": f"text {number} é", "meta": {"n": number}} for number in range(20)]
    table = io.BytesIO()
    pd.DataFrame(rows).to_parquet(table)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    plain = {".txt": lines, ".jsonl": lines, ".json": json.dumps(rows, indent=1).encode()}
    return {".parquet": table.getvalue()} | {
        f"{ending}{packing}": pack(data) for ending, data in plain.items() for packing, pack in PACK.items()
    }


SAMPLES = sample_files()
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 8), st.binary(max_size=8)), max_size=5)


@pytest.mark.slow
@pytest.mark.parametrize("ending", SAMPLES)
@settings(deadline=None, max_examples=1500)
@given(
    EDITS,
    st.sampled_from(["utf-8", "utf-16", "cp1252", "shift_jis"]),
    st.sampled_from(["text", "meta.n"]),
    st.booleans(),
)
def test_a_damaged_file_is_read_or_named(
    ending: str, edits: list[tuple[float, int, bytes]], encoding: str, text_key: str, skip: bool
) -> None:
    data = SAMPLES[ending]
    for place, n_removed, added in edits:
        at = int(place * len(data))
        data = data[:at] + added + data[at + n_removed :]
    keys = {
        "encoding": encoding,
        "text_key": text_key,
        "group_key": "meta",
        "on_bad_text": "skip" if skip else "refuse",
    }
    with folder() as here:
        path = here / f"a{ending}"
        path.write_bytes(data)
        message = None
        try:
            for document in read_files(files_corpus(path, **keys)):
                normalise(document.text)
        except UserError as error:
            message = str(error)
        assert message is None or str(path) in message
