"""The table of measured crossings: numbers are recomputed from the cells, and unknown numbers are empty."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from crossover_cells import D1, D2, N, mul, power, reuse_rows, scratch_rows, table, true_crossing
from results_tree import make_design

from twostage.analysis.cells import read_cells, write_table
from twostage.analysis.measured_crossover import CROSSES
from twostage.study import ExcludedCell
from twostage.tables.crossover import COLUMNS, crossover_table
from twostage.tables.table import render_html

ROOT = Path(__file__).parents[2]
SEEDS = (0, 1)


@pytest.fixture(scope="module")
def cells():
    """Stacking with seeds and a control; continual pretraining on code, with controls on another corpus only."""
    return table(
        reuse_rows(mul, seeds=SEEDS, noise=1e-3),
        scratch_rows(power, seeds=SEEDS, noise=1e-3),
        reuse_rows(mul, method="cpt-code"),
        scratch_rows(power, sizes={"33k": N}),
    )


@pytest.fixture(scope="module")
def made(cells):
    return crossover_table(cells, 1e-3)


def points_of(made):
    return made.numbers[made.numbers["kind"] == "point"]


def test_rows_are_all_pairs_the_summaries_and_methods_without_a_control(made):
    assert tuple(made.numbers.columns) == COLUMNS
    counts = made.numbers.groupby(["method", "kind"]).size().to_dict()
    assert counts == {
        ("stack", "point"): len(D1) * len(D2),
        ("stack", "summary"): len(D1),
        ("cpt-code", "none"): 1,
    }
    (missing,) = made.numbers.loc[made.numbers["kind"] == "none", "note"]
    assert "no model from scratch on 'code'" in missing
    assert any(missing in note and "cpt-code at 33k" in note for note in made.notes)


def test_differences_are_means_over_seeds(cells, made):
    mean = cells.groupby(["method", "model", "d1_tokens", "d2_tokens"])["loss_nats"].mean()
    for _, row in points_of(made).iterrows():
        reuse = mean["stack", "33k", row["d1_tokens"], row["d2_tokens"]]
        scratch = mean["scratch", "33k-2N", 0, row["d2_tokens"]]
        assert row["loss_nats"] == pytest.approx(reuse)
        assert row["difference_nats"] == pytest.approx(reuse - scratch)
        assert row["difference_se_nats"] == pytest.approx(row["noise_sd_nats"])  # sqrt(1/2 + 1/2)
        assert row["fit_difference_nats"] == pytest.approx(row["difference_nats"], abs=6e-3)
        assert (row["n_seeds"], row["scratch_n_seeds"]) == (2, 2)


def test_tokens_saved_are_those_of_the_measured_curve(made):
    """From scratch, L = 105 D^-0.29 + 2.1 is inverted exactly; the table interpolates between powers of two."""
    for _, row in points_of(made).iterrows():
        exact = ((row["loss_nats"] - 2.1) / 105) ** (-1 / 0.29)
        if row["scratch_tokens_range"] == "":
            assert row["scratch_tokens"] == pytest.approx(exact, rel=0.04)
            assert row["saved_tokens"] == row["scratch_tokens"] - row["d2_tokens"]
        else:
            assert pd.isna(row["scratch_tokens"])
            assert pd.isna(row["saved_tokens"])
            assert (exact > D2[-1]) == (row["scratch_tokens_range"] == "beyond")
    assert set(points_of(made)["scratch_tokens_range"]) == {""}


def test_nothing_is_extrapolated_beyond_the_measurements():
    cells = table(reuse_rows(lambda a, b: power(b) * (0.6 if b > 1e6 else 2)), scratch_rows(power))
    points = points_of(crossover_table(cells, 1e-3))
    places = points.groupby("d2_tokens")["scratch_tokens_range"].first().to_dict()
    assert places == dict.fromkeys(D2[:3], "below") | dict.fromkeys(D2[3:], "beyond")
    assert points["scratch_tokens"].isna().all()


def test_the_cost_of_the_base_is_compared_only_within_the_measured_range(made):
    points = points_of(made)
    total = points["d1_tokens"] + points["d2_tokens"]
    assert points["beats_d1_plus_d2"].notna().tolist() == (total <= D2[-1]).tolist()
    known = points[total <= D2[-1]]
    assert len(known) > 3
    assert known["d1_plus_d2_scratch_loss_nats"].to_numpy() == pytest.approx(
        power(total[total <= D2[-1]].to_numpy()), abs=0.03
    )
    gap = known["loss_nats"] - known["d1_plus_d2_scratch_loss_nats"]
    assert known["d1_plus_d2_difference_nats"].to_numpy() == pytest.approx(gap.to_numpy())
    assert known["beats_d1_plus_d2"].tolist() == (gap < 0).tolist()
    assert (known["d1_plus_d2_difference_se_nats"] <= known["noise_sd_nats"] + 1e-12).all()


def test_a_base_model_that_pays_off():
    cells = table(reuse_rows(lambda a, b: power(a + b) - 0.05), scratch_rows(power))
    made = crossover_table(cells, 1e-3)
    known = points_of(made)["beats_d1_plus_d2"].dropna()
    assert len(known) > 3
    assert known.all()
    first = made.shown.iloc[0]
    assert first["beats D₁ + D₂"] == "4 of 4"
    assert first["scratch better from D₂"] == "reuse better at every measured D2"


def test_measured_and_fitted_crossings_are_in_one_row(made):
    rows = made.numbers[made.numbers["kind"] == "summary"].set_index("d1_tokens")
    for d1 in D1:
        row, truth = rows.loc[d1], true_crossing(d1)
        assert row["outcome"] == CROSSES
        assert row["from_d2_tokens"] == pytest.approx(truth, rel=0.07)
        assert row["from_d2_lower"] < row["from_d2_tokens"] < row["from_d2_upper"]
        assert row["no_crossing_probability"] == pytest.approx(0)
        assert row["fit_from_d2_tokens"] == pytest.approx(truth, rel=0.03)
        assert row["fit_outcome"] == "laws: within the measured D2"
        assert row["d2_tokens"] == D2[-1]  # a summary repeats the numbers at the largest D2
    assert made.shown["scratch better from D₂"].str.match(r"[\d.]+[KM] \[[\d.]+[KM], [\d.]+[KM]\]$").all()


def test_one_seed_and_too_few_cells_are_noted():
    made = crossover_table(table(reuse_rows(mul, d2=D2[:1]), scratch_rows(power)), 1e-3)
    rows = made.numbers[made.numbers["kind"] == "summary"]
    assert set(rows["note"]) == {"one seed everywhere: noise and intervals are not known"}
    assert rows[["difference_se_nats", "from_d2_lower", "no_crossing_probability"]].isna().all(axis=None)
    assert set(rows["outcome"]) == {"fewer than two D2 in common"}
    assert set(made.shown["scratch better from D₂, laws"]) == {"not fitted"}
    assert any("Laws not fitted: form 'mul'" in note for note in made.notes)


def test_a_method_without_any_common_d2_has_a_summary():
    made = crossover_table(table(reuse_rows(mul, d2=[300_000, 600_000]), scratch_rows(power)), 1e-3)
    assert set(made.numbers["kind"]) == {"summary"}
    assert made.numbers["difference_nats"].isna().all()
    assert set(made.shown["measured D₂"]) == {"–"}


def test_open_ends_of_an_interval_are_shown():
    cells = table(
        reuse_rows(lambda a, b: power(b) + 0.01 * np.log(b / 2.5e6), seeds=SEEDS, noise=0.02),
        scratch_rows(power, seeds=SEEDS, noise=0.02),
    )
    made = crossover_table(cells, 1e-3)
    assert made.shown["scratch better from D₂"].str.contains("> 3.2M").any()
    assert np.isinf(made.numbers["from_d2_upper"]).any()


def test_excluded_cells_are_named_under_the_table(cells):
    entry = ExcludedCell(cell="stage1/generic/x.json", reason="a broken disk")
    page = render_html(crossover_table(cells, 1e-3, [entry]))
    assert "a broken disk" in page
    assert "33k-2N" in page


def test_the_script_writes_both_files(cells, tmp_path, monkeypatch):
    fields = make_design().study.model_dump(mode="json", exclude_defaults=True)
    del fields["name"]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(fields))
    write_table(cells, tmp_path / "cells.csv")
    out = {kind: tmp_path / f"out/crossover.{kind}" for kind in ("csv", "html")}
    given = {"cells": tmp_path / "cells.csv", "study": tmp_path / "mine.yaml", **out}
    arguments = [str(text) for key, path in given.items() for text in (f"--{key}", path)]
    monkeypatch.setattr(sys, "argv", ["measure_crossover", *arguments])
    runpy.run_path(str(ROOT / "workflow/scripts/measure_crossover.py"), run_name="__main__")
    expected = crossover_table(read_cells(tmp_path / "cells.csv"), 1e-3)
    write_table(expected.numbers, tmp_path / "expected.csv")
    assert out["csv"].read_bytes() == (tmp_path / "expected.csv").read_bytes()
    assert out["html"].read_text() == render_html(expected)
