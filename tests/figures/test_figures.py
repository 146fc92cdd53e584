"""Figures: the plotted numbers are the measured ones, nothing is clipped, and equal input gives equal files."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn_text import assert_apart, assert_inside, texts_of
from matplotlib.backends.backend_agg import FigureCanvasAgg
from results_tree import build, make_design

from twostage.analysis.cells import aggregate_cells, write_table
from twostage.analysis.method_fit import fit_method
from twostage.catalogue.lookup import FIGURES, TABLES
from twostage.figures import figure_1, figure_3
from twostage.figures.style import (
    d1_palette,
    d2_palette,
    format_tokens,
    new_figure,
    plain_log_axis,
    save_figure,
    seed_markers,
    token_axis,
)

ROOT = Path(__file__).parents[2]
DRAW = {"figure-1": figure_1.draw, "figure-3": figure_3.draw}
CASES = list(itertools.product(DRAW, ["four", "two"]))


def prepared(folder, **changes):
    design = make_design(**changes)
    cells = aggregate_cells(design, build(design, folder)).cells
    titles = {
        "cpt-code": "Continual pretraining on code (cpt-code)",
        "stack": "Model growth by stacking ×2 (stack)",
    }
    fits = {titles[m]: fit_method(cells, m, "33k", forms=["mul0"], delta=1e-3) for m in design.study.methods}
    return cells, fits


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("four"))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A 2 x 2 grid with two seeds: no curve can be fitted."""
    return prepared(tmp_path_factory.mktemp("two"), steps=(100, 200), seeds=[0, 1])


@pytest.mark.parametrize(("name", "which"), CASES)
def test_no_text_is_clipped(name, which, request):
    figure, _ = DRAW[name](*request.getfixturevalue(which))
    assert len(texts_of(figure)) > 20
    assert_inside(figure)


def test_long_titles_of_neighbouring_panels_stay_apart(four):
    cells, fits = four
    long = "Continual pretraining on source-code, 25% replay (cpt-source-code-replay)"
    fits = {f"{long} {i}": fit for i, fit in enumerate([*fits.values(), *fits.values()][:3])}
    figure, _ = figure_3.draw(cells, fits)
    assert_apart(texts_of(figure))


@pytest.mark.parametrize(("name", "which"), CASES)
def test_no_two_texts_overlap(name, which, request):
    figure, _ = DRAW[name](*request.getfixturevalue(which))
    assert_apart(texts_of(figure))


@pytest.mark.parametrize("name", DRAW)
@pytest.mark.parametrize("which", ["four", "two"])
def test_measured_numbers_are_the_cells(name, which, request):
    cells, fits = request.getfixturevalue(which)
    _, numbers = DRAW[name](cells, fits)
    drawn = numbers[numbers["kind"] == "measured"]
    keys = ["method", "d1_tokens", "d2_tokens", "seed"]
    expected = cells[cells["method"] != "scratch"].set_index(keys)["loss_nats"].sort_index()
    found = drawn.astype({"seed": "int64", "d1_tokens": "int64", "d2_tokens": "int64"}).set_index(keys)[
        "value"
    ]
    pd.testing.assert_series_equal(found.sort_index(), expected, check_names=False, check_exact=True)


def test_figure_1_shows_the_coefficients_of_the_fit_file(four):
    cells, fits = four
    _, numbers = figure_1.draw(cells, fits)
    for fit in fits.values():
        own = numbers[(numbers["method"] == fit.method) & (numbers["kind"] == "coefficient")].set_index(
            "panel"
        )
        curves = fit.curves["d2"].power_laws.curves
        exponents, factors = own.loc["exponent"], own.loc["factor"]
        assert exponents["value"].tolist() == [-c.alpha.value for c in curves]
        assert exponents["lower"].tolist() == [-c.alpha.interval.upper for c in curves]
        assert np.log(factors["value"]).tolist() == pytest.approx([c.log_factor.value for c in curves])
        assert (factors["lower"] < factors["value"]).all()
        assert (factors["value"] < factors["upper"]).all()


def test_figure_1_curves_pass_through_the_fit(four):
    cells, fits = four
    _, numbers = figure_1.draw(cells, fits)
    fit = next(iter(fits.values()))
    line = numbers[(numbers["method"] == fit.method) & (numbers["kind"] == "fit")]
    for d1, curve in line.groupby("d1_tokens"):
        expected = fit.curves["d2"].power_laws.predict(d1, curve["d2_tokens"].to_numpy())
        assert curve["value"].tolist() == pytest.approx(expected.tolist(), rel=1e-12)


