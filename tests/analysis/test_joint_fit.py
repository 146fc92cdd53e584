"""Laws over sizes: from a results folder with known laws to the fits and Figures 4, 9, 10 and 11, and refused input."""

from __future__ import annotations

import copy
import importlib
import json
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import results_tree
import yaml
from drawn_text import texts_of
from matplotlib.image import imread
from results_tree import build, make_design
from study_changes import put

from twostage.analysis.cells import aggregate_cells, write_table
from twostage.analysis.joint_fit import SizesFit, fit_joint, fit_scratch
from twostage.analysis.sources import Sources
from twostage.catalogue import laws_over_sizes
from twostage.catalogue.lookup import FIGURES, load_checked
from twostage.common.errors import UserError
from twostage.design.paths import Stage2Run
from twostage.laws import checks
from twostage.study import load_study
from twostage.tables.sizes import COEFFICIENTS, table_8
from twostage.tables.table import render_html

ROOT = Path(__file__).parents[2]
JOINT = {"A": 2000.0, "alpha1": 0.30, "alpha2": 0.40, "alpha3": 0.015, "B": 20.0, "beta": 0.3, "E": 2.0}
SCRATCH = {"A": 20.0, "alpha": 0.3, "B": 50.0, "beta": 0.2, "E": 2.0}
SHIFT = {"generic": 1.0, "code": 0.8}  # factor of all scales, so that corpora and methods have different laws

#: The figures of laws over sizes.
JOINT_FIGURES = ("figure-4-left", "figure-4-right", "figure-9", "figure-10", "figure-11")


def draw_from_fits(figure, *fits, n_final=None):
    """Draw a figure of these fits, as a study would."""
    study = make_design(laws={"catch_up_n_final": n_final}).study
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{rank}.json") for rank, _ in enumerate(fits)]
        for file, fit in zip(files, fits, strict=True):
            file.write_text(fit.to_json())
        module, _, name = FIGURES[figure].draw.partition(":")
        return getattr(importlib.import_module(module), name)(study, Sources(files))


def shape(d_model, n_layer=2):
    return {
        "n_layer": n_layer,
        "d_model": d_model,
        "n_head": 2,
        "batch_size": 8,
        "warmup_steps": 50,
        "peak_lr": 8e-3,
    }


MODELS = {"33k": shape(32), "0.1M": shape(64), "0.5M": shape(128)}


def joint_loss(c, n, d1, d2):
    """Eq. 7."""
    return (
        c["A"] * d1 ** -c["alpha1"] * d2 ** (-c["alpha2"] + c["alpha3"] * np.log(d1))
        + c["B"] * n ** -c["beta"]
        + c["E"]
    )


def scratch_loss(c, n, d):
    return c["A"] * n ** -c["alpha"] + c["B"] * d ** -c["beta"] + c["E"]


def scaled(coefficients, factor):
    return {k: v * factor if k in "ABE" else v for k, v in coefficients.items()}


def known_loss(design, cell):
    """Losses on a run's own corpus follow the known laws; all other losses are only made distinct."""
    run, tokens = cell.branch.run, cell.branch.tokens
    n = design.study.architecture(run.model).n_params
    own = cell.corpus == design.corpus(run)
    if isinstance(run, Stage2Run):
        loss = joint_loss(scaled(JOINT, SHIFT[design.corpus(run)]), n, run.d1_tokens, tokens)
        return loss if own else loss + 0.1 + n * 1e-8
    return scratch_loss(scaled(SCRATCH, SHIFT[run.corpus]), n, tokens) + (0 if own else 1)


@pytest.fixture(scope="module")
def make_cells(tmp_path_factory):
    """Cells of the three-size study, read from evaluation files as the jobs write them."""

    def make(noise):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(results_tree, "loss_of", known_loss)
            design = make_design(models=MODELS, scratch={"code": {"corpus": "code"}})
            return aggregate_cells(design, build(design, tmp_path_factory.mktemp("tree"), noise=noise)).cells

    return make


@pytest.fixture(scope="module")
def exact(make_cells):
    return make_cells(0.0)


@pytest.fixture(scope="module")
def noisy(make_cells):
    return make_cells(0.001)


@pytest.fixture(scope="module")
def fits(noisy):
    return {
        "cpt-code": fit_joint(noisy, "cpt-code", delta=1e-3),
        "stack": fit_joint(noisy, "stack", delta=1e-3),
        "code": fit_scratch(noisy, "code", delta=1e-3),
        "generic": fit_scratch(noisy, "generic", delta=1e-3),
    }


