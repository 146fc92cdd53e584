"""Uncertainty of alpha3: coverage of the intervals, noise shared within seeds, and reasons for gaps."""

from __future__ import annotations

import io
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from results_tree import mul_loss

from twostage.analysis.alpha3 import alpha3_of
from twostage.analysis.cells import method_cells, read_cells, table_csv, write_table
from twostage.analysis.method_fit import LawFit, MethodFit, points_of
from twostage.common.errors import UserError
from twostage.laws.fit import fit_law
from twostage.laws.selection import leave_one_out, noise_floor
from twostage.laws.uncertainty import profile_intervals
from twostage.study import ExcludedCell
from twostage.tables.alpha3 import alpha3_table
from twostage.tables.table import render_html

ROOT = Path(__file__).parents[2]
TRUTH = {"A": 60.0, "alpha1": 0.25, "alpha2": 0.32, "alpha3": 0.012, "E": 2.0}
TOKENS = 1e5 * 2.0 ** np.arange(5)


def simulate(number=0, seeds=(0, 1, 2), noise=1e-3, of_seed=0.0, method="stack", tokens=TOKENS):
    """Rows of a `cells.csv`; `noise`: standard deviation of ln L, `of_seed`: of alpha3 between seeds.

    A seed's alpha3 is varied at the centre of the grid, so alpha1 and alpha2 change with it, as in fits.
    """
    rng = np.random.default_rng(number)
    rows = []
    for seed in seeds:
        own = of_seed * rng.standard_normal()
        for d1 in tokens:
            for d2 in tokens:
                tilt = np.exp(own * np.log(d1 / tokens.mean()) * np.log(d2 / tokens.mean()))
                loss = ((mul_loss(d1, d2, TRUTH) - TRUTH["E"]) * tilt + TRUTH["E"]) * np.exp(
                    noise * rng.standard_normal()
                )
                rows.append(
                    {"seed": seed, "d1_tokens": int(d1), "d2_tokens": int(d2), "loss_nats": float(loss)}
                )
    fixed = {"method": method, "model": "33k", "n_base": 33000, "n_final": 66000, "valid_corpus": "generic"}
    return pd.DataFrame(rows).assign(**fixed, excluded="")


def fitted(cells, form="mul"):
    """A fit file with one law and without curves, which would take seconds."""
    (method,) = cells["method"].unique()
    points = points_of(method_cells(cells, method, "33k"))
    try:
        fit = fit_law(points, form)
        many = len(points) > len(fit.coefficients)
        fit = fit.with_intervals(profile_intervals(points, fit)) if many else fit
        law = LawFit(form, fit, 0.0, leave_one_out(points, form).rms_nats if many else None)
    except ValueError as error:
        law = LawFit(form, None, None, None, str(error))
    seeds = tuple(np.unique(points.seed).tolist())
    repeated = len(points) > np.unique(points.cell).size
    noise = noise_floor(points) if repeated else None
    n_cells = int(np.unique(points.cell).size)
    return MethodFit(method, "33k", 33000, 66000, n_cells, seeds, "generic", {form: law}, {}, {}, noise)


def found(cells, draws=200):
    return alpha3_of(cells, fitted(cells), draws)


def row(cells, draws=200):
    return alpha3_table(cells, [fitted(cells)], draws=draws).numbers.iloc[0]


def test_a_row_has_the_results_of_the_laws():
    cells = simulate()
    fit, points = fitted(cells), points_of(cells)
    one = row(cells)
    law = fit.laws["mul"]
    assert (one["n_cells"], one["n_seeds"], one["n_points"]) == (25, 3, 75)
    assert (one["points_n"], one["trunks_n"], one["seeds_n"], one["seed_fits_n"]) == (75, 15, 3, 3)
    assert one["alpha3"] == law.fit.coefficients["alpha3"]
    interval = law.fit.intervals["alpha3"]
    assert (one["profile_lower"], one["profile_upper"]) == (interval.lower, interval.upper)
    assert (one["loo_rms_nats"], one["noise_sd_nats"]) == (law.loo_rms_nats, fit.noise.sd_nats)
    assert one["noise_of_mean_nats"] == pytest.approx(fit.noise.sd_nats / np.sqrt(3))
    alone = [fit_law(points.subset(points.seed == s), "mul").coefficients["alpha3"] for s in range(3)]
    assert [one[f"alpha3_seed_{s}"] for s in range(3)] == alone
    assert one["seed_mean"] == pytest.approx(np.mean(alone))
    half = 4.302653 * np.std(alone, ddof=1) / np.sqrt(3)  # t(0.975, 2)
    assert (one["seed_mean_upper"] - one["seed_mean_lower"]) / 2 == pytest.approx(half, rel=1e-6)
    # a draw with one seed three times equals that seed alone
    assert min(alone) * 0.999 <= one["seeds_lower"] <= one["seeds_upper"] <= max(alone) * 1.001
    assert one["note"] == ""
    assert one["points_positive"] == 1.0