def test_axes_have_units_and_d1_has_one_colour_everywhere(four):
    figure, _ = figure_1.draw(*four)
    left, middle, right = figure.subfigs[0].axes
    assert "nats/token" in left.get_ylabel()
    assert "nats/token" in right.get_ylabel()
    assert "tokens" in left.get_xlabel()
    assert "tokens" in middle.get_xlabel()
    colours = set(d1_palette(four[0]["d1_tokens"][four[0]["d1_tokens"] > 0]).values())
    for axes in (left, middle, right):
        used = {line.get_color() for line in axes.lines if isinstance(line.get_color(), tuple)}
        assert used == colours


def test_panels_with_too_few_cells_state_the_reason(two):
    figure, numbers = figure_1.draw(*two)
    texts = " ".join(text.replace("\n", " ") for text, _ in texts_of(figure))
    assert texts.count("not fitted: power laws with a floor need at least 3 token counts") == 4
    assert set(numbers["kind"]) == {"measured"}
    assert "seed 1" in texts


@pytest.mark.parametrize("name", DRAW)
def test_files_are_equal_for_equal_input(name, four, tmp_path):
    digests = []
    for folder in ("a", "b"):
        figure, numbers = DRAW[name](*four)
        save_figure(figure, tmp_path / folder / name, numbers)
        files = sorted((tmp_path / folder).iterdir())
        assert [file.suffix for file in files] == [".csv", ".pdf", ".png"]
        digests.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert digests[0] == digests[1]


def test_saved_numbers_keep_every_bit(four, tmp_path):
    figure, numbers = figure_3.draw(*four)
    save_figure(figure, tmp_path / "figure-3", numbers)
    again = pd.read_csv(tmp_path / "figure-3.csv")
    assert again["value"].tolist() == numbers["value"].tolist()


def test_png_is_sharp_enough_for_print(four, tmp_path):
    from PIL import Image

    figure, numbers = figure_3.draw(*four)
    save_figure(figure, tmp_path / "figure-3", numbers)
    with Image.open(tmp_path / "figure-3.png") as image:
        assert image.width >= 200 * 7


def test_pdf_text_is_text_not_outlines(four, tmp_path):
    figure, numbers = figure_3.draw(*four)
    save_figure(figure, tmp_path / "figure-3", numbers)
    pdf = (tmp_path / "figure-3.pdf").read_bytes()
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf


def test_a_figure_without_numbers_is_refused(tmp_path):
    figure, _ = new_figure(1, 1, height=1)
    with pytest.raises(ValueError, match="no numbers were plotted"):
        save_figure(figure, tmp_path / "empty", pd.DataFrame())
    assert list(tmp_path.iterdir()) == []


# Style ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"), [(563_200, "563k"), (1.1e6, "1.1M"), (18.4e9, "18.4B"), (1e12, "1T"), (999_999, "1M")]
)
def test_format_of_token_counts(value, text):
    assert format_tokens(value) == text


@pytest.mark.parametrize("palette", [d1_palette, d2_palette])
def test_colours_lighten_with_the_value_in_any_order(palette):
    values = [4e5, 1e5, 8e5, 2e5, 1e5]
    colours = palette(values)
    assert list(colours) == [1e5, 2e5, 4e5, 8e5]
    luminance = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in colours.values()]
    assert luminance == sorted(luminance)
    assert luminance[-1] < 0.85  # visible on white
    assert min(np.diff(luminance)) > 0.05
    assert len(palette([3e5])) == 1


def test_seeds_have_distinct_markers():
    assert len(set(seed_markers([5, 0, 1, 5]).values())) == 3


def test_crowded_token_axis_keeps_the_largest_label():
    figure, axes = new_figure(1, 1, height=2)
    token_axis(axes[0, 0], [1.13e6 * 2**k for k in range(12)])
    labels = [label.get_text() for label in axes[0, 0].get_xticklabels()]
    shown = [label for label in labels if label]
    assert labels[-1] == format_tokens(1.13e6 * 2**11)
    assert 2 <= len(shown) < 12
    assert sum(len(label) + 1 for label in shown) <= 26
    assert figure.axes[0].get_xscale() == "log"


