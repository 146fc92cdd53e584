"""The reader of tables: what is read equals what was written, or an error names file and line."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twostage.common.errors import UserError
from twostage.common.table_file import SEPARATORS, column_names, read_table

ROWS = ["1000000000,2000000000,2.5", "2000000000,2000000000,2.25"]
PLAIN = "\n".join(["D1,D2,loss", *ROWS]) + "\n"
NUMBERS = {"D1": [1e9, 2e9], "D2": [2e9, 2e9], "loss": [2.5, 2.25]}


def numbers_of(path: Path, content: str | bytes) -> dict[str, list[float]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    table = read_table(path)
    assert column_names(path) == list(table.columns)
    return {name: table.numbers(name) for name in table.columns}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.csv", PLAIN),
        ("no-end-of-last-line.csv", PLAIN.rstrip("\n")),
        ("UPPER.CSV", PLAIN),
        ("bom.csv", b"\xef\xbb\xbf" + PLAIN.encode()),
        ("unicode-text.txt", PLAIN.replace(",", "\t").encode("utf-16")),
        ("windows.csv", PLAIN.replace("\n", "\r\n")),
        ("old-mac.csv", PLAIN.replace("\n", "\r")),
        ("tabs.tsv", PLAIN.replace(",", "\t")),
        ("tabs.csv", PLAIN.replace(",", "\t")),
        ("bars.csv", PLAIN.replace(",", " | ")),
        ("semicolons.csv", PLAIN.replace(",", ";")),
        ("decimal-commas.csv", PLAIN.replace(",", ";").replace("2.", "2,")),
        ("spaces.csv", PLAIN.replace(",", ", ")),
        ("quoted.csv", PLAIN.replace("D1", '"D1"').replace("2.5", '"2.5"')),
        ("comments.csv", "# exported\n" + PLAIN + "# end\n"),
        ("blank-lines.csv", "\n" + PLAIN.replace("\n", "\n\n") + "  \n"),
        ("empty-rows-of-a-spreadsheet.csv", PLAIN + ",,\n,,\n"),
        ("empty-columns-of-a-spreadsheet.csv", "D1,D2,loss,,\n" + "".join(f"{row},,\n" for row in ROWS)),
        ("index.csv", ",D1,D2,loss\n" + "".join(f"{i},{row}\n" for i, row in enumerate(ROWS))),
        ("table.csv.gz", gzip.compress(PLAIN.encode(), mtime=0)),
        ("suffixes.csv", "D1,D2,loss\n1B,2BT,2.5\n2 billion tokens,2000M,2.25\n"),
        ("groups.csv", 'D1,D2,loss\n"1,000,000,000","2,000,000,000",2.5\n"2,000,000,000",2_000_000_000,2.25\n'),
        ("decimal-commas-of-tokens.csv", 'D1,D2,loss\n"1,0B","2,0B",2.5\n"2,0B",2B,2.25\n'),
        ("records.jsonl", "".join(json.dumps(dict(zip(NUMBERS, map(float, r.split(",")), strict=True))) + "\n" for r in ROWS)),
        ("bom.ndjson", '\ufeff{"D1":1e9,"D2":2e9,"loss":2.5}\n\n{"D1":2e9,"D2":"2B","loss":2.25}'),
    ],
)  # fmt: skip
def test_one_table_written_in_many_ways(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert numbers_of(tmp_path / name, content) == NUMBERS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("fourth-field.csv", PLAIN.replace("2.25", "2.25,7"), "line 3: 4 fields, but the header (line 1) has 3"),
        ("missing-field.csv", PLAIN.replace(",2.25", ""), "line 3: 2 fields, but the header (line 1) has 3"),
        ("no-header.csv", "\n".join(ROWS), "line 1: only numbers where the header should be"),
        ("header-is-comment.csv", "#" + PLAIN, "line 2: only numbers where the header should be"),
        ("same-name.csv", PLAIN.replace("D2", "D1"), "column 'D1' is there twice"),
        ("spaces-only.csv", PLAIN.replace(",", " "), "line 1: no separator; separate the columns with commas"),
        ("two-separators.csv", PLAIN.replace("D1,D2", "D1;D2,").replace(",", ";", 1), "may be separated by"),
        ("open-quote.csv", PLAIN.replace("2.25", '"2.25'), "line 3: unexpected end of data"),
        ("latin-1.csv", PLAIN.replace("loss", "verlüst").encode("latin-1"), "line 1: not UTF-8"),
        ("zero.csv", PLAIN.replace("2.5", "2\0"), "line 2: a zero byte"),
        ("cut.csv.gz", gzip.compress(PLAIN.encode(), mtime=0)[:20], "damaged gzip file"),
        ("empty.csv", "# nothing\n\n", "the file is empty"),
        ("empty.jsonl", "\n", "the file is empty"),
        ("array.jsonl", '[{"D1": 1}]', "line 1: not a JSON object"),
        ("broken.jsonl", '{"D1": 1}\n\n{"D1": 1,}', "line 3: not JSON"),
        ("deep.jsonl", '{"D1": 1}\n' + "[" * 100_000, "line 2: not JSON"),
        ("long-integer.jsonl", '{"D1": ' + "9" * 5000 + "}", "line 1: not JSON"),
        ("key-twice.jsonl", '{"D1": 1, "D1": 2}', "line 1: not JSON (one key twice)"),
        ("broken.parquet", "not parquet", "cannot be read as parquet"),
        ("table.xlsx", "x", "ending '.xlsx' is not known; use .csv"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_file_and_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as refusal:
        read_table(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "D1;loss\n1e9;2,5\n2e9;2.25\n",
            "line 2, column 'loss': '2,5' has a decimal comma, but '2.25' in line 3",
        ),
        ("D1;loss\n1e9;2,723\n2e9;2,659\n", "line 2, column 'loss': '2,723' may be 2723 or 2.723"),
        ("D1;loss\n1,5B;2.723\n2e9;2.659\n", "line 2, column 'loss': '2.723' may be 2.723 or 2723"),
        ("D1;loss\n1e9;2.5\n\n2e9;many\n", "line 4, column 'loss': 'many' is not a number"),
        ("D1;loss\n1,5B;2\n2e9;1,5 or so\n", "line 3, column 'loss': '1,5 or so' is not a number"),
    ],
)
def test_a_number_with_two_meanings_is_named(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        numbers_of(tmp_path / "table.csv", content)
    assert message in str(refusal.value)


def test_other_columns_tell_what_a_comma_means(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    assert numbers_of(path, "D1;loss\n1,250B;2,7\n")["D1"] == [1.25e9]
    assert numbers_of(path, 'D1,loss\n"1,250",2.7\n')["D1"] == [1250.0]
    path.write_text("D1;loss\n1,250B;2,723\n")
    assert read_table(path).numbers("D1", ",") == [1.25e9]
    assert read_table(path).numbers("D1", ".") == [1.25e12]


def test_rows_know_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('# one\n\nname,loss\n"two\nlines",1\n\n# six\nlast,2\n')
    table = read_table(path)
    assert table.places == [4, 8]
    assert table.columns["name"] == ["two\nlines", "last"]
    assert table.rows([False, True]).place(0) == "line 8"


TEXT = st.text("aé中.0 ,;|\t'…", max_size=8).map(str.strip)
NAMES = st.lists(
    st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=8), min_size=2, max_size=5, unique=True
)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_what_is_read_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    names = data.draw(NAMES)
    rows = data.draw(st.lists(st.tuples(*[TEXT] * len(names)).filter(any), min_size=1, max_size=8))
    separator = data.draw(st.sampled_from(list(SEPARATORS)))
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    buffer = io.StringIO()
    quoting = data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer = csv.writer(buffer, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerows([names, *rows])
    content = buffer.getvalue().encode(encoding)
    zipped = data.draw(st.booleans())
    path = tmp_path_factory.mktemp("written") / ("table.csv" + ".gz" * zipped)
    path.write_bytes(gzip.compress(content, mtime=0) if zipped else content)
    table = read_table(path)
    assert list(table.columns) == names
    assert [tuple(v or "" for v in row) for row in zip(*table.columns.values(), strict=True)] == rows
    assert table.places == list(range(2, 2 + len(rows)))
    again = path.with_name("again.csv")
    again.write_text(table.to_csv(), encoding="utf-8")
    assert read_table(again).columns == table.columns


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(1e-3, 1e15).map(lambda x: float(f"{x:.6g}")), min_size=1, max_size=6),
    st.sampled_from(["{:.6g}", "{:.6f}", "{:.9e}"]),
    st.booleans(),
)
def test_numbers_are_read_as_written_or_refused(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], form: str, comma: bool
) -> None:
    texts = [form.format(value).replace(".", "," if comma else ".") for value in values]
    path = tmp_path_factory.mktemp("numbers") / "table.csv"
    path.write_text("\n".join(["x;y", *(f"{text};1" for text in texts)]))
    try:
        found: list[float] | str = read_table(path).numbers("x")
    except UserError as error:
        found = str(error)
    expected = pytest.approx([float(text.replace(",", ".")) for text in texts], rel=1e-15)
    assert found == expected if isinstance(found, list) else (comma and "may be" in found)