CASES = {
    "cpt-code": (JOINT, "code"),
    "stack": (JOINT, "generic"),
    "code": (SCRATCH, "code"),
    "generic": (SCRATCH, "generic"),
}


# Fits -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_exact_losses_give_the_known_law_back(name, exact):
    law, corpus = CASES[name]
    fit = fit_joint(exact, name, delta=1e-3) if law is JOINT else fit_scratch(exact, name, delta=1e-3)
    assert fit.fit.coefficients == pytest.approx(scaled(law, SHIFT[corpus]), rel=1e-5)
    assert fit.extrapolation.rms_nats < 1e-8
    assert (fit.corpus, fit.models) == (corpus, tuple(MODELS))


def test_noisy_losses_give_the_known_law_within_intervals(fits):
    """24 intervals of 95 %: more than five misses would mean wrong intervals, given the correlations of the four fits."""
    inside = []
    for name, (law, corpus) in CASES.items():
        truth = scaled(law, SHIFT[corpus])
        for key, interval in fits[name].fit.intervals.items():
            low = -np.inf if interval.lower is None else interval.lower
            high = np.inf if interval.upper is None else interval.upper
            inside.append(low <= truth[key] <= high)
    assert len(inside) == 24
    assert sum(inside) >= 19
    assert all(f.fit.certificate.certified for f in fits.values())


def test_the_lowest_tenth_is_held_out_and_predicted(fits, noisy):
    fit = fits["stack"]
    rows = noisy[noisy["method"] == "stack"]
    held_out = fit.extrapolation.held_out
    assert held_out.sum() == round(0.1 * len(rows)) == 5
    assert fit.points.loss[held_out].max() < fit.points.loss[~held_out].min()
    assert set(fit.points.loss[held_out]) == set(rows["loss_nats"].nsmallest(5))
    assert fit.extrapolation.fit.n_points == len(rows) - 5
    assert 0 < fit.extrapolation.rms_nats < 0.03  # noise is about 0.003 nats


def test_size_is_before_growth(fits, noisy):
    rows = noisy[noisy["method"] == "stack"]
    assert set(fits["stack"].points.n) == set(rows["n_base"])
    largest = rows.loc[rows["n_base"].idxmax()]
    assert fits["stack"].growth_factor == largest["n_final"] / largest["n_base"]
    assert 1.9 < fits["stack"].growth_factor < 2
    assert fits["cpt-code"].growth_factor == 1


def test_excluded_cells_do_not_enter(noisy):
    changed = noisy.copy()
    first = changed.index[changed["method"] == "stack"][0]
    changed.loc[first, ["loss_nats", "excluded"]] = [99.0, "diverged"]
    fit = fit_joint(changed, "stack", delta=1e-3)
    assert len(fit.points) == (noisy["method"] == "stack").sum() - 1
    assert fit.points.loss.max() < 99


def test_a_fit_read_back_is_the_fit_that_was_written(fits):
    for fit in fits.values():
        again = SizesFit.from_json(fit.to_json())
        assert again.to_json() == fit.to_json()
        assert (again.points.loss == fit.points.loss).all()


def test_a_damaged_fit_file_names_the_key(fits):
    data = json.loads(fits["stack"].to_json())
    del data["extrapolation"]["held_out"]
    with pytest.raises(UserError, match=r"held_out.*snakemake .*-f"):
        SizesFit.from_json(json.dumps(data))


def test_a_fit_file_of_another_version_is_refused_with_the_fix(fits):
    data = json.loads(fits["stack"].to_json())
    del data["schema_version"]
    with pytest.raises(UserError, match=r"version 0.1 of twostage.*snakemake -f"):
        SizesFit.from_json(json.dumps(data))


def test_the_command_line_reads_the_fit_file(fits, tmp_path):
    path = tmp_path / "stack.json"
    path.write_text(fits["stack"].to_json())
    command = [
        sys.executable, "-m", "twostage.cli", "predict", str(path), "--d1", "450560", "--d2", "450560", "--n", "131072", "--json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    predicted = json.loads(done.stdout)
    truth = joint_loss(JOINT, 131072, 450560, 450560)
    assert predicted["loss_nats"] == pytest.approx(truth, rel=0.002)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda c: c[c["model"] != "0.5M"], ["joint law of stack", "at least 3 sizes", "measure more cells"]),
        (lambda c: c[c["d1_tokens"].isin([0, 112640])], ["all points have D1 = 112640"]),
        (lambda c: c[c["method"] != "stack"], ["no cells of method 'stack'", "cpt-code"]),
    ],
    ids=["two sizes", "one D1", "no cells"],
)
def test_cells_that_cannot_identify_the_law_are_refused(spoil, words, noisy):
    with pytest.raises(UserError) as refusal:
        fit_joint(spoil(noisy), "stack", delta=1e-3)
    for word in words:
        assert word in str(refusal.value)


