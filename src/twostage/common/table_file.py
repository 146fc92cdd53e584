"""The one reader of tables that users give: separated text, JSON lines and Parquet, also gzipped.

`read_table` returns a `Table`, whose rows know their lines in the file; `Table.numbers` reads a column as numbers. What has
one meaning is read: a byte order mark, any of four separators, spaces around fields, blank lines, lines that start with #,
decimal commas. Everything else is refused with file and line. What the columns mean is known to the callers: the commands for
the laws (`cli.tables`) and imported tables of studies (`analysis.imported`).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from twostage.common.errors import UserError
from twostage.common.units import EXAMPLES, Decimal, decimal_marks, read_count

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "|"}
_KINDS = {
    ".csv": "text",
    ".tsv": "text",
    ".txt": "text",
    ".jsonl": "records",
    ".ndjson": "records",
    ".parquet": "parquet",
}
ENDINGS = ".csv, .tsv, .txt, .jsonl, .ndjson (each also with .gz) or .parquet"
#: Texts that stand for a missing number.
_MISSING = {"", "na", "n/a", "nan", "null", "none", "-"}
#: Byte order marks; UTF-16 is what spreadsheets call Unicode text.
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}

#: What a number as text says about the decimal mark of its column.
Mark = Literal[".", ",", "either"]
#: Text, or a number of a JSON or Parquet file; None where there is nothing.
Cell = Any


@dataclass(frozen=True)
class Table:
    """Rows of a table file, as written.

    Attributes:
        path: the file.
        columns: values by name of the column, one list entry per row.
        places: number of the line of each row in the file; of a Parquet file, which has no lines, of the row.
        place_word: `line` or `row`.
    """

    path: Path
    columns: dict[str, list[Cell]]
    places: list[int]
    place_word: str = "line"

    def __len__(self) -> int:
        return len(self.places)

    def place(self, row: int) -> str:
        """Return the place of a row (from 0) for messages, e.g. `line 5`."""
        return f"{self.place_word} {self.places[row]}"

    def rows(self, keep: Sequence[bool]) -> Table:
        """Return the rows for which `keep` is true."""
        columns = {
            name: [value for value, kept in zip(values, keep, strict=True) if kept]
            for name, values in self.columns.items()
        }
        places = [place for place, kept in zip(self.places, keep, strict=True) if kept]
        return replace(self, columns=columns, places=places)

    def numbers(self, column: str, decimal: Decimal | None = None) -> list[float]:
        """Return a column as numbers; a missing one is NaN, one beyond 1e308 infinite.

        Args:
            column: its name.
            decimal: the decimal mark; None: the one with which all values of the column are numbers, if there is only one.

        Raises:
            UserError: a value is not a number, or its comma or point has two meanings; names file and line.
        """
        mark = self._decimal(column) if decimal is None else decimal
        return [self._number(row, column, value, mark) for row, value in enumerate(self.columns[column])]

    def likely_numbers(self, column: str) -> list[float | None]:
        """Return a column as numbers where its values are numbers, else None; for comparisons."""
        values = self.columns[column]
        words = any(isinstance(v, str) and not is_missing(v) and not decimal_marks(v) for v in values)
        mark: Decimal = "." if words else self._decimal(column)
        return [None if is_missing(value) else _likely_number(value, mark) for value in values]

    def error(self, row: int, column: str, message: str) -> UserError:
        """Return an error about one value."""
        return UserError(f"{self.path}: {self.place(row)}, column {column!r}: {message}")

    def _number(self, row: int, column: str, value: Cell, decimal: Decimal) -> float:
        if is_missing(value):
            return math.nan
        number = _likely_number(value, decimal)
        if number is None:
            raise self.error(row, column, f"{value!r} is not a number; write for example {EXAMPLES}")
        return number

    def _decimal(self, column: str) -> Decimal:
        """Return the decimal mark of a column: of its own values or, where they leave it open, of the other columns."""
        values, marks = self.columns[column], self._marks(column)
        if "." in marks and "," in marks:
            raise self.error(
                marks[","],
                column,
                f"{values[marks[',']]!r} has a decimal comma, but {values[marks['.']]!r} in {self.place(marks['.'])} has a"
                " decimal point; write all with a decimal point",
            )
        if "." in marks or "," in marks:
            return "." if "." in marks else ","
        if "either" not in marks:
            return "."
        value = values[marks["either"]]
        elsewhere = {mark for name in self.columns if name != column for mark in self._marks(name)} - {
            "either"
        }
        if "," in value and elsewhere == {","}:
            return ","
        if elsewhere == {"."} or ("." in value and "," not in elsewhere):
            return "."
        raise self.error(
            marks["either"],
            column,
            f"{value!r} may be {read_count(value):.15g} or {read_count(value, ','):.15g}; write numbers with a decimal"
            " point and no separator of thousands, or give --decimal point or --decimal comma",
        )

    def _marks(self, column: str) -> dict[Mark, int]:
        """Return the decimal marks that the numbers of a column need: mark -> index of the first row that needs it.

        "either" stands for a number that is valid, and different, with both marks. Numbers that are equal with both marks are
        skipped. The result is empty for a column with text that is not a number.
        """
        found: dict[Mark, int] = {}
        for row, value in enumerate(self.columns[column]):
            if not isinstance(value, str) or is_missing(value):
                continue
            marks = decimal_marks(value)
            if not marks:
                return {}
            if len(marks) == 1:
                found.setdefault(marks.pop(), row)
            elif read_count(value, ".") != read_count(value, ","):
                found.setdefault("either", row)
        return found

    def to_csv(self) -> str:
        """Return the table as CSV with commas and \\n; numbers and text as they were read."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(
            ["" if value is None else value for value in row]
            for row in zip(*self.columns.values(), strict=True)
        )
        return buffer.getvalue()


