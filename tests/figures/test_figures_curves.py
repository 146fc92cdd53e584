"""Figures 5, 6, 7, 8 and gradient norms: the plotted numbers are those of the tables, and no text is clipped."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn_text import assert_apart, assert_inside, texts_of
from results_tree import build, make_design, synthetic_curves

from twostage.analysis.cells import aggregate_cells, write_table
from twostage.analysis.method_fit import fit_method
from twostage.analysis.sources import Sources
from twostage.catalogue.lookup import wanted_branches
from twostage.catalogue.shown_methods import fit_path, other_pairs
from twostage.common.errors import UserError
from twostage.figures import figure_3, figure_5, figures_6_7, gradient_norm
from twostage.figures.figures_6_7 import data_label, rate_label
from twostage.figures.gradient_norm import interval_means
from twostage.figures.style import save_figure
from twostage.study import load_study

ROOT = Path(__file__).resolve().parents[2]

LOW = {"schedule": "constant", "peak_lr_fraction": 0.1, "d1_steps": [200], "d2_steps": [200]}
LAST = {"d1_steps": [200], "d2_steps": [200]}
METHODS = {
    "cpt-code": {"kind": "cpt", "corpus": "code"},
    "stack": {"kind": "stack"},
    "expand": {"kind": "expand"},
    "cpt-code-low": {"kind": "cpt", "corpus": "code", **LOW},
    "stack-low": {"kind": "stack", **LOW},
    "stack-short": {"kind": "stack", "warmup_steps": 10, **LAST},
    "stack-fresh": {"kind": "stack", "data": "fresh", **LAST},
}
DRAW = {
    "figure-5": figure_5.draw_study,
    "figure-6": figures_6_7.draw_figure_6,
    "figure-7": figures_6_7.draw_figure_7,
    "gradient-norm": gradient_norm.draw_study,
}


@pytest.fixture(scope="module", params=[(0,), (0, 1)], ids=["one seed", "two seeds"])
def drawn(request, tmp_path_factory):
    """Study, sources and tables of a study with all ablations."""
    folder = tmp_path_factory.mktemp("curves")
    design = make_design(
        steps=(100, 200),
        methods=METHODS,
        seeds=list(request.param),
        validation={"every_steps": 10, "samples": 64},
        ablations={"schedule": {"model": "33k", "total_steps": 200}},
    )
    write_table(aggregate_cells(design, build(design, folder)).cells, folder / "cells.csv")
    curves = synthetic_curves(design, wanted_branches(design))
    write_table(curves, folder / "curves.csv")
    return design, Sources([folder / "cells.csv", folder / "curves.csv"])


@pytest.fixture(scope="module")
def figures(drawn):
    design, sources = drawn
    return {name: draw(design.study, sources) for name, draw in DRAW.items()}


@pytest.mark.parametrize("name", DRAW)
def test_no_text_is_clipped_and_none_overlaps(name, figures):
    figure, _ = figures[name]
    texts = texts_of(figure)
    assert len(texts) > 15
    assert_inside(figure)
    assert_apart(texts)


@pytest.mark.parametrize(
    ("name", "arms"),
    [
        ("figure-5", {"scratch-wsd", "scratch-cosine"}),
        ("figure-6", {"stack", "stack-fresh"}),
        ("figure-7", {"cpt-code", "cpt-code-low", "stack", "stack-low", "stack-short"}),
    ],
)
def test_curves_and_final_losses_are_those_of_the_tables(name, arms, drawn, figures):
    design, sources = drawn
    numbers = figures[name][1]
    assert set(numbers["method"]) == arms
    curves, cells = sources.curves(), sources.cells()
    keys = ["method", "model", "seed", "d1_tokens", "d2_tokens"]
    runs = numbers[keys].drop_duplicates()
    for kind, table, column in (("curve", curves, "valid_loss_nats"), ("final", cells, "loss_nats")):
        expected = runs.merge(table, on=keys)[column].dropna()
        plotted = numbers.loc[numbers["kind"] == kind, "value"]
        assert sorted(plotted) == sorted(expected)
    seeds = 1 if name == "figure-5" else len(design.study.seeds)
    assert (numbers[numbers["kind"] == "final"].groupby("method").size() == seeds).all()
    rates = numbers[numbers["kind"] == "rate"].groupby("method")["value"].max()
    assert rates.filter(regex="low$").tolist() == [8e-4] * rates.index.str.endswith("low").sum()


def test_final_losses_are_in_the_legend(drawn, figures):
    _, sources = drawn
    texts = " ".join(text.replace("\n", " ") for text, _ in texts_of(figures["figure-6"][0]))
    cells = sources.cells()
    own = cells[(cells["method"] == "stack-fresh")]["loss_nats"]
    assert f"fresh data: {own.mean():.4f}" in texts.replace("\xa0", " ")
    assert ("half range of 2 seeds" in texts) == (len(own) == 2)


def test_arms_are_named_by_what_differs(drawn):
    study = drawn[0].study
    assert rate_label(study, "stack-low") == "constant at 0.1 × the peak"
    assert rate_label(study, "stack-short") == "WSD, warmup 10 steps"
    assert rate_label(study, "stack") == "WSD"
    assert data_label(study, "stack") == "the base model's data again"


def test_gradient_norms_are_those_of_the_tables(drawn, figures):
    design, sources = drawn
    numbers = figures["gradient-norm"][1]
    cells = sources.cells()
    means = numbers[numbers["panel"] == "mean"]
    assert len(means) == 2 * 4 * len(design.study.seeds)
    keys = ["method", "model", "seed", "d1_tokens", "d2_tokens"]
    joined = means.astype({"seed": int}).merge(cells, on=keys)
    assert len(joined) == len(means)
    assert joined["value"].tolist() == joined["grad_norm_mean"].tolist()
    paths = numbers[numbers["panel"] == "trajectory"]
    assert set(paths["d1_tokens"]) == set(means["d1_tokens"])
    assert set(paths["d2_tokens"]) == {means["d2_tokens"].max()}
    assert set(paths["seed"]) == {0}


def test_gradient_norms_without_curves_are_the_means_alone(drawn, figures):
    design, sources = drawn
    figure, numbers = gradient_norm.draw_study(design.study, Sources(sources.files[:1]))
    assert set(numbers["panel"]) == {"mean"}
    both = figures["gradient-norm"][1]
    assert numbers["value"].tolist() == both.loc[both["panel"] == "mean", "value"].tolist()
    assert all(len(part.axes) == 1 for part in figure.subfigs[:-1])


def test_legends_of_many_token_counts_and_seeds_stay_apart():
    """Five D1, five D2 and three seeds, as in the archived losses of this repository."""
    study = load_study(ROOT / "config/mini-reference.yaml")
    tables = ROOT / "results/reference/mini/tables"
    figure, numbers = gradient_norm.draw_study(study, Sources([tables / "cells.csv", tables / "curves.csv"]))
    assert (numbers["d1_tokens"].nunique(), numbers["d2_tokens"].nunique(), numbers["seed"].nunique()) == (
        5,
        5,
        3,
    )
    assert_inside(figure)
    assert_apart(texts_of(figure))
    titles = [axes.get_title(loc="right") for part in figure.subfigs for axes in part.axes]
    assert sum(bool(re.fullmatch(r"per doubling of \$D_1\$: ×1\.\d+ \[.*\]", title)) for title in titles) == 2


def test_intervals_average_every_step_once():
    tokens, norms = np.arange(1, 1001.0), np.linspace(3, 1, 1000)
    middles, means = interval_means(tokens, norms)
    assert len(middles) == 60
    # The norms decrease linearly, so every mean is on the line if each step is counted once.
    assert means == pytest.approx(3 - 2 * (middles - 1) / 999)
    assert (middles[0], middles[-1]) == pytest.approx((8.5, 992), abs=0.6)
    assert np.diff(middles) == pytest.approx(1000 / 60, abs=1)
    few = interval_means(np.array([30.0, 10.0, 20.0]), np.array([3.0, 1.0, 2.0]))
    assert [part.tolist() for part in few] == [[10.0, 20.0, 30.0], [1.0, 2.0, 3.0]]


def test_figure_8_is_figure_3_of_the_other_methods(drawn, tmp_path):
    design, sources = drawn
    study, cells = design.study, sources.cells()
    assert other_pairs(study) == [("expand", "33k")]
    paths = []
    for relative in [fit_path(*pair) for pair in other_pairs(study)]:
        fit = fit_method(cells, "expand", "33k", forms=["mul0"], delta=1e-3)
        (tmp_path / relative).parent.mkdir(parents=True)
        (tmp_path / relative).write_text(fit.to_json())
        paths.append(tmp_path / relative)
    _, numbers = figure_3.draw_study(study, Sources([sources.files[0], *paths]))
    own = cells[cells["method"] == "expand"]
    assert sorted(numbers.loc[numbers["kind"] == "measured", "value"]) == sorted(own["loss_nats"])


def test_equal_input_gives_equal_files(drawn, tmp_path):
    """The layout solver of nested panels is not deterministic: the last digits of a PDF's coordinates may differ."""
    design, sources = drawn
    files = []
    for folder in ("a", "b"):
        save_figure(*draw_two(design, sources, tmp_path / folder))
        files.append({path.suffix: path.read_bytes() for path in (tmp_path / folder).iterdir()})
    assert set(files[0]) == {".csv", ".pdf", ".png"}
    for suffix in (".csv", ".png"):
        assert files[0][suffix] == files[1][suffix]
    one, other = (pdf_numbers(found[".pdf"]) for found in files)
    assert one == pytest.approx(other, abs=1e-4)


