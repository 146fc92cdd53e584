"""Records of local files: JSON lines, JSON and parquet, and the fields of a record.

Errors name the file and the line. `readers.py` makes documents of records; `hub.py` uses `field` for those of a data set.
"""

from __future__ import annotations

import codecs
import io
import itertools
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from twostage.common.errors import UserError
from twostage.corpora.packed import UNREADABLE, open_unpacked, unreadable
from twostage.study.corpora import UTF8

#: A record, and where it is: "file, line n".
Row = tuple[str, dict[str, Any]]
#: Names listed in a message.
_NAMED = 20
#: Levels of nested fields in a message.
_LEVELS = 3


# Fields ---------------------------------------------------------------------------------------------------------------


def field(row: dict[str, Any], where: str, name: str, key: str) -> Any:
    """Return the value of a field. `a.b` is field b of field a, unless there is a field named `a.b`.

    Args:
        where: the record, for the message.
        key: the key of the study that names the field.

    Raises:
        UserError: there is no such field; the message has those there are.
    """
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            names = _field_names(row)
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            raise UserError(f"{where}: {key}: no field {name!r}; choose one of {names[:_NAMED]}{more}")
        value = value[part]
    return value


def _field_names(row: dict[str, Any], prefix: str = "") -> list[str]:
    names = []
    for name, value in sorted(row.items()):
        nested = isinstance(value, dict) and value and prefix.count(".") < _LEVELS
        names += _field_names(value, f"{prefix}{name}.") if nested else [prefix + name]
    return names


# JSON -----------------------------------------------------------------------------------------------------------------


def json_lines(
    path: Path, encoding: str = UTF8, undecodable: Callable[[UserError], None] | None = None
) -> Iterator[Row]:
    """Yield ("file, line n", object) for each non-empty line of a file of JSON lines, which may be compressed.

    Args:
        encoding: encoding of the file.
        undecodable: called with the error of a line that is not text in this encoding, which is then left out; None: raise it.

    Raises:
        UserError: compressed data is damaged or truncated, or a line is not a JSON object; the message has file and line.
    """
    yield from _objects(path, _text_lines(path, encoding, undecodable))


def json_records(
    path: Path, encoding: str = UTF8, undecodable: Callable[[UserError], None] | None = None
) -> Iterator[Row]:
    """Yield ("file, line n", object) of a .json file of one object for each line, or ("file, record n", object) of a list.

    A list is read into memory. Arguments and errors are those of `json_lines`.
    """
    lines = _text_lines(path, encoding, undecodable)
    first, line = next(((number, line) for number, line in lines if not _is_blank(line)), (1, ""))
    lines = itertools.chain([(first, line)], lines)
    if not line.lstrip().startswith("["):
        yield from _objects(path, lines)
        return
    records = _parsed("".join(line for _, line in lines), path, first)
    for number, record in enumerate(records, start=1):
        yield _object(record, f"{path}, record {number}")


def _objects(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[Row]:
    for number, line in lines:
        if not _is_blank(line):
            yield _object(_parsed(line, path, number), f"{path}, line {number}")


def _is_blank(line: str) -> bool:
    return not line or line.isspace()


def _object(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise UserError(f"{where}: a {type(value).__name__}, not a JSON object; write one object per line")
    return where, value


def _parsed(text: str, path: Path, first_line: int) -> Any:
    """Return the value of a JSON text that starts at line `first_line` of a file."""
    try:
        return json.loads(text.rstrip())  # an error at the end is one of the last line
    except RecursionError:
        line, reason = first_line, "nested too deeply"
    except json.JSONDecodeError as error:
        line, reason = first_line + error.lineno - 1, f"{error.msg}, column {error.colno}"
    except ValueError as error:  # a number of more digits than Python converts
        line, reason = first_line, str(error).partition(";")[0]
    raise UserError(f"{path}, line {line}: not valid JSON ({reason}); correct or remove the line")


def _text_lines(
    path: Path, encoding: str, undecodable: Callable[[UserError], None] | None
) -> Iterator[tuple[int, str]]:
    """Yield (number, text) of each line, without byte-order mark."""
    number = 0
    try:
        with open_unpacked(path) as stream:
            for number, line in enumerate(_decoded_lines(stream, encoding), start=1):
                if isinstance(line, UnicodeError):
                    error = not_text(f"{path}, line {number}", encoding, line)
                    if undecodable is None:
                        raise error
                    undecodable(error)
                else:
                    yield number, line.removeprefix("\ufeff")
    except UnicodeError as error:
        raise not_text(f"{path}, after line {number}", encoding, error) from None
    except UNREADABLE as error:
        raise unreadable(path, error, f" after line {number}") from None


def _decoded_lines(stream: IO[bytes], encoding: str) -> Iterator[str | UnicodeError]:
    """Yield each line, or the error of a line that is not text in this encoding.

    Raises:
        UnicodeError: the same, in an encoding such as UTF-16 whose lines can't be found before it is decoded.
    """
    if "\n".encode(encoding) != b"\n":
        yield from io.TextIOWrapper(stream, encoding, newline="\n")
        return
    # JSON in UTF-8 may hold an unpaired surrogate, which `corpus.normalise` replaces.
    errors = "surrogatepass" if encoding == UTF8 else "strict"
    for line in stream:
        try:
            yield line.decode(encoding, errors)
        except UnicodeError as error:
            yield error


def not_text(where: str, encoding: str, error: UnicodeError) -> UserError:
    """Return the error of bytes that are not text in an encoding, with the fix."""
    at = f" at byte {error.start}" if isinstance(error, UnicodeDecodeError) else ""
    data = error.object if isinstance(error, UnicodeDecodeError) else b""
    likely = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "cp1252"
    return UserError(
        f"{where}: not {encoding}{at}; set the encoding it has, e.g. `encoding: {likely}`, or `on_bad_text: skip` to leave such "
        "text out"
    )


# Parquet --------------------------------------------------------------------------------------------------------------


def parquet_rows(path: Path, wanted: Collection[str]) -> Iterator[Row]:
    """Yield ("file, row n", fields) of each row. Only the columns that hold the `wanted` fields are read, or, if one is
    missing, all columns, so that the message can list them.

    Raises:
        UserError: the file is damaged or can't be opened.
    """
    import pyarrow
    import pyarrow.parquet

    # The library raises the last two for damaged data too.
    unreadable_parquet = (pyarrow.ArrowException, OSError, ValueError)
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            roots = {name if name in names else name.partition(".")[0] for name in wanted}
            columns = [name for name in names if name in roots] if roots <= set(names) else names
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except unreadable_parquet as error:
        raise UserError(
            f"{path}: not a readable parquet file after row {number} ({error}); download it again"
        ) from None