def test_scratch_on_a_corpus_without_runs_is_refused(noisy):
    with pytest.raises(UserError, match=r"'math'.*\['code', 'generic'\]"):
        fit_scratch(noisy, "math", delta=1e-3)


# What a study can draw ------------------------------------------------------------------------------------------------


@pytest.fixture
def fields():
    """The tiny study with three sizes and all figures over sizes."""
    fields = yaml.safe_load((ROOT / "tests/studies/tiny.yaml").read_text())
    fields["models"] = copy.deepcopy(MODELS)
    fields["methods"] = {
        "cpt-code": {"kind": "cpt", "corpus": "code"},
        "stack": {"kind": "stack"},
        "expand": {"kind": "expand"},
    }
    fields["scratch"] = {"code": {"corpus": "code"}}
    fields["figures"] = list(JOINT_FIGURES)
    return fields


def load(fields, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(fields))
    return load_checked(path)


def test_sources_of_the_figures(fields, tmp_path):
    fields["methods"] = {"cpt-small": {"kind": "cpt", "corpus": "code", "models": ["33k"]}} | fields[
        "methods"
    ]
    study = load(fields, tmp_path)
    code, generic = "fits/scratch/code.json", "fits/scratch/generic.json"
    assert {figure: FIGURES[figure].reads(study) for figure in JOINT_FIGURES} == {
        "figure-4-left": ["fits/joint/cpt-code.json"],
        "figure-4-right": ["fits/joint/stack.json", generic],
        "figure-9": ["fits/joint/stack.json"],
        "figure-10": ["fits/joint/stack.json", generic],
        "figure-11": ["fits/joint/cpt-code.json", code],
    }


def test_limits_are_those_of_the_laws():
    assert (laws_over_sizes.MIN_SIZES, laws_over_sizes.MIN_SIZE_RANGE) == (
        checks.MIN_SIZES,
        checks.MIN_SIZE_RANGE,
    )


def drop(section, key):
    return lambda fields: fields[section].pop(key)