def pdf_numbers(content: bytes) -> list[float]:
    """Return all numbers on a PDF's page, in order."""
    [page] = re.findall(rb"/Contents (\d+) 0 R", content)
    stream = re.search(rb"\n" + page + rb" 0 obj\n.*?stream\n(.*?)\nendstream", content, flags=re.DOTALL)
    assert stream is not None
    return [float(text) for text in re.findall(rb"-?\d+\.?\d*", zlib.decompress(stream[1]))]


def draw_two(design, sources, folder):
    figure, numbers = figures_6_7.draw_figure_7(design.study, sources)
    return figure, folder / "figure-7", numbers


@pytest.mark.parametrize(
    ("figure", "kept", "words"),
    [
        (
            "figure-6",
            lambda curves: curves[curves["method"] != "stack-fresh"],
            ["stack-fresh", "no validation losses"],
        ),
        (
            "figure-5",
            lambda curves: curves.assign(valid_loss_nats=np.nan),
            ["scratch-wsd", "no validation losses"],
        ),
    ],
)
def test_missing_curves_are_named(figure, kept, words, drawn, tmp_path):
    design, sources = drawn
    kept(sources.curves()).to_csv(tmp_path / "curves.csv", index=False)
    with pytest.raises(UserError) as refusal:
        DRAW[figure](design.study, Sources([sources.files[0], tmp_path / "curves.csv"]))
    for word in words:
        assert word in str(refusal.value)


def test_missing_arguments_and_measurements_are_refused(drawn, tmp_path):
    design, sources = drawn
    with pytest.raises(UserError, match=r"curves.csv: .*add it to `reads`"):
        DRAW["figure-5"](design.study, Sources(sources.files[:1]))
    cells = pd.read_csv(sources.files[0]).drop(columns="grad_norm_mean")
    cells.to_csv(tmp_path / "cells.csv", index=False)
    with pytest.raises(UserError, match="grad_norm_mean"):
        DRAW["gradient-norm"](design.study, Sources([tmp_path / "cells.csv"]))
