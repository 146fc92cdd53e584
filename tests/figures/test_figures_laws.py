"""Figures 4, 9, 10 and 11: the drawn lines are the table's numbers, nothing is clipped, and bad tables are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from twostage.analysis.sources import Sources
from twostage.catalogue.lookup import FIGURES
from twostage.figures import figure_4_right, figures_4_9, figures_10_11, published
from twostage.figures.style import save_figure
from twostage.laws.consequences import draw_laws
from twostage.laws.crossover import catch_up, d_star, scratch_tokens
from twostage.laws.curves import catch_up_curves, d_star_curve, extrapolation_table
from twostage.laws.fit import fit_law
from twostage.laws.points import Points
from twostage.laws.selection import extrapolation_test
from twostage.paper.published import published_joint_laws

LAWS = published_joint_laws()
BASE, STACK, CODE, CPT = (
    LAWS[name].law for name in ("Base (Slimpajama)", "Stack", "From-scratch (code)", "CPT (code)")
)
ROOT = Path(__file__).resolve().parents[2]


PUBLISHED = [name for name, entry in FIGURES.items() if entry.published]


def clipped_texts(figure: Figure) -> list[str]:
    """Return the visible texts that extend beyond the canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    undrawn = set()  # tick labels beyond the limits of their axis
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low <= tick.get_loc() <= high:
                    undrawn |= {tick.label1, tick.label2}
    bad = []
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if text.get_visible() and text.get_text().strip() and text not in undrawn:
            box = text.get_window_extent()
            if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
                bad.append(text.get_text())
    return bad


@pytest.fixture(scope="module")
def grid() -> Points:
    sizes = np.array([1.5e7, 1e8, 1e9])
    axis = np.geomspace(5e8, 8e9, 4)
    n, d1, d2 = (x.ravel() for x in np.meshgrid(sizes, axis, axis, indexing="ij"))
    noise = np.exp(1e-3 * np.random.default_rng(0).standard_normal(n.size))
    return Points(loss=STACK.loss(d2, d1=d1, n=n) * noise, d1=d1, d2=d2, n=n)


def test_extrapolation_shows_every_point_once(grid: Points, tmp_path: Path) -> None:
    result = extrapolation_test(grid, "joint")
    table = extrapolation_table(grid, result)
    assert table["held_out"].sum() == 5
    assert table.loc[table["held_out"], "loss_nats"].max() <= table.loc[~table["held_out"], "loss_nats"].min()
    errors = (table["predicted_nats"] - table["loss_nats"])[table["held_out"]]
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(result.rms_nats, rel=1e-9)
    figure, numbers = figures_4_9.draw(table, "a test")
    assert numbers is table
    drawn = np.concatenate([np.asarray(c.get_offsets()) for c in figure.axes[0].collections])
    expected = table[["predicted_nats", "loss_nats"]].to_numpy()
    assert drawn[np.lexsort(drawn.T)] == pytest.approx(expected[np.lexsort(expected.T)])
    assert clipped_texts(figure) == []
    save_figure(figure, tmp_path / "figure", numbers)
    assert (tmp_path / "figure.pdf").stat().st_size > 1000


def test_clipping_is_noticed() -> None:
    """Negative control of `clipped_texts`: a note that is not wrapped."""
    figure, _ = figure_4_right.draw(d_star_curve(BASE, STACK, sizes=[1e10, 1e11]))
    assert clipped_texts(figure) == []
    figure.supxlabel("a note " * 60, fontsize=6.5, x=0.02, ha="left")
    assert len(clipped_texts(figure)) == 1


def test_extrapolation_without_sizes(grid: Points) -> None:
    one_size = grid.subset(grid.n == 1e8)
    points = Points(loss=one_size.loss, d1=one_size.d1, d2=one_size.d2)
    table = extrapolation_table(points, extrapolation_test(points, "mul"))
    assert "n" not in table
    figure, _ = figures_4_9.draw(table, "a test")
    assert clipped_texts(figure) == []


def test_d_star_curve_is_solved_at_every_size() -> None:
    table = d_star_curve(BASE, STACK, sizes=np.geomspace(1e9, 1e12, 7))
    assert table["d_star_tokens"].tolist() == [
        d_star(BASE, STACK, n).tokens for n in np.geomspace(1e9, 1e12, 7)
    ]
    assert table["analytic_tokens"].tolist() == pytest.approx(table["d_star_tokens"].tolist(), rel=0.08)
    assert table["lower"].isna().all()
    figure, numbers = figure_4_right.draw(table, note="a note " * 40)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert np.asarray(lines["numerical solution of Eq. 8"].get_ydata()) == pytest.approx(
        numbers["d_star_tokens"].to_numpy()
    )
    assert clipped_texts(figure) == []
    never = d_star_curve(BASE, STACK.with_coefficients(alpha3=0.0), sizes=[1e9, 1e11])
    assert never["d_star_tokens"].isna().all()
    with pytest.raises(ValueError, match="no finite value"):
        figure_4_right.draw(never)


