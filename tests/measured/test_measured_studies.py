"""config/upcycling.yaml and config/marin.yaml: what they draw, and that it is made from the tables of the package."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from drawn_text import assert_inside
from made_results import make_results
from matplotlib.figure import Figure

from twostage.analysis.cells import method_cells, read_cells
from twostage.analysis.imported import import_table
from twostage.analysis.method_fit import points_of
from twostage.catalogue.imported_tables import check_headers
from twostage.catalogue.lookup import drawable_figures, drawable_tables, load_checked, not_drawn
from twostage.catalogue.shown_methods import fitted_pairs
from twostage.figures.curve_panel import draw_legend
from twostage.figures.style import TEXT_WIDTH_INCHES, apply_style, d1_palette
from twostage.laws.fit import fit_law
from twostage.laws.selection import leave_one_out
from twostage.study import Study

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # the studies name their tables relative to it


def make_all(study: Study, folder: Path) -> set[str]:
    """Import the table, and make all fits, figures and tables."""
    check_headers(study, folder)
    assert study.cells_table is not None
    (folder / "tables").mkdir()
    text = import_table(study, "cells", study.cells_table.cells)
    (folder / "tables/cells.csv").write_text(text)
    return make_results(study, folder)


def test_marin_finishes_with_the_law_over_sizes(tmp_path: Path) -> None:
    names = make_all(load_checked("config/marin.yaml"), tmp_path)
    assert {"figure-4-left", "table-8"} <= names
    assert not {"figure-1", "figure-9", "table-1"} & names  # one D1 for each size
    reasons = [reason for _, reason in not_drawn(load_checked("config/marin.yaml"))]
    assert not any("grid." in reason or "'none'" in reason for reason in reasons)
    law = pd.read_csv(tmp_path / "tables/table-8.csv").iloc[0]
    assert (law["n_models"], law["n_points"], law["n_base_max"]) == (9, 45, 9.7e9)
    assert law["alpha3"] == pytest.approx(0.0093, abs=6e-5)
    assert 0 < law["alpha3_lower"] < law["alpha3"] < law["alpha3_upper"]


def test_upcycling_has_the_figures_and_the_14_grids() -> None:
    full = load_checked("config/upcycling.yaml:full")
    assert len(fitted_pairs(full)) == 14
    assert all(list(map(len, full.points_of(*pair))) == [5, 5] for pair in fitted_pairs(full))
    main = load_checked("config/upcycling.yaml")
    assert len(fitted_pairs(main)) == 6
    assert {"figure-1", "figure-3", "figure-9"} == set(drawable_figures(main))
    assert {"table-1", "table-7", "table-8"} == set(drawable_tables(main))


@pytest.mark.slow
@pytest.mark.parametrize("part", ["main", "full"])
def test_upcycling_finishes(part: str, tmp_path: Path) -> None:
    study = load_checked(f"config/upcycling.yaml:{part}")
    names = make_all(study, tmp_path)
    assert {"figure-1", "figure-3", "figure-9", "table-1", "table-7", "table-8"} <= names


def test_upcycling_finishes_at_one_size(tmp_path: Path) -> None:
    study = load_checked("config/upcycling.yaml")
    method = study.methods["upcycle-8x-top2"].model_copy(update={"models": ("0.1B",)})
    assert "figure-1" in make_all(study.model_copy(update={"methods": {"upcycle-8x-top2": method}}), tmp_path)


def test_mul_sets_e_to_zero_for_12_of_the_14_grids() -> None:
    """The multiplicative law leaves no irreducible loss for most grids; counted before with another solver."""
    study = load_checked("config/upcycling.yaml:full")
    assert study.cells_table is not None
    cells = read_cells(study.cells_table.cells)
    grids = [points_of(method_cells(cells, *pair)) for pair in fitted_pairs(study)]
    floors = [fit_law(points, "mul").coefficients["E"] for points in grids]
    assert sum(floor == 0 for floor in floors) == 12
    loo = [leave_one_out(points, "mul", delta=1e-3).rms_nats for points in grids]
    assert 1e3 * sum(loo) / len(loo) == pytest.approx(8.8, abs=0.06)


def test_a_legend_of_ten_token_counts_is_not_clipped() -> None:
    """Figure 1 at several sizes: the D1 of all its rows share one legend."""
    apply_style()
    figure = Figure(figsize=(TEXT_WIDTH_INCHES, 1.0), layout="constrained")
    counts = [1.15e9 * 1.5**step for step in range(10)]
    draw_legend(figure.subfigures(1, 1), "first-stage tokens", d1_palette(counts), [0])
    assert_inside(figure)
    (legend,) = figure.subfigs[0].legends
    box = legend.get_window_extent()
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