IMPOSSIBLE = {
    "no stack": (drop("methods", "stack"), ["figures", "'figure-4-right'", "kind stack", "add one"]),
    "no cpt": (drop("methods", "cpt-code"), ["figures", "'figure-4-left'", "kind cpt", "add one"]),
    "stack at two sizes": (
        put("methods/stack/models", ["33k", "0.5M"]),
        [
            "'figure-4-right'",
            "methods.stack.models",
            "33k (N = 3.29e+04)",
            "fewer than 3 sizes",
            "list more models",
        ],
    ),
    "sizes too close": (
        put("models/0.5M", shape(36)),
        ["'figure-4-left'", "models:", "less than 4x in N", "leave 'figure-4-left' out"],
    ),
    "one D1": (
        put("methods/stack/d1_steps", [100]),
        ["'figure-4-right'", "d1_steps", "[100]", "add a value"],
    ),
    "no scratch on code": (
        put("scratch", {}),
        ["'figure-11'", "cpt-code", "scratch: there are no runs on 'code'", "add code: {corpus: code}"],
    ),
    "scratch at one size": (
        put("scratch", {"code": {"corpus": "code", "models": ["33k"]}}),
        ["'figure-11'", "scratch of corpus code, models", "list more models"],
    ),
    "reserved name": (put("methods/joint", {"kind": "stack"}), ["methods.joint", "reserved", "another name"]),
    "unknown figure": (put("figures", ["figure-12"]), ["figures", "figure-4-left", "figure-12"]),
    "repeated figure": (put("figures", ["figure-9", "figure-9"]), ["figures", "repeats"]),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_impossible_figures_are_refused_with_the_study(case, fields, tmp_path):
    load(fields, tmp_path)  # only the change is refused
    spoil, words = IMPOSSIBLE[case]
    spoil(fields)
    with pytest.raises(UserError) as refusal:
        load(fields, tmp_path)
    for word in words:
        assert word in str(refusal.value)


def test_only_the_chosen_figures_are_checked(fields, tmp_path):
    fields["scratch"], fields["figures"] = {}, ["figure-9", "figure-10"]
    assert load(fields, tmp_path).figures == (
        "figure-9",
        "figure-10",
    )  # base runs are scratch on the base corpus
    fields["models"].pop("0.5M")
    fields["figures"] = ["figure-1"]
    study = load(fields, tmp_path)
    for check, name in ((laws_over_sizes.check_joint, "stack"), (laws_over_sizes.check_scratch, "generic")):
        with pytest.raises(UserError, match="fewer than 3 sizes"):
            check(study, name)


# From cells to figures ------------------------------------------------------------------------------------------------


def run_script(name, *arguments):
    """Run a workflow script in this process, as a rule does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(ROOT / f"workflow/scripts/{name}.py"), run_name="__main__")


@pytest.fixture(scope="module")
def drawn(noisy, tmp_path_factory):
    """Cells table -> four fit files -> five figures, through the scripts; the folder of the figures."""
    folder = tmp_path_factory.mktemp("drawn")
    write_table(noisy, folder / "cells.csv")
    fields = yaml.safe_load((ROOT / "tests/studies/tiny.yaml").read_text()) | {"models": MODELS}
    (folder / "mine.yaml").write_text(
        yaml.safe_dump(fields | {"scratch": {"code": {"corpus": "code"}}, "figures": list(JOINT_FIGURES)})
    )
    study = load_study(folder / "mine.yaml")
    for figure in JOINT_FIGURES:
        reads = FIGURES[figure].reads(study)
        for path in reads:
            if not (folder / path).exists():
                law, name = Path(path).parent.name, Path(path).stem
                words = ["--cells", folder / "cells.csv", "--delta", "1e-3", "--out", folder / path]
                run_script("fit_law", *words, law, name)
        run_script(
            "draw", FIGURES[figure].draw, "--study", folder / "mine.yaml",
            "--reads", *(folder / path for path in reads), "--out", folder / f"{figure}.png",
        )  # fmt: skip
    return folder


def test_table_8_holds_the_coefficients_of_the_fit_files(fits):
    numbers = table_8(list(fits.values())).numbers
    assert numbers["law"].tolist() == [fit.name for fit in fits.values()]
    for (_, row), fit in zip(numbers.iterrows(), fits.values(), strict=True):
        own = fit.fit.coefficients
        if (
            fit.fit.form == "chinchilla"
        ):  # the paper's notation: alpha and A belong to tokens, beta and B to N
            own = {"alpha": own["beta"], "A": own["B"], "beta": own["alpha"], "B": own["A"], "E": own["E"]}
        found = {name: row[name] for name in COEFFICIENTS if pd.notna(row[name])}
        assert found == own
        for name in found:
            assert not row[f"{name}_lower"] > row[name]
            assert not row[f"{name}_upper"] < row[name]
        assert row["n_models"] == 3
    # The paper's columns have the same meaning: its base law decreases with tokens as D^-0.092.
    assert numbers.set_index(["law", "corpus"]).loc[("scratch", "generic"), "paper_alpha"] == "0.092"
    assert numbers.set_index("law").loc["stack", "paper_alpha3"] == "0.003"
    assert "α₃" in render_html(table_8([fits["stack"]]))
    assert "α₃" not in "".join(table_8([fits["generic"]]).shown.columns)


@pytest.mark.parametrize("figure", JOINT_FIGURES)
def test_every_figure_has_image_document_and_numbers(figure, drawn):
    pixels = imread(drawn / f"{figure}.png")[..., :3]  # 0 .. 1
    assert min(pixels.shape[:2]) > 500
    assert pixels.std() > 0.04  # not blank
    assert (drawn / f"{figure}.pdf").read_bytes().startswith(b"%PDF")
    assert len(pd.read_csv(drawn / f"{figure}.csv")) > 20


@pytest.mark.parametrize(("figure", "method"), [("figure-4-left", "cpt-code"), ("figure-9", "stack")])
def test_extrapolation_figures_plot_every_cell_once(figure, method, drawn, noisy):
    table = pd.read_csv(drawn / f"{figure}.csv")
    rows = noisy[noisy["method"] == method]
    plotted = set(zip(table["n"], table["d1_tokens"], table["d2_tokens"], table["loss_nats"], strict=True))
    assert plotted == set(
        zip(rows["n_base"], rows["d1_tokens"], rows["d2_tokens"], rows["loss_nats"], strict=True)
    )
    assert table["held_out"].sum() == 5


def d_star_by_bisection(n, factor):
    """Solve Eq. 8 for the known laws with SciPy, as an independent reference."""
    from scipy.optimize import brentq

    def gap(log_d):
        d = np.exp(log_d)
        return scratch_loss(SCRATCH, factor * n, d) - joint_loss(JOINT, n, d, d)

    grid = np.linspace(np.log(1e6), np.log(1e40), 2000)
    turns = [i for i in range(1999) if gap(grid[i]) > 0 >= gap(grid[i + 1])]
    return np.exp(brentq(gap, grid[turns[-1]], grid[turns[-1] + 1]))


def test_d_star_of_exact_cells_is_that_of_the_known_laws(exact):
    joint, scratch = fit_joint(exact, "stack", delta=1e-3), fit_scratch(exact, "generic", delta=1e-3)
    _, table = draw_from_fits("figure-4-right", joint, scratch)
    low, high = joint.n_base_range
    assert table["n_base"].iloc[[0, -1]].tolist() == pytest.approx([low, 1000 * high])
    for _, row in table.iloc[::10].iterrows():
        truth = d_star_by_bisection(row["n_base"], joint.growth_factor)
        assert row["d_star_tokens"] == pytest.approx(truth, rel=1e-2)
        assert row["analytic_tokens"] == pytest.approx(truth, rel=0.5)


def test_the_band_of_d_star_is_in_view_and_no_text_is_clipped(fits):
    figure, table = draw_from_fits("figure-4-right", fits["stack"], fits["generic"])
    low, high = figure.axes[0].get_ylim()
    assert low < table["lower"].min()
    assert table["upper"].clip(upper=1e4 * table["d_star_tokens"]).max() < high
    assert (table["lower"] <= table["d_star_tokens"]).all()
    assert (table["d_star_tokens"] <= table["upper"]).all()
    texts = texts_of(figure)
    assert len(texts) > 10
    for text, extent in texts:
        assert extent.x0 >= figure.bbox.x0, text
        assert extent.x1 <= figure.bbox.x1, text


def test_catch_up_figures_start_from_the_largest_model(drawn, fits):
    for figure, name in (("figure-10", "stack"), ("figure-11", "cpt-code")):
        table, joint = pd.read_csv(drawn / f"{figure}.csv"), fits[name]
        n = joint.n_base_range[1]
        row = table[table["d1_tokens"] > 0].iloc[0]
        expected = joint.fit.predict(d1=row["d1_tokens"], d2=row["d2_tokens"], n=n)
        assert row["loss_nats"] == pytest.approx(float(expected), rel=1e-9)
        assert row["d1_tokens"] == pytest.approx(1e11 / 7e9 * joint.growth_factor * n)
        assert (table["lower"] <= table["loss_nats"]).mean() > 0.95


def test_the_papers_size_gives_the_papers_axes(fits):
    _, table = draw_from_fits("figure-10", fits["stack"], fits["generic"], n_final=7e9)
    assert sorted(set(table["d1_tokens"])) == pytest.approx([0, 1e11, 3e11, 1e12, 3e12, 1e13])
    scratch = table[table["d1_tokens"] == 0]
    assert scratch["loss_nats"].iloc[0] == pytest.approx(
        float(fits["generic"].fit.predict(d2=scratch["d2_tokens"].iloc[0], n=7e9))
    )


def test_laws_that_never_cross_are_a_result(exact):
    """If the law from scratch is always worse, the figure states it instead of failing."""
    worse = exact.copy()
    worse.loc[worse["method"] == "scratch", "loss_nats"] += 3.0
    worse.loc[worse["method"] == "stack", "loss_nats"] = joint_loss(
        JOINT | {"alpha3": -0.002}, *(worse.loc[worse["method"] == "stack", k] for k in ("n_base", "d1_tokens", "d2_tokens"))
    )  # fmt: skip
    joint, scratch = fit_joint(worse, "stack", delta=1e-3), fit_scratch(worse, "generic", delta=1e-3)
    figure, table = draw_from_fits("figure-4-right", joint, scratch)
    assert table["d_star_tokens"].isna().all()
    assert "growth (stack) is better" in figure.axes[0].texts[0].get_text()


def test_figures_of_two_corpora_or_without_scratch_are_refused(fits):
    with pytest.raises(UserError, match=r"'generic'.*'code'"):
        draw_from_fits("figure-10", fits["stack"], fits["code"])
    with pytest.raises(UserError, match=r"needs the fit of models trained from scratch on 'code'"):
        draw_from_fits("figure-11", fits["cpt-code"])
