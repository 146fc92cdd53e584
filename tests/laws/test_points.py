"""Points: what a table must look like, and which rows belong together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from grids import simulated

from twostage.laws.points import Points

COLUMNS = {"d1": "d1_tokens", "d2": "d2_tokens", "n": "n_base", "loss": "loss_nats", "seed": "seed"}


def table() -> pd.DataFrame:
    rows = [
        (n, d1, d2, seed) for n in (1e8, 2e8) for d1 in (1e9, 2e9) for d2 in (1e9, 2e9) for seed in (0, 1)
    ]
    frame = pd.DataFrame(rows, columns=["n_base", "d1_tokens", "d2_tokens", "seed"])
    return frame.assign(loss_nats=2.0 + 0.1 * np.arange(len(frame)))


def test_a_clean_table_becomes_points():
    points = Points.from_frame(table(), **COLUMNS)
    assert len(points) == 16
    assert points.loss.dtype == np.float64
    assert np.unique(points.cell).size == 8  # a cell keeps its seeds together
    assert np.unique(points.trunk).size == 8  # (n, d1, seed)
    first = (points.n == 1e8) & (points.d1 == 1e9) & (points.d2 == 1e9)
    assert np.unique(points.cell[first]).size == 1
    trunk = (points.n == 1e8) & (points.d1 == 1e9) & (points.seed == 1)
    assert np.unique(points.trunk[trunk]).size == 1


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("loss_nats", np.nan, r"row 4, column 'loss_nats'.*missing"),
        ("loss_nats", -1.0, r"row 4, column 'loss_nats'.*-1"),
        ("loss_nats", 0.0, r"row 4, column 'loss_nats'.*0"),
        ("loss_nats", np.inf, r"row 4, column 'loss_nats'.*inf"),
        ("d1_tokens", -5, r"row 4, column 'd1_tokens'.*-5"),
        ("d2_tokens", 0, r"row 4, column 'd2_tokens'.*0"),
        ("n_base", np.nan, r"row 4, column 'n_base'.*missing"),
        ("loss_nats", "abc", r"row 4, column 'loss_nats'.*'abc' is not a number"),
        ("loss_nats", None, r"row 4, column 'loss_nats'.*missing"),
    ],
)
def test_a_bad_value_is_named_by_row_and_column(column: str, value: object, message: str):
    frame = table().astype({column: object})
    frame.loc[3, column] = value
    with pytest.raises(ValueError, match=message):
        Points.from_frame(frame, **COLUMNS)


def test_an_unknown_column_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'d1' \(for d1\).*d1_tokens"):
        Points.from_frame(table(), **(COLUMNS | {"d1": "d1"}))


def test_duplicate_cells_of_one_seed_are_refused_and_the_rows_named():
    frame = pd.concat([table(), table().iloc[[2]]])
    with pytest.raises(ValueError, match=r"rows 3 and 17 are the same cell .*d2_tokens = 2e\+09.*drop one"):
        Points.from_frame(frame, **COLUMNS)


def test_repeated_cells_without_a_seed_column_are_refused():
    with pytest.raises(ValueError, match=r"rows 1 and 2 .*name the seed column"):
        Points.from_frame(table(), **(COLUMNS | {"seed": None}))


def test_an_empty_table_is_refused():
    with pytest.raises(ValueError, match="no points"):
        Points(loss=np.array([]))


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="'d2' has 3 values but loss has 2"):
        Points(loss=np.array([2.0, 3.0]), d2=np.array([1e9, 2e9, 3e9]))


def test_a_subset_keeps_its_labels():
    points = simulated("stack", repeats=2)
    part = points.subset(points.d1 > points.d1.min())
    assert len(part) == 40
    assert set(part.cell) == set(points.cell[points.d1 > points.d1.min()])
    np.testing.assert_array_equal(part.with_loss(part.loss * 2).cell, part.cell)


def test_a_missing_variable_is_named():
    with pytest.raises(ValueError, match="have no 'n'"):
        simulated("stack").variables_for(("d1", "n"))