def test_d_star_curve_of_fits_has_a_band(grid: Points) -> None:
    tokens = np.geomspace(5e8, 8e9, 6)
    n, d = (x.ravel() for x in np.meshgrid([1.5e7, 1e8, 1e9], tokens, indexing="ij"))
    noise = np.exp(1e-3 * np.random.default_rng(1).standard_normal(n.size))
    scratch = fit_law(Points(loss=BASE.loss(d, n=n) * noise, d2=d, n=n), "chinchilla")
    stack = fit_law(grid, "joint")
    table = d_star_curve(draw_laws(scratch, 100, seed=1), draw_laws(stack, 100, seed=2), sizes=[1e10, 1e11])
    there = table.dropna(subset=["d_star_tokens", "lower"])
    assert ((there["lower"] <= there["d_star_tokens"]) & (there["d_star_tokens"] <= there["upper"])).all()
    assert table["exists_share"].between(0, 1).all()


STACKING = {"n_final": 7e9, "kind": "Model growth", "method": "stacking"}


def test_catch_up_draws_the_laws() -> None:
    tokens = np.geomspace(1e10, 1e15, 21)
    table = catch_up_curves(BASE, STACK, n_base=3.5e9, growth_factor=2, d1_tokens=[1e12, 1e13], tokens=tokens)
    assert table["d1_tokens"].unique().tolist() == [0.0, 1e12, 1e13]
    assert table[table["d1_tokens"] == 0]["loss_nats"].to_numpy() == pytest.approx(BASE.loss(tokens, n=7e9))
    late = table[table["d1_tokens"] == 1e13]
    assert late["loss_nats"].to_numpy() == pytest.approx(STACK.loss(tokens, d1=1e13, n=3.5e9))
    assert late["scratch_tokens"].to_numpy() == pytest.approx(
        scratch_tokens(BASE, late["loss_nats"].to_numpy(), 7e9)
    )
    assert late["catch_up_tokens"].unique().tolist() == [
        catch_up(BASE, STACK, d1=1e13, n=3.5e9, growth_factor=2)
    ]
    figure, numbers = figures_10_11.draw(table, **STACKING, note="a note " * 60)
    assert numbers is table
    labels = [line.get_label() for line in figure.axes[0].lines]
    assert labels[:3] == ["none: from scratch", "1T", "_child2"] or {
        "none: from scratch",
        "1T",
        "10T",
    } <= set(labels)
    assert clipped_texts(figure) == []


def test_infinite_catch_up_is_left_out_of_the_line() -> None:
    worse = CODE.with_coefficients(E=0.45)  # from scratch cannot reach the lowest losses of the reused model
    table = catch_up_curves(worse, CPT, n_base=7e9, d1_tokens=[1e13], tokens=np.geomspace(1e10, 1e15, 11))
    assert np.isinf(table["scratch_tokens"]).any()
    figure, _ = figures_10_11.draw(table, **STACKING)
    line = next(
        line for line in figure.axes[1].lines if len(line.get_xdata()) == 11 and line.get_linestyle() == "-"
    )
    drawn = np.asarray(line.get_ydata(), dtype=float)
    assert np.isfinite(drawn).sum() == np.isfinite(table[table["d1_tokens"] == 1e13]["scratch_tokens"]).sum()
    assert clipped_texts(figure) == []


def test_bad_tables_are_refused(grid: Points) -> None:
    table = catch_up_curves(BASE, STACK, n_base=3.5e9, growth_factor=2)
    with pytest.raises(ValueError, match="'scratch_tokens' is missing"):
        figures_10_11.draw(table.drop(columns="scratch_tokens"), **STACKING)
    with pytest.raises(ValueError, match="curve from scratch"):
        figures_10_11.draw(table[table["d1_tokens"] > 0], **STACKING)
    points = extrapolation_table(grid, extrapolation_test(grid, "joint"))
    with pytest.raises(ValueError, match="'held_out' is missing"):
        figures_4_9.draw(points.drop(columns="held_out"), "a test")
    with pytest.raises(ValueError, match="no row has held_out"):
        figures_4_9.draw(points.assign(held_out=False), "a test")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures_need_no_training(name: str) -> None:
    figure, numbers = getattr(published, FIGURES[name].published.partition(":")[2])(None, Sources())
    assert len(numbers) > 50
    assert clipped_texts(figure) == []
    notes = " ".join(text.get_text() for text in [figure._supxlabel])  # type: ignore[attr-defined]
    assert "Table 8" in notes
    if name == "figure-11":  # the figure states that the claim is not reproduced
        assert "is not reproduced" in " ".join(notes.split())
        assert numbers["catch_up_tokens"].isna().all()


def test_script_writes_the_same_bytes_twice(tmp_path: Path) -> None:
    script = ROOT / "workflow" / "scripts" / "draw.py"
    outputs = []
    for run in ("first", "second"):
        stem = tmp_path / run / "figure-11"
        command = [
            sys.executable,
            script,
            FIGURES["figure-11"].published,
            "--out",
            stem.with_suffix(".pdf"),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        assert done.returncode == 0, done.stderr
        outputs.append([stem.with_suffix(ending).read_bytes() for ending in (".pdf", ".png", ".csv")])
    assert outputs[0] == outputs[1]
    plotted = pd.read_csv(tmp_path / "first" / "figure-11.csv")
    assert {"d1_tokens", "d2_tokens", "loss_nats"} <= set(plotted)
