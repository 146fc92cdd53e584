"""The losses that others measured, as package data: the numbers are those of their source, and the laws read them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path

import pytest

from twostage.catalogue.imported_tables import COLUMNS
from twostage.cli import main
from twostage.measured.bundled import FOLDER, data_set, data_sets

#: Columns of the table that each data set was made from, in its order -> columns here. A digest compares them to the byte.
ORIGINS = {
    "upcycling": {
        "method": "method",
        "model": "model",
        "n_base": "n_base",
        "n_active": "n_active",
        "n_total": "n_final",
        "d1_tokens": "d1_tokens",
        "d2_tokens": "d2_tokens",
        "loss_nats": "loss_nats",
    },
    "marin": {
        "scale_flops": "scale_flops",
        "n_params": "n_base",
        "d1_tokens": "d1_tokens",
        "d2_tokens": "d2_tokens",
        "budget": "budget",
        "mix": "mix",
        "lr_factor": "lr_factor",
        "target": "valid_corpus",
        "loss_nats": "loss_nats",
    },
}


def rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data_set(name).text)))


@pytest.mark.parametrize("name", ORIGINS)
def test_the_numbers_are_those_of_the_source(name: str) -> None:
    lines = [",".join(ORIGINS[name])]
    lines += [",".join(row[column] for column in ORIGINS[name].values()) for row in rows(name)]
    digest = hashlib.sha256(("\n".join(lines) + "\n").encode()).hexdigest()
    assert digest == data_set(name).origin_sha256


def test_every_table_has_its_source_and_every_column_its_meaning() -> None:
    assert set(data_sets()) == {path.stem for path in FOLDER.glob("*.csv")} == set(ORIGINS)
    for name, data in data_sets().items():
        header = data.text.splitlines()[0].split(",")
        assert header == list(data.columns)
        assert set(COLUMNS["cells"]) <= set(header)
        for field in (data.title, data.origin, data.licence, data.citation, data.changes):
            assert field.strip(), name


@pytest.mark.parametrize("name", ORIGINS)
def test_no_cell_is_given_twice(name: str) -> None:
    keys = ("method", "model", "seed", "d1_tokens", "d2_tokens", "valid_corpus")
    cells = [tuple(row[key] for key in keys) for row in rows(name)]
    assert len(set(cells)) == len(cells)


def test_the_command_lists_describes_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name}: {data.title}" in listed for name, data in data_sets().items())
    assert main(["data", "marin", "--sources"]) == 0
    assert "Apache-2.0" in (described := capsys.readouterr().out)
    assert "lr_factor:" in described
    assert main(["data", "marin"]) == 0
    assert capsys.readouterr().out == data_set("marin").text
    assert main(["data", "upcycling", "--out", str(tmp_path / "cells.csv")]) == 0
    assert "479 rows" in capsys.readouterr().out
    assert (tmp_path / "cells.csv").read_text() == data_set("upcycling").text


@pytest.mark.parametrize(
    ("words", "told"), [(["nothing"], ["'nothing'", "upcycling, marin"]), (["--sources"], ["NAME", "marin"])]
)
def test_a_wrong_name_is_answered_with_the_names(
    words: list[str], told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", *words]) == 2
    message = capsys.readouterr().err
    assert all(word in message for word in told)


# alpha3 of Eq. 2 and Eq. 7, from an independent fit of the same tables; all intervals excluded 0.
@pytest.mark.parametrize(
    ("name", "form", "where", "alpha3"),
    [
        ("upcycling", "mul", ["method=upcycle-8x-top2", "model=15M"], 0.0129),
        ("upcycling", "mul", ["method=upcycle-8x-top2", "model=0.1B"], 0.0075),
        ("upcycling", "mul", ["method=upcycle-8x-top2", "model=1B"], 0.0077),
        ("upcycling", "joint", ["method=upcycle-8x-top2"], 0.0011),
        ("marin", "joint", ["valid_corpus=clean_seen"], 0.0093),
    ],
)
def test_fit_reads_the_tables(
    name: str,
    form: str,
    where: list[str],
    alpha3: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["fit", str(data_set(name).path), "--form", form, "--json", "--where", *where]
    assert main(words) == 0
    fit = json.loads(capsys.readouterr().out)
    assert fit["coefficients"]["alpha3"] == pytest.approx(alpha3, abs=6e-5)
    interval = fit["intervals"]["alpha3"]
    assert 0 < interval["lower"] < fit["coefficients"]["alpha3"] < interval["upper"]


def test_marins_two_held_out_sets_are_not_mixed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", str(data_set("marin").path), "--form", "joint"]) == 2
    assert "--where valid_corpus=" in capsys.readouterr().err