def test_equal_cells_give_equal_tables():
    cells = simulate()
    first, second = (alpha3_table(cells, [fitted(cells)], draws=50) for _ in range(2))
    assert table_csv(first.numbers) == table_csv(second.numbers)
    assert render_html(first) == render_html(second)


@pytest.mark.slow
def test_intervals_have_their_nominal_coverage():
    """Independent noise, 100 simulations. The range of three seeds covers the true value in 3 of 4 cases (1 - 2 / 2^3)."""
    hits = dict.fromkeys(("profile", "points", "trunks", "seeds", "seed_mean"), 0)
    for number in range(100):
        one = row(simulate(number))
        for name in hits:
            hits[name] += one[f"{name}_lower"] <= TRUTH["alpha3"] <= one[f"{name}_upper"]
    assert hits["profile"] >= 89
    assert hits["points"] >= 85  # percentile intervals are slightly too narrow
    assert hits["trunks"] >= 80
    assert hits["seed_mean"] >= 89
    assert 60 <= hits["seeds"] <= 88


def test_resampling_seeds_includes_the_noise_shared_within_a_seed():
    """Each of four seeds has a different alpha3, so intervals for independent points are far too narrow."""
    width = dict.fromkeys(("profile", "points", "seeds", "seed_mean"), 0.0)
    hits = dict.fromkeys(width, 0)
    for number in range(8):
        one = row(simulate(number, noise=1e-5, of_seed=3e-4, seeds=(0, 1, 2, 3)), draws=100)
        for name in width:
            width[name] += one[f"{name}_upper"] - one[f"{name}_lower"]
            hits[name] += one[f"{name}_lower"] <= TRUTH["alpha3"] <= one[f"{name}_upper"]
    assert width["seeds"] > 1.5 * width["points"]
    assert width["seed_mean"] > 1.5 * width["seeds"]
    assert hits["seed_mean"] >= 7
    assert max(hits["profile"], hits["points"]) <= 5


def test_with_one_seed_the_gaps_have_reasons():
    one = row(simulate(seeds=(7,)))
    assert one["points_lower"] < one["alpha3"] < one["points_upper"]
    assert one["trunks_n"] == 5
    assert one["trunks_lower"] < one["trunks_upper"]
    for name in (
        "seeds_lower",
        "seeds_upper",
        "seeds_positive",
        "seed_mean",
        "seed_mean_lower",
        "noise_sd_nats",
    ):
        assert pd.isna(one[name]), name
    assert pd.isna(one["noise_of_mean_nats"])
    assert one["alpha3_seed_7"] == pytest.approx(one["alpha3"])
    for words in ("seeds resampled: one seed", "no mean over seeds of fewer than two fits", "no noise"):
        assert words in one["note"]


def test_seeds_that_lack_cells_are_not_resampled_but_fitted_where_they_can_be():
    """Seeds 0 and 1 have all cells, seed 2 has 3 x 3, seed 3 has one D1, as with `repeats` of a study."""
    cells = simulate(seeds=(0, 1, 2, 3))
    corner = (cells["d1_tokens"] <= TOKENS[2]) & (cells["d2_tokens"] <= TOKENS[2])
    edge = cells["d1_tokens"] == TOKENS[0]
    cells = cells[(cells["seed"] < 2) | ((cells["seed"] == 2) & corner) | ((cells["seed"] == 3) & edge)]
    one = row(cells.reset_index(drop=True))
    assert (one["n_points"], one["n_seeds"], one["seeds_n"], one["seed_fits_n"]) == (64, 4, 2, 3)
    assert "seeds resampled: without seeds 2, 3, which lack cells" in one["note"]
    assert "seed 3 alone: too few cells" in one["note"]
    assert "different cells" in one["note"]
    assert "alpha3_seed_3" not in one.index
    complete = [one[f"alpha3_seed_{seed}"] for seed in (0, 1)]
    assert min(complete) * 0.999 <= one["seeds_lower"] < one["seeds_upper"] <= max(complete) * 1.001
    # cells with two, three and four seeds: 25 - 9 - 2, 6 + 2, 3
    expected = one["noise_sd_nats"] * np.sqrt((14 / 2 + 8 / 3 + 3 / 4) / 25)
    assert one["noise_of_mean_nats"] == pytest.approx(expected)


def test_one_complete_seed_cannot_be_resampled():
    cells = simulate(seeds=(0, 1))
    cells = cells[(cells["seed"] == 0) | (cells["d1_tokens"] < TOKENS[4])].reset_index(drop=True)
    one = row(cells)
    assert pd.isna(one["seeds_lower"])
    assert "fewer than two seeds have all cells" in one["note"]


