"""Random and damaged input of the commands for a table: an answer or one line, and never a traceback."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from law_tables import grid

from twostage.cli import main

#: A few minutes on one core.
LONG = settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def answer(*argv: str) -> str:
    """Run a command; return what it printed. An exception other than those `main` expects fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(argv))
    assert code in (0, 2)
    if code == 2:
        assert out.getvalue() == ""
        assert err.getvalue().startswith("twostage: error: ")
        assert err.getvalue().count("\n") == 1
    return out.getvalue() + err.getvalue()


# Tables ----------------------------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.floats(allow_nan=True).map(repr),
    st.floats(1e4, 1e13).map(lambda x: f"{x:.6g}"),
    st.floats(0.5, 12).map(lambda x: f"{x:.4f}"),
    st.integers(-(10**400), 10**400).map(str),
    st.sampled_from(
        [
            "",
            "NA",
            "1,5B",
            "1,250",
            "1.250,5",
            "0",
            "-1",
            "300B",
            "400BT",
            "1e999",
            "0x10",
            "٣",
            "true",
            "null",
        ]
    ),
)
FIELD = st.one_of(NUMBERS, st.text(max_size=6))
NAMES = [
    "d1_tokens",
    "d2_tokens",
    "n_base",
    "loss_nats",
    "seed",
    "method",
    "model",
    "valid_corpus",
    "excluded",
]
CONDITIONS = st.one_of(
    st.text(max_size=8),
    st.builds(
        "{}{}{}".format,
        st.sampled_from([*NAMES, "d1", "x"]),
        st.sampled_from(["=", "!=", "<", ">=", "~"]),
        FIELD,
    ),
)
OPTIONS = st.lists(
    st.one_of(
        CONDITIONS.map(lambda condition: ("--where", condition)),
        st.sampled_from(
            [
                ("--accept-units",),
                ("--allow-degenerate",),
                ("--repeat", "mean"),
                ("--repeat", "seed"),
                ("--decimal", "comma"),
                ("--units", "d1=B", "loss=perplexity"),
                ("--units", "loss=bits"),
                ("--objective", "lad"),
                ("--drop-highest", "1"),
                ("--columns", "d1=d2_tokens"),
                ("--columns", "loss=x"),
            ]
        ),
    ),
    max_size=4,
)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """Text that is more or less a table."""
    separator, end = (
        draw(st.sampled_from([",", ";", "\t", "|", ", "])),
        draw(st.sampled_from(["\n", "\r\n", "\r"])),
    )
    names = draw(st.lists(st.one_of(st.sampled_from(NAMES), st.text(max_size=5)), min_size=1, max_size=7))
    ragged = st.lists(FIELD, max_size=8)
    whole = st.lists(FIELD, min_size=len(names), max_size=len(names))
    good = st.tuples(*(_good(name) for name in names)).map(list)
    rows = draw(st.lists(st.one_of(good, good, good, whole, ragged), max_size=12))
    text = end.join(separator.join(row) for row in [names, *rows])
    encoded = text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"])), "replace")
    return encoded[: draw(st.integers(0, len(encoded)))] if draw(st.booleans()) else encoded


def _good(name: str) -> st.SearchStrategy[str]:
    if name == "loss_nats":
        return st.floats(1, 8).map(lambda x: f"{x:.3f}")
    if name in ("d1_tokens", "d2_tokens", "n_base"):
        return st.sampled_from(["1e9", "2e9", "4e9", "8e9", "1B", "0"])
    return st.sampled_from(["0", "1", "a"])


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
RECORDS = st.lists(
    st.dictionaries(st.sampled_from(NAMES), st.one_of(JSON, NUMBERS), max_size=6), max_size=8
).map(lambda rows: "\n".join(map(json.dumps, rows)).encode())


@pytest.mark.slow
@LONG
@given(
    st.one_of(
        st.tuples(st.sampled_from(["csv", "tsv", "txt", "csv.gz"]), tables()),
        st.tuples(st.sampled_from(["jsonl", "ndjson"]), st.one_of(RECORDS, tables())),
        st.tuples(st.sampled_from(["csv", "jsonl", "csv.gz"]), st.binary(max_size=200)),
    ),
    st.sampled_from(["power", "mul0", "mul", "chinchilla"]),
    OPTIONS,
)
@example(("csv", b"d2_tokens,loss_nats\n" + b"1e9,2\n2e9,1\n" * 3), "power", [("--repeat", "mean")])
def test_no_table_leads_to_a_traceback(
    tmp_path: Path, file: tuple[str, bytes], form: str, options: list[tuple[str, ...]]
) -> None:
    path = tmp_path / f"table.{file[0]}"
    path.write_bytes(file[1])
    words = [word for option in options for word in option]
    assume(
        not any(word.startswith("-") for option in options for word in option[1:])
    )  # else an option of argparse
    answer("fit", str(path), "--form", form, "--json", *words)


# Fit files -------------------------------------------------------------------------------------------------------------------

WILD = st.one_of(
    JSON, st.sampled_from([math.nan, math.inf, -1, 0, 1e308, 10**400, "mul", [], {}, [[]], [1.0] * 25])
)


@pytest.fixture(scope="module")
def fit_files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Texts of fits of several forms."""
    folder = tmp_path_factory.mktemp("fits")
    grid().to_csv(folder / "losses.csv", index=False)
    for form in ("power", "mul", "tree"):
        rows = ["--where", "d1=577000000"] if form == "power" else []
        out = str(folder / f"{form}.json")
        answer("fit", str(folder / "losses.csv"), "--form", form, "--out", out, *rows)
    return [path.read_text() for path in sorted(folder.glob("*.json"))]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values inside a JSON value; of lists only the first two elements."""
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value[:2]))
    else:
        inner = []
    return [path] * bool(path) + [place for key, item in inner for place in places(item, (*path, key))]


@pytest.mark.slow
@LONG
@given(st.data())
def test_no_fit_file_leads_to_a_traceback_or_to_another_number(
    tmp_path: Path, fit_files: list[str], data: st.DataObject
) -> None:
    """A damaged file is refused, or has the answer of the file that it was."""
    text = data.draw(st.sampled_from(fit_files))
    path = tmp_path / "FIT.json"
    at = ["--d1", "2B", "--d2", "2B", "--level", "0.9"]
    path.write_text(text)
    right = predicted(answer("predict", str(path), *at))
    record = json.loads(text)
    for _ in range(data.draw(st.integers(1, 3))):
        *outer, last = data.draw(st.sampled_from(places(record)))
        inner = record
        for key in outer:
            inner = inner[key]
        if data.draw(st.booleans()):
            inner[last] = data.draw(WILD)
        elif isinstance(inner[last], float):
            inner[last] *= data.draw(st.floats(-10, 10))
        else:
            del inner[last]
    changed = json.dumps(record)
    if data.draw(st.integers(0, 9)) == 0:
        changed = changed[: data.draw(st.integers(0, len(changed)))]
    path.write_text(changed)
    said = answer("predict", str(path), *at)
    if "error" not in said:
        assert predicted(said) == right


def predicted(said: str) -> str:
    """The predicted loss, without its interval, which also depends on the certificate and the covariance."""
    return said.partition(" nats per token")[0]
