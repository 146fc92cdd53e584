"""Fit files and Tables 1 to 5 and 7: numbers agree with the laws, gaps have reasons, notes are printed."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from results_tree import LAW, build, make_design

from twostage.analysis.cells import aggregate_cells, method_cells
from twostage.analysis.method_fit import MethodFit, fit_method
from twostage.analysis.sources import Sources
from twostage.catalogue.shown_methods import (
    fitted_pairs,
    method_title,
    other_pairs,
    shown_pairs,
)
from twostage.common.errors import UserError
from twostage.laws.fit import fit_law
from twostage.laws.points import Points
from twostage.laws.selection import leave_one_out
from twostage.study import ExcludedCell, load_study
from twostage.tables.laws import make_table_1, make_table_2, table_1, table_7
from twostage.tables.not_drawn import make_not_drawn
from twostage.tables.setup import make_table_4, table_3, table_4, table_5
from twostage.tables.table import excluded_notes, render_html

FORMS = ("mul", "mul0", "add", "hyb")
PUBLISHED = Path(__file__).parents[2] / "results/published"


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    design = make_design()
    return aggregate_cells(design, build(design, tmp_path_factory.mktemp("results"))).cells


@pytest.fixture(scope="module")
def fits(cells):
    return [fit_method(cells, method, "33k", forms=FORMS, delta=1e-3) for method in ("cpt-code", "stack")]


@pytest.fixture(scope="module")
def small_fit(tmp_path_factory):
    design = make_design(steps=(100, 200))
    cells = aggregate_cells(design, build(design, tmp_path_factory.mktemp("small"))).cells
    return fit_method(cells, "stack", "33k", forms=FORMS, delta=1e-3)


def points_of(cells, method):
    frame = method_cells(cells, method, "33k")
    return Points.from_frame(frame, d1="d1_tokens", d2="d2_tokens", loss="loss_nats", seed="seed")


def test_fit_file_holds_the_laws_of_the_cells(cells, fits):
    points = points_of(cells, "stack")
    for form in FORMS:
        assert fits[1].laws[form].fit.coefficients == fit_law(points, form).coefficients
    assert fits[1].n_cells == 16
    assert fits[1].seeds == (0,)
    assert fits[1].noise is None
    assert fits[1].n_final > fits[1].n_base
    assert fits[0].n_final == fits[0].n_base


def test_fit_file_round_trips(fits, small_fit):
    for fit in (*fits, small_fit):
        text = fit.to_json()
        again = MethodFit.from_json(text)
        assert again.to_json() == text
        assert again.laws.keys() == fit.laws.keys()
    curves = MethodFit.from_json(fits[0].to_json()).curves["d2"].power_laws
    assert curves.predict(curves.groups[0], 2e5) == fits[0].curves["d2"].power_laws.predict(
        curves.groups[0], 2e5
    )


def test_fit_file_names_a_missing_key(fits):
    text = re.sub(r'"n_cells": 16,\s*', "", fits[0].to_json())
    with pytest.raises(UserError, match="n_cells"):
        MethodFit.from_json(text)


def test_excluded_cells_leave_the_fit(cells):
    marked = cells.copy()
    chosen = marked["method"] == "stack"
    marked.loc[marked[chosen].index[:2], "excluded"] = "bad node"
    fit = fit_method(marked, "stack", "33k", forms=["mul0"], delta=1e-3)
    assert fit.n_cells == 14


def test_table_1_is_the_leave_one_out_error_in_thousandths(cells, fits):
    numbers = table_1(fits).numbers.set_index("method")
    for method in ("cpt-code", "stack"):
        points = points_of(cells, method)
        for form in FORMS:
            expected = 1e3 * leave_one_out(points, form).rms_nats
            assert numbers.loc[method, f"rms_{form}"] == pytest.approx(expected, rel=1e-12)
        lowest = min(FORMS, key=lambda form: numbers.loc[method, f"rms_{form}"])
        assert numbers.loc[method, "best_form"] == lowest
    assert (numbers["unit"] == "1e-3 nats").all()


@pytest.mark.parametrize(("method", "variant"), [("cpt-code", "CPT (code)"), ("stack", "Stack")])
def test_the_papers_numbers_are_shown_with_ours(fits, method, variant):
    with (PUBLISHED / "table_1.csv").open() as stream:
        one = {row["variant"]: row for row in csv.DictReader(stream)}[variant]
    with (PUBLISHED / "table_7.csv").open() as stream:
        seven = {row["variant"]: row for row in csv.DictReader(stream)}[variant]
    table = table_1(fits)
    row = table.numbers.set_index("method").loc[method]
    assert [row[f"paper_rms_{form}"] for form in FORMS] == [one[f"rms_{form}"] for form in FORMS]
    assert table.shown.set_index("method").loc[method, "Mul. (paper, 0.1B)"] == one["rms_mul"]
    row = table_7(fits).numbers.set_index("method").loc[method]
    names = ("alpha1", "alpha2", "alpha3")
    assert [row[f"paper_{name}"] for name in names] == [seven[name] for name in names]


def test_methods_that_the_paper_does_not_have_get_a_gap(fits):
    other = replace(fits[0], method="cpt-law-books")
    table = table_1([other])
    assert table.numbers["paper_rms_mul"].isna().all()
    assert table.shown["Mul. (paper, 0.1B)"].tolist() == ["–"]


def test_table_7_brackets_the_law_that_made_the_losses(fits):
    row = table_7(fits).numbers.set_index("method").loc["cpt-code"]
    for name in ("alpha1", "alpha2", "alpha3"):
        assert row[f"{name}_lower"] < LAW[name] < row[f"{name}_upper"], name
    # exponents at the centre: alpha1 - alpha3 ln D2, independent of the unit of D
    expected = row["alpha1"] - row["alpha3"] * np.log(row["d2_centre_tokens"])
    assert row["alpha1_centred"] == pytest.approx(expected, rel=1e-9)
    assert row["d1_centre_tokens"] == pytest.approx(112_640 * 2**1.5, rel=1e-9)


def test_too_few_cells_are_a_gap_with_a_reason(small_fit):
    first, seventh = table_1([small_fit]), table_7([small_fit])
    assert first.numbers[["rms_mul", "rms_mul0", "rms_add", "rms_hyb"]].isna().all(axis=None)
    assert first.shown["Mul."].tolist() == ["– [1]"]
    assert any("5 coefficients but there are only 4 points" in note for note in first.notes)
    assert "5 coefficients" in first.numbers["note"].iloc[0]
    assert seventh.numbers["alpha3"].isna().all()
    assert any("5 coefficients" in note for note in seventh.notes)
    assert "needs at least 3" in small_fit.curves["d2"].reason.replace("need at", "needs at")


def test_several_seeds_have_a_noise_floor(tmp_path):
    design = make_design(seeds=[0, 1, 2], methods={"stack": {"kind": "stack"}}, steps=(100, 200, 400))
    cells = aggregate_cells(design, build(design, tmp_path, noise=0.004)).cells
    fit = fit_method(cells, "stack", "33k", forms=["mul0"], delta=1e-3)
    frame = cells[cells["method"] == "stack"]
    pooled = np.sqrt(frame.groupby(["d1_tokens", "d2_tokens"])["loss_nats"].var(ddof=1).mean())
    assert table_1([fit]).numbers["noise_floor"].iloc[0] == pytest.approx(1e3 * pooled, rel=1e-9)
    assert fit.seeds == (0, 1, 2)
    assert fit.n_cells == 9


class _Text(HTMLParser):
    def __init__(self):
        super().__init__()
        self.text, self.cells = [], 0

    def handle_starttag(self, tag, attrs):
        self.cells += tag in ("td", "th")

    def handle_data(self, data):
        self.text.append(data)


def test_page_shows_every_number_and_note_and_escapes(fits):
    excluded = [ExcludedCell(cell="stage2/stack/a.json", reason="loss < 0 & NaN")]
    table = table_1(fits, excluded)
    page = render_html(table)
    parsed = _Text()
    parsed.feed(page)
    text = " ".join(parsed.text)
    assert parsed.cells == table.shown.size + table.shown.shape[1]
    for value in table.shown.to_numpy().ravel():
        assert value in text
    assert "Excluded cell: stage2/stack/a.json: loss < 0 & NaN" in text
    assert "loss &lt; 0 &amp; NaN" in page
    assert "http" not in page


def test_tables_say_when_nothing_is_excluded():
    assert excluded_notes(()) == ("No cells are excluded.",)


def test_presentation_of_a_study():
    study = make_design(
        methods={
            "stack": {"kind": "stack", "factor": 4},
            "cpt-code": {"kind": "cpt", "corpus": "code", "replay": 0.25},
            "expand": {"kind": "expand"},
        }
    ).study
    assert fitted_pairs(study) == [("stack", "33k"), ("cpt-code", "33k"), ("expand", "33k")]
    assert shown_pairs(study) == [("cpt-code", "33k"), ("stack", "33k")]
    assert other_pairs(study) == [("expand", "33k")]
    assert method_title(study, "cpt-code") == "Continual pretraining on code, 25% replay (cpt-code)"
    assert method_title(study, "stack") == "Model growth by stacking ×4 (stack)"


# Tables 3, 4, 5 and 8 -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def paper():
    return load_study(Path(__file__).parents[2] / "config/paper.yaml")


def test_table_3_of_the_papers_study_is_the_papers(paper):
    numbers = table_3(paper).numbers.set_index("model")
    assert len(numbers) == 6
    for name in ("n_layer", "d_model", "n_head", "n_parameters"):
        assert numbers[name].astype(str).tolist() == numbers[f"paper_{name}"].tolist()
    assert numbers.loc["1B", "n_embedding"] == 2 * 32000 * 1504


def test_table_4_of_the_papers_study_is_the_papers(paper):
    numbers = table_4(paper).numbers
    printed = numbers[numbers["paper"].notna()]
    assert len(printed) == 8
    assert [(v if v[0].isalpha() else float(v.replace(",", ""))) for v in printed["value"]] == [
        (v if v[0].isalpha() else float(v.replace(",", ""))) for v in printed["paper"]
    ]


def test_table_5_of_the_papers_study_is_the_papers(paper):
    numbers = table_5(paper).numbers.set_index("model")
    for name in ("warmup_iterations", "max_iterations", "batch_size", "learning_rate"):
        assert numbers[name].tolist() == [float(text) for text in numbers[f"paper_{name}"]]
    assert numbers["init_std"].round(3).tolist() == [float(text) for text in numbers["paper_init_std"]]
    # Table 5 of the paper: iterations x batch x context.
    assert numbers.loc["15M", "d1_max_tokens"] == numbers.loc["15M", "d2_max_tokens"] == 17600 * 128 * 1024


def test_models_of_other_names_have_no_paper_numbers():
    study = make_design().study
    assert table_3(study).numbers["paper_n_layer"].isna().all()
    assert table_3(study).shown.loc[0, "n_layer"] == "2"
    assert table_5(study).numbers.loc[0, "max_iterations"] == 880
    assert "[" not in "".join(table_5(study).shown.loc[0])


def test_tables_are_made_from_files(fits, tmp_path):
    study = make_design().study
    files = [tmp_path / f"{rank}.json" for rank, _ in enumerate(fits)]
    for file, fit in zip(files, fits, strict=True):
        file.write_text(fit.to_json())
    assert make_table_1(study, Sources(files)).numbers.equals(table_1(fits).numbers)
    assert make_table_2(study, Sources(files)).numbers.equals(table_1(fits).numbers)
    assert make_table_2(study, Sources(files)).title != table_1(fits).title
    assert make_table_4(study, Sources()).numbers.equals(table_4(study).numbers)


def test_a_file_that_no_declaration_names_is_not_read():
    with pytest.raises(UserError, match=r"cells.csv.*add it to `reads`"):
        Sources().cells()


def test_what_is_not_drawn_is_a_table_with_reasons():
    table = make_not_drawn(make_design().study, Sources())
    assert "figure-5" in table.numbers["name"].tolist()
    assert "ablations.schedule" in render_html(table)
