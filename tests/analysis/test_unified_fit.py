"""The unified law of appendix D.3 on the tables of a study."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from results_tree import build, make_design

from twostage.analysis.cells import aggregate_cells
from twostage.analysis.unified_fit import unified_table
from twostage.laws.unified import fit_unified


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    design = make_design()
    return aggregate_cells(design, build(design, tmp_path_factory.mktemp("results")))


def test_points_are_the_methods_cells_and_the_bases_at_d2_zero(tables):
    table = unified_table(tables.cells, tables.base_cells, delta=1e-3)
    (method,) = table["method"].unique()  # growth has no loss of the same model at D2 = 0
    assert method == "cpt-code"
    own = tables.cells[tables.cells["method"] == "cpt-code"]
    base = tables.base_cells[tables.base_cells["valid_corpus"] == "code"]
    assert dict(zip(table["group"], table["n_points"], strict=True)) == {
        "base": len(base),
        "reused": len(own),
    }

    loss = np.r_[own["loss_nats"], base["loss_nats"]].astype(float)
    d1 = np.r_[own["d1_tokens"], base["d1_tokens"]].astype(float)
    d2 = np.r_[own["d2_tokens"], np.zeros(len(base))].astype(float)
    direct = fit_unified(loss, d1, d2, delta=1e-3).summary
    assert table["unified_rms_nats"].to_numpy() == pytest.approx(
        direct["unified_rms_nats"].to_numpy(), rel=1e-6
    )
    assert (table["separate_rms_nats"].dropna() >= 0).all()


def test_excluded_cells_are_left_out(tables):
    cells = tables.cells.copy()
    dropped = cells.index[cells["method"] == "cpt-code"][0]
    cells.loc[dropped, "excluded"] = "a reason"
    table = unified_table(cells, tables.base_cells, delta=1e-3)
    full = unified_table(tables.cells, tables.base_cells, delta=1e-3)
    reused = table["group"] == "reused"
    assert table.loc[reused, "n_points"].item() == full.loc[reused, "n_points"].item() - 1


def test_too_few_points_give_a_reason(tables):
    cells = tables.cells[(tables.cells["method"] != "cpt-code")]
    few = tables.cells[tables.cells["method"] == "cpt-code"].head(1)
    table = unified_table(pd.concat([cells, few]), tables.base_cells.head(1), delta=1e-3)
    assert table["note"].str.len().gt(10).all()


def test_growth_on_another_corpus_is_left_out_too(tmp_path):
    """Its base was measured on that corpus, but has another size."""
    methods = {
        "cpt-code": {"kind": "cpt", "corpus": "code"},
        "stack-code": {"kind": "stack", "corpus": "code"},
    }
    design = make_design(methods=methods)
    tables = aggregate_cells(design, build(design, tmp_path))
    assert "stack-code" in set(tables.cells["method"])
    assert unified_table(tables.cells, tables.base_cells, delta=1e-3)["method"].unique().tolist() == [
        "cpt-code"
    ]
