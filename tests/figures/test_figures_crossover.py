"""The figure `crossover`: plotted numbers equal the table's, nothing is clipped, and a missing control is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from crossover_cells import D1, D2, N, mul, power, reuse_rows, scratch_rows, table
from drawn_text import assert_apart, assert_inside, texts_of
from results_tree import WITH_CONTROLS, build, make_design

from twostage.analysis.cells import aggregate_cells, write_table
from twostage.common.errors import UserError
from twostage.figures.crossover import BAND_WIDTH, draw
from twostage.figures.drawing import Sources, draw_figure
from twostage.figures.style import save_figure
from twostage.study import load_study
from twostage.tables.crossover import crossover_table

ROOT = Path(__file__).resolve().parents[2]
PANEL = {"Model growth by stacking ×2 (stack), 33k": ("stack", "33k")}
SEEDS = (0, 1, 2)


def synthetic(seeds=(0,)):
    return table(reuse_rows(mul, seeds=seeds, noise=2e-3), scratch_rows(power, seeds=seeds, noise=2e-3))


@pytest.fixture(scope="module", params=[(0,), (0, 1)], ids=["one seed", "two seeds"])
def drawn(request, tmp_path_factory):
    """The design and the figure of a study with three panels, drawn as the workflow does."""
    folder = tmp_path_factory.mktemp("crossover")
    design = make_design(**WITH_CONTROLS, seeds=list(request.param))
    write_table(aggregate_cells(design, build(design, folder)).cells, folder / "cells.csv")
    return design, *draw_figure("crossover", design.study, Sources(folder / "cells.csv"))


def test_no_text_is_clipped_and_none_overlaps(drawn):
    _, figure, _ = drawn
    texts = texts_of(figure)
    assert len(texts) > 25
    assert_inside(figure)
    assert_apart(texts)


def test_a_panel_for_each_method_with_a_control(drawn):
    design, figure, numbers = drawn
    assert numbers["method"].unique().tolist() == ["cpt-code", "stack", "expand"]
    texts = [text.replace("\n", " ") for text, _ in texts_of(figure)]
    assert "Model growth by stacking ×2 (stack), 33k" in texts
    assert "from scratch, same tokens" in texts
    assert ("noise" in set(numbers["kind"])) == (len(design.study.seeds) == 2)
    assert any("seed noise" in text for text in texts) == (len(design.study.seeds) == 2)


def test_a_second_line_of_d1_has_room():
    """Methods that start from trunks have other D1; the archived losses of this repository have ten."""
    tables = ROOT / "results/reference/mini/tables"
    figure, numbers = draw_figure(
        "crossover", load_study(ROOT / "config/mini-reference.yaml"), Sources(tables / "cells.csv")
    )
    assert numbers["d1_tokens"].nunique() == 10
    assert_inside(figure)
    assert_apart(texts_of(figure))
    renderer = figure.canvas.get_renderer()
    upper, lower = (legend.get_window_extent(renderer) for legend in figure.subfigs[-1].legends)
    assert upper.y0 >= lower.y1


def test_plotted_numbers_are_those_of_the_table():
    cells = synthetic(SEEDS)
    _, numbers = draw(cells, PANEL)
    whole = crossover_table(cells, 1e-3).numbers
    points, summaries = (whole[whole["kind"] == kind] for kind in ("point", "summary"))
    kinds = dict(list(numbers.groupby("kind")))
    keys = ["d1_tokens", "d2_tokens"]
    assert set(points["d2_tokens"]) == set(D2)
    plotted = kinds["difference"].set_index(keys)["value"]
    assert plotted.to_dict() == points.set_index(keys)["difference_nats"].to_dict()
    assert len(plotted) == len(D1) * len(D2)
    marks, rows = kinds["crossing"].set_index("d1_tokens"), summaries.set_index("d1_tokens")
    assert marks["d2_tokens"].to_dict() == rows["from_d2_tokens"].to_dict()
    assert marks["lower"].to_dict() == rows["from_d2_lower"].to_dict()
    assert marks["upper"].to_dict() == rows["from_d2_upper"].to_dict()
    band = kinds["noise"].set_index("d2_tokens")["upper"]
    assert band.to_dict() == pytest.approx(
        (BAND_WIDTH * points.groupby("d2_tokens")["difference_se_nats"].max()).to_dict()
    )


def test_markers_are_where_lines_cross_zero():
    figure, numbers = draw(synthetic(), PANEL)
    axes = figure.subfigs[0].axes[0]
    marks = [line for line in axes.lines if line.get_marker() == "D"]
    crossings = numbers[numbers["kind"] == "crossing"]
    assert [float(line.get_xdata()[0]) for line in marks] == crossings["d2_tokens"].tolist()
    assert len(marks) == len(D1)
    assert axes.get_xscale() == "log"


def test_without_crossing_or_noise_the_legend_names_neither():
    cells = table(reuse_rows(lambda a, b: power(b) - 0.1), scratch_rows(power))
    figure, numbers = draw(cells, PANEL)
    assert set(numbers["kind"]) == {"difference"}
    texts = {text for text, _ in texts_of(figure)}
    assert "from scratch, same tokens" in texts
    assert not {text for text in texts if "seed noise" in text or "from this" in text}


def test_a_missing_control_is_refused():
    cells = table(reuse_rows(mul), scratch_rows(power, sizes={"33k": N}))
    with pytest.raises(UserError, match=r"crossover: stack at 33k: no model from scratch on 'generic'"):
        draw(cells, PANEL)


def test_equal_input_gives_equal_files(tmp_path):
    files = []
    for folder in ("a", "b"):
        figure, numbers = draw(synthetic(SEEDS), PANEL)
        save_figure(figure, tmp_path / folder / "crossover", numbers)
        files.append([(tmp_path / folder / f"crossover.{kind}").read_bytes() for kind in ("csv", "png")])
    assert files[0] == files[1]