def test_excluded_cells_are_left_out():
    cells = simulate()
    cells.loc[0, "excluded"] = "bad node"
    excluded = [ExcludedCell(cell="stage2/somewhere.json", reason="bad node")]
    table = alpha3_table(cells, [fitted(cells)], excluded, draws=20)
    assert table.numbers.loc[0, "n_points"] == 74
    assert "without seed 0, which lacks cells" in table.numbers.loc[0, "note"]
    assert any("bad node" in note for note in table.notes)


@pytest.mark.parametrize(
    ("tokens", "d1_kept", "words"),
    [
        (TOKENS[:2], 2, ["only 4 points"]),
        (TOKENS[:3], 2, ["2 trunks are too few"]),
    ],
    ids=["2 x 2", "2 x 3"],
)
def test_small_grids_have_gaps_with_reasons(tokens, d1_kept, words):
    cells = simulate(seeds=(0,), tokens=tokens)
    cells = cells[cells["d1_tokens"] <= tokens[d1_kept - 1]].reset_index(drop=True)
    one = row(cells)
    assert pd.isna(one["trunks_lower"])
    for word in words:
        assert word in one["note"]


def test_draws_that_determine_nothing_are_left_out_and_counted():
    """Three first stages: one draw in nine has a single D1, and its refit would not move from its start."""
    cells = simulate(seeds=(0,), tokens=TOKENS[:3])
    trunks = found(cells, draws=900).bootstraps["trunks"]
    left_out = int(trunks.note.split(" of 900 draws left out")[0])
    assert left_out == pytest.approx(100, abs=40)
    assert trunks.lower < trunks.upper


def test_as_many_cells_as_coefficients_give_no_interval():
    cells = simulate(seeds=(0,), tokens=TOKENS[:3])
    kept = [(0, 0), (0, 2), (1, 1), (2, 0), (2, 2)]
    wanted = {(int(TOKENS[i]), int(TOKENS[j])) for i, j in kept}
    chosen = [pair in wanted for pair in zip(cells["d1_tokens"], cells["d2_tokens"], strict=True)]
    one = row(cells[chosen].reset_index(drop=True))
    assert pd.notna(one["alpha3"])
    for name in ("profile_lower", "points_lower", "trunks_lower", "loo_rms_nats"):
        assert pd.isna(one[name]), name
    assert "as many coefficients as cells" in one["note"]
    assert "no profile" in one["note"]


def test_a_study_without_the_form_has_a_row_with_the_reason():
    cells = simulate()
    table = alpha3_table(cells, [fitted(cells, "mul0")], draws=20)
    assert pd.isna(table.numbers.loc[0, "alpha3"])
    assert "laws.forms has no mul" in table.numbers.loc[0, "note"]
    assert "–" in render_html(table)


def test_a_fit_of_other_cells_is_refused():
    cells = simulate()
    with pytest.raises(
        UserError, match=r"fits/stack/33k\.json: fitted to 75 points.*have 74.*snakemake .*-f"
    ):
        alpha3_of(cells.iloc[1:], fitted(cells))


def test_rows_of_different_seeds_share_a_table():
    first, second = simulate(seeds=(0, 10)), simulate(seeds=(2,), method="cpt-code")
    cells = pd.concat([first, second], ignore_index=True)
    table = alpha3_table(cells, [fitted(first), fitted(second)], draws=20)
    own = [name for name in table.numbers if name.startswith("alpha3_seed_")]
    assert own == ["alpha3_seed_0", "alpha3_seed_2", "alpha3_seed_10"]
    again = pd.read_csv(io.StringIO(table_csv(table.numbers)))
    assert (
        table_csv(table.numbers).splitlines()[2].split(",")[6] == "25"
    )  # counts remain integers in a column with gaps
    assert again["alpha3_seed_2"].isna().tolist() == [True, False]
    assert list(table.shown["seeds"]) == ["2", "1"]


def test_the_script_writes_numbers_and_page(tmp_path, monkeypatch):
    cells = simulate(seeds=(0,))
    write_table(cells, tmp_path / "cells.csv")
    (tmp_path / "fit.json").write_text(fitted(read_cells(tmp_path / "cells.csv")).to_json())
    script = ROOT / "workflow/scripts/draw.py"
    words = [script, "twostage.tables.alpha3:make_alpha3", "--study", ROOT / "tests/studies/tiny.yaml"]
    words += ["--reads", tmp_path / "cells.csv", tmp_path / "fit.json"]
    words += ["--out", tmp_path / "a.csv", tmp_path / "a.html"]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    runpy.run_path(str(script), run_name="__main__")
    (written,) = pd.read_csv(tmp_path / "a.csv").itertuples()
    assert written.alpha3 == pytest.approx(fitted(cells).laws["mul"].fit.coefficients["alpha3"])
    assert written.points_lower < written.alpha3 < written.points_upper
    page = (tmp_path / "a.html").read_text()
    assert f"<td>{written.alpha3:.4f}</td>" in page
    assert "2000 refits" in page
