"""One law over both stages (appendix D.3), fitted to a study's own cells and compared with separate laws for each stage.

The paper uses separate laws because "a unified scaling law does not provide a satisfactory fit across both stages". This
table shows the size of that misfit for each continual-pretraining method and base model of a study.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from twostage.laws.unified import fit_unified

COLUMNS = (
    "method",
    "model",
    "group",
    "n_points",
    "unified_rms_nats",
    "separate_form",
    "separate_rms_nats",
    "note",
)


def unified_table(cells: pd.DataFrame, base_cells: pd.DataFrame, delta: float) -> pd.DataFrame:
    """Return the errors of the unified law by group of models.

    For each continual-pretraining method and base model, the points are its cells, the base checkpoints on the same
    held-out split (D2 = 0) and, if the study has them, models trained from scratch on that corpus (D1 = 0).

    Args:
        cells, base_cells: the tables of `aggregate_cells`.
        delta: threshold of the Huber loss of ln L.

    Returns:
        One row per method, model and group (base, from scratch, reused): RMS errors in nats of the unified law and of a
        law fitted to the group alone. Where nothing could be fitted, `note` gives the reason.
    """
    cells, base_cells = (_kept(table) for table in (cells, base_cells))
    rows: list[pd.DataFrame] = []
    for (method, model, corpus), own in cells.groupby(["method", "model", "valid_corpus"], sort=False):
        base = base_cells[(base_cells["model"] == model) & (base_cells["valid_corpus"] == corpus)]
        if method == "scratch" or base.empty or (own["n_final"] != own["n_base"]).any():
            continue  # growth: the base has another size and another loss at D2 = 0
        scratch = cells[
            (cells["method"] == "scratch") & (cells["model"] == model) & (cells["valid_corpus"] == corpus)
        ]
        parts = [own, base.assign(d2_tokens=0), scratch.assign(d1_tokens=0)]
        points = pd.concat(
            [part[["loss_nats", "d1_tokens", "d2_tokens"]] for part in parts], ignore_index=True
        )
        columns = (
            points[name].to_numpy(dtype=np.float64) for name in ("loss_nats", "d1_tokens", "d2_tokens")
        )
        try:
            summary = fit_unified(*columns, delta=delta).summary
        except ValueError as error:
            summary = pd.DataFrame([{"group": "all", "n_points": len(points), "note": str(error)}])
        rows.append(summary.assign(method=str(method), model=str(model)))
    table = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
    return table.reindex(columns=list(COLUMNS))


def _kept(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are not excluded; an imported table may lack that column."""
    if "excluded" not in table:
        return table
    return table[table["excluded"].isna() | (table["excluded"] == "")]