def is_missing(value: Cell) -> bool:
    """Tell whether a value of a column of numbers is missing: nothing, NaN, or a word such as `NA`."""
    if isinstance(value, str):
        return value.lower() in _MISSING
    return value is None or (isinstance(value, float) and math.isnan(value))


def _likely_number(value: Cell, decimal: Decimal) -> float | None:
    if isinstance(value, str):
        return read_count(value, decimal)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits
        return math.inf


def read_table(path: str | Path) -> Table:
    """Read a table by its ending; see the module docstring.

    Raises:
        FileNotFoundError: no such file.
        UserError: an unknown ending, or the file cannot be read; the message has file, line and reason.
    """
    path = Path(path)
    kind = _kind(path)
    try:
        if kind == "parquet":
            return _read_parquet(path)
        lines = _lines(path)
        return _read_records(path, lines) if kind == "records" else _read_text(path, lines)
    except _TableError as error:
        raise UserError(f"{path}: {error}") from None


def column_names(path: str | Path) -> list[str]:
    """Return the names of the columns, without reading the rows of separated text; errors as in `read_table`."""
    path = Path(path)
    if _kind(path) != "text":
        return list(read_table(path).columns)
    try:
        lines = _lines(path)
        _, header = _header(lines, _separator(lines))
    except _TableError as error:
        raise UserError(f"{path}: {error}") from None
    return [name for name in header if name]


class _TableError(ValueError):
    """A file that cannot be read; the message lacks the path."""


def _kind(path: Path) -> str:
    if path.is_dir():
        raise UserError(f"{path}: a folder, not a table")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    if ending not in _KINDS:
        raise UserError(f"{path}: ending {ending!r} is not known; use {ENDINGS}")
    return _KINDS[ending]


# Text ----------------------------------------------------------------------------------------------------------------------


def _lines(path: Path) -> list[str]:
    """Return the lines of a text file, without their ends."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise _TableError(f"damaged gzip file: {error}") from None
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        place = data[: error.start].count(b"\n") + 1
        raise _TableError(
            f"line {place}: not {encoding.removesuffix('-sig').upper()} ({error.reason}); save the file as UTF-8"
        ) from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise _TableError(f"line {number}: a zero byte; the file is damaged or not a table")
    return lines


class _Source:
    """The lines of a file for `csv.reader`; between records, blank lines and comments are skipped."""

    def __init__(self, lines: list[str]) -> None:
        self._lines, self._next = lines, 0

    def next_record(self) -> int | None:
        """Move to the next record and return its line, or None at the end."""
        while self._next < len(self._lines):
            text = self._lines[self._next].strip()
            if text and not text.startswith("#"):
                return self._next + 1
            self._next += 1
        return None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._next >= len(self._lines):
            raise StopIteration
        self._next += 1
        return self._lines[self._next - 1] + "\n"


def _fields(lines: list[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line and the fields of each record; records without any text are skipped."""
    source = _Source(lines)
    reader = csv.reader(source, delimiter=separator, skipinitialspace=True, strict=True)
    while (line := source.next_record()) is not None:
        try:
            fields = [field.strip() for field in next(reader)]
        except csv.Error as error:
            raise _TableError(f"line {line}: {error}; check the quotation marks") from None
        if any(fields):
            yield line, fields


