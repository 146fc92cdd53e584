"""Documents of local files: .txt, .jsonl[.gz|.zst], .parquet, and directories of source files.

Errors name the file and line. `corpus.py` decides which documents are kept, and their split.
"""

from __future__ import annotations

import glob
import gzip
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from twostage.common.errors import UserError
from twostage.study import FilesCorpus, HuggingFaceCorpus

_RECORD_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
_READ_BYTES = 1 << 20
# The largest window that `zstd --ultra --long=31` uses.
_MAX_ZSTD_WINDOW = 1 << 31


@dataclass(frozen=True)
class Document:
    """One text. `group` determines its split: all documents of a group are in the same split."""

    text: str
    group: str
    package: str = ""


def expand_paths(paths: tuple[str, ...]) -> list[Path]:
    """Return files and directories in the given order, the matches of each glob sorted, without repetitions.

    Raises:
        UserError: a path does not exist, or a glob matches nothing.
    """
    found: dict[Path, None] = {}
    for pattern in paths:
        expanded = str(Path(pattern).expanduser())
        if Path(expanded).exists():
            matches = [expanded]
        elif glob.has_magic(expanded):
            matches = sorted(glob.glob(expanded, recursive=True))  # noqa: PTH207 (absolute patterns)
            if not matches:
                raise UserError(
                    f"paths: {pattern!r} matches no file (working directory {Path.cwd()}); correct the pattern"
                )
        else:
            raise UserError(
                f"paths: {pattern!r} does not exist (working directory {Path.cwd()}); correct the path"
            )
        found.update((Path(match), None) for match in matches)
    return list(found)


def read_files(corpus: FilesCorpus) -> Iterator[Document]:
    """Yield the documents of a corpus of local files in the order of `paths`; directories and globs are sorted.

    A text or source file is one document. Its group is its path relative to the directory, or its name if `paths` lists the
    file itself, so that moving a corpus keeps the split. A record of a .jsonl or .parquet file is one document. Its group is
    the value of `group_key`, or its text if there is no `group_key`. In a directory, files that are not UTF-8, hidden
    folders and symbolic links are skipped.

    Raises:
        UserError: a file is missing, unsupported or unreadable; the message has the file (and line).
    """
    for path in expand_paths(corpus.paths):
        if path.is_dir():
            yield from _read_directory(path, corpus)
        elif path.name.endswith(_RECORD_SUFFIXES):
            yield from _read_records(path, corpus)
        elif path.name.endswith((".txt", *corpus.suffixes)):
            yield Document(_read_text(path), path.name)
        else:
            raise UserError(
                f"{path}: unsupported file type; use .txt, .jsonl, .jsonl.gz, .jsonl.zst, .parquet, or add its ending to `suffixes`"
            )


def source_files(corpus: FilesCorpus) -> Iterator[tuple[str, Path]]:
    """Yield (name, path) of every file that a corpus is read from; the name is relative to its entry of `paths`."""
    for path in expand_paths(corpus.paths):
        if path.is_dir():
            found = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
            for file in sorted(file for file in found if file.name.endswith(corpus.suffixes)):
                yield file.relative_to(path).as_posix(), file
        else:
            yield path.name, path


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not UTF-8 at byte {error.start}; convert it, e.g. with iconv -t UTF-8"
        ) from None


def _read_directory(root: Path, corpus: FilesCorpus) -> Iterator[Document]:
    files = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(folder, name) for name in names if name.endswith(corpus.suffixes)]
    if not files:
        raise UserError(
            f"{root}: no file in this directory ends in {' or '.join(corpus.suffixes)}; correct `paths` or `suffixes`"
        )
    for path in sorted(files):
        if path.is_symlink():
            continue
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue
        yield Document(text, path.relative_to(root).as_posix())


def _read_records(path: Path, corpus: FilesCorpus) -> Iterator[Document]:
    rows = _parquet_rows(path, corpus) if path.suffix == ".parquet" else json_lines(path)
    for where, row in rows:
        yield document_of(corpus, partial(_field, row, where), where)


def document_of(
    corpus: FilesCorpus | HuggingFaceCorpus, value_of: Callable[[str, str], Any], where: str
) -> Document:
    """Return the document of one record.

    Args:
        value_of: function (name of a field, key of the study that names it) -> value of the field.
        where: the record, for error messages.

    Raises:
        UserError: the value of `text_key` is not text.
    """
    text = value_of(corpus.text_key, "text_key")
    if not isinstance(text, str):
        raise UserError(
            f"{where}: {corpus.text_key!r} holds {type(text).__name__}, not text; choose another text_key"
        )
    return Document(text, text if corpus.group_key is None else str(value_of(corpus.group_key, "group_key")))


def _field(row: dict[str, Any], where: str, name: str, key: str) -> Any:
    try:
        return row[name]
    except KeyError:
        raise UserError(f"{where}: no key {name!r}; set {key} to one of {sorted(row)}") from None


def zstd_chunks(path: Path) -> Iterator[bytes]:
    """Yield the decompressed bytes of a .zst file of one or more frames.

    Raises:
        UserError: the file is damaged, or ends within a frame (which the library's own reader does not detect).
    """
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW)
    frame = decompressor.decompressobj()
    started = False
    with path.open("rb") as stream:
        while packed := stream.read(_READ_BYTES):
            while packed:
                try:
                    data = frame.decompress(packed)
                except zstandard.ZstdError as error:
                    raise UserError(
                        f"{path}: damaged zstd data ({error}); download or compress the file again"
                    ) from None
                started = True
                if data:
                    yield data
                packed = b""
                if frame.eof:
                    packed = frame.unused_data
                    frame, started = decompressor.decompressobj(), False
    if started:
        raise UserError(f"{path}: truncated zstd data; download or compress the file again")


class _ChunkStream(io.RawIOBase):
    """A readable stream over an iterator of byte chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = next(self._chunks, b"")
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.suffix == ".zst":
        return io.BufferedReader(_ChunkStream(zstd_chunks(path)), _READ_BYTES)
    return path.open("rb")


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ("file, line n", object) for each non-empty line of a .jsonl[.gz|.zst] file.

    Raises:
        UserError: compressed data is damaged or truncated, or a line is not a JSON object; the message has file and line.
    """
    number = 0
    try:
        with _open(path) as stream:
            for number, line in enumerate(stream, start=1):
                if not line.strip():
                    continue
                where = f"{path}, line {number}"
                try:
                    row = json.loads(line)
                except (json.JSONDecodeError, UnicodeDecodeError) as error:
                    raise UserError(
                        f"{where}: not valid JSON ({error}); correct or remove the line"
                    ) from None
                if not isinstance(row, dict):
                    raise UserError(
                        f"{where}: a {type(row).__name__}, not a JSON object; write one object per line"
                    )
                yield where, row
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(
            f"{path}: truncated or damaged gzip data after line {number} ({error}); download or compress the file again"
        ) from None


def _parquet_rows(path: Path, corpus: FilesCorpus) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: not a readable parquet file ({error}); download it again") from None
    wanted = [key for key in (corpus.text_key, corpus.group_key) if key is not None]
    with file:
        names = file.schema_arrow.names
        columns = [name for name in names if name in wanted]
        if len(columns) < len(set(wanted)):
            columns = names  # the error for the missing key lists all keys
        number = 0
        try:
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(f"{path}: unreadable after row {number} ({error}); download it again") from None