@pytest.mark.parametrize(("low", "high"), [(20.0, 60.0), (1.0, 5e6)])
def test_plain_log_axis_has_readable_ticks(low, high):
    figure, axes = new_figure(1, 1, height=2)
    axes[0, 0].plot([1, 2], [low, high])
    plain_log_axis(axes[0, 0])
    FigureCanvasAgg(figure).draw()
    inside = [
        t.get_text()
        for t, at in zip(axes[0, 0].get_yticklabels(), axes[0, 0].get_yticks(), strict=True)
        if low <= at <= high
    ]
    assert len([text for text in inside if text]) >= 3


# Scripts -------------------------------------------------------------------------------------------------------------


def run_script(name, *args):
    command = [sys.executable, ROOT / "workflow/scripts" / name, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


STUDY = """
description: synthetic losses for tests
corpora:
  generic: {source: embedded, domain: generic}
  code: {source: embedded, domain: code}
tokenizer: {kind: bpe, vocab_size: 2048}
context: 128
models:
  33k: {n_layer: 2, d_model: 32, n_head: 2, batch_size: 8, warmup_steps: 50, peak_lr: 8e-3}
grid: {d1: {trunk_steps: [100, 200]}, d2: {trunk_steps: [100, 200]}}
stage1: {corpus: generic}
methods:
  cpt-code: {kind: cpt, corpus: code}
  stack: {kind: stack}
"""


def test_scripts_go_from_evaluations_to_files(tmp_path):
    study = tmp_path / "synthetic.yaml"
    study.write_text(STUDY)
    results = build(make_design(steps=(100, 200)), tmp_path / "results")
    cells = tmp_path / "out/cells.csv"
    aggregate = [
        "--study",
        study,
        "cells",
        "--results",
        results,
        "--cells",
        cells,
        "--base-cells",
        tmp_path / "out/base.csv",
    ]
    assert run_script("aggregate_cells.py", *aggregate).returncode == 0
    fits = [tmp_path / f"out/{method}.json" for method in ("cpt-code", "stack")]
    for fit in fits:
        words = [
            "--cells",
            cells,
            "--delta",
            "1e-3",
            "--out",
            fit,
            "method",
            fit.stem,
            "33k",
            "--forms",
            "mul",
        ]
        assert run_script("fit_law.py", *words, "mul0").returncode == 0
    for table in ("table-1", "table-7"):
        out = ["--out", *(tmp_path / f"out/{table}.{suffix}" for suffix in ("csv", "html"))]
        done = run_script("draw.py", TABLES[table].draw, "--study", study, "--reads", *fits, *out)
        assert done.returncode == 0, done.stderr
        assert pd.read_csv(tmp_path / f"out/{table}.csv")["method"].tolist() == ["cpt-code", "stack"]
    for figure in DRAW:
        out = ["--out", *(tmp_path / f"out/{figure}.{suffix}" for suffix in ("pdf", "png", "csv"))]
        done = run_script("draw.py", FIGURES[figure].draw, "--study", study, "--reads", cells, *fits, *out)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / f"out/{figure}.png").stat().st_size > 10_000


def test_script_reports_a_missing_evaluation_without_a_traceback(tmp_path):
    study = tmp_path / "synthetic.yaml"
    study.write_text(STUDY)
    design = make_design(steps=(100, 200))
    results = build(design, tmp_path / "results")
    (results / design.cells()[0].path).unlink()
    cells = tmp_path / "cells.csv"
    args = ["--study", study, "cells", "--results", results, "--cells", cells]
    done = run_script("aggregate_cells.py", *args)
    assert done.returncode == 2
    assert "1 of " in done.stderr
    assert "snakemake --profile profiles/local" in done.stderr
    assert "Traceback" not in done.stderr
    assert not cells.exists()


def test_fitting_an_unknown_method_is_one_clear_line(four, tmp_path):
    write_table(four[0], tmp_path / "cells.csv")
    args = ["--cells", tmp_path / "cells.csv", "--delta", "1e-3", "--out", tmp_path / "fit.json"]
    done = run_script("fit_law.py", *args, "method", "expand", "33k", "--forms", "mul")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no cells of method 'expand'")
    assert not (tmp_path / "fit.json").exists()