def _separator(lines: list[str]) -> str:
    """Return the separator of the header, or if it has several, the one with which all rows have equally many fields."""
    found = [separator for separator in SEPARATORS if next(_widths(lines, separator), 0) > 1]
    if len(found) == 1:
        return found[0]
    fitting = [separator for separator in found if len(set(_widths(lines, separator))) == 1]
    if len(fitting) == 1:
        return fitting[0]
    line, header = _header(lines, ",")
    if found:
        names = " or ".join(SEPARATORS[separator] for separator in found)
        raise _TableError(
            f"line {line}: the columns may be separated by {names}; use only one of these in the header"
        )
    if len(header[0].split()) > 1:
        names = ", ".join(SEPARATORS.values())
        raise _TableError(f"line {line}: no separator; separate the columns with {names}")
    return ","


def _widths(lines: list[str], separator: str) -> Iterator[int]:
    """Yield the numbers of fields of the records; at last 0 if the quotation marks do not fit this separator."""
    try:
        for _, fields in _fields(lines, separator):
            yield len(fields)
    except _TableError:
        yield 0


def _header(lines: list[str], separator: str) -> tuple[int, list[str]]:
    for line, fields in _fields(lines, separator):
        return line, fields
    raise _TableError("the file is empty; give a table with a header line and one row per run")


def _read_text(path: Path, lines: list[str]) -> Table:
    separator = _separator(lines)
    records = _fields(lines, separator)
    first, header = next(records)
    if all(decimal_marks(field) for field in header):
        raise _TableError(
            f"line {first}: only numbers where the header should be; write the names of the columns in the line above"
        )
    rows, places = [], []
    for line, fields in records:
        row = fields[: len(header)]
        if len(row) < len(header) or any(fields[len(header) :]):
            raise _TableError(
                f"line {line}: {len(fields)} fields, but the header (line {first}) has {len(header)}; give every column a name"
                " and every row a value for it"
            )
        rows.append(row)
        places.append(line)
    return _table(path, header, ([value or None for value in row] for row in rows), places)


def _read_records(path: Path, lines: list[str]) -> Table:
    records, places = [], []
    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            record = json.loads(text, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise _TableError(f"line {line}: not JSON ({error})") from None
        if not isinstance(record, dict):
            raise _TableError(
                f'line {line}: not a JSON object; write one row per line, e.g. {{"d1_tokens": 1e9}}'
            )
        records.append({name.strip(): value for name, value in record.items()})
        places.append(line)
    if not records:
        raise _TableError("the file is empty; give one JSON object per line")
    names = list(dict.fromkeys(name for record in records for name in record))
    rows = ([_stripped(record.get(name)) for name in names] for record in records)
    return _table(path, names, rows, places)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("one key twice")
    return values


def _stripped(value: Cell) -> Cell:
    return value.strip() or None if isinstance(value, str) else value


def _read_parquet(path: Path) -> Table:
    import pyarrow
    from pyarrow import parquet

    try:
        content = parquet.read_table(path)
        values = [column.to_pylist() for column in content.columns]
    except (ValueError, OSError, NotImplementedError, pyarrow.ArrowException) as error:
        raise _TableError(f"cannot be read as parquet: {' '.join(str(error).split())}") from None
    rows = ([_stripped(value) for value in row] for row in zip(*values, strict=True))
    places = list(range(1, content.num_rows + 1))
    return replace(_table(path, content.column_names, rows, places), place_word="row")


def _table(path: Path, names: Sequence[str], rows: Any, places: list[int]) -> Table:
    twice = [name for i, name in enumerate(names) if name and name in names[:i]]
    if twice:
        raise _TableError(f"column {twice[0]!r} is there twice; give every column its own name")
    values: dict[str, list[Cell]] = {name: [] for name in names if name}
    for row in rows:
        for name, value in zip(names, row, strict=True):
            if name:
                values[name].append(value)
    return Table(path, values, places)
