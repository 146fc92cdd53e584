"""Table 8: coefficients of the laws over model sizes with intervals, and the paper's coefficients for comparison.

It is made from the fit files of `analysis.joint_fit`. The columns follow the paper: alpha and A belong to tokens, beta and
B to N. Fit files of models from scratch use the opposite names (L = A N^-alpha + B D^-beta + E).
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from twostage.analysis.estimate_text import GAP, estimate_text
from twostage.analysis.joint_fit import SizesFit
from twostage.design.design import SCRATCH
from twostage.paper.published import published_table
from twostage.study import ExcludedCell
from twostage.tables.table import Table, excluded_notes

#: Coefficient in the paper's notation -> its heading.
COEFFICIENTS = {
    "alpha": "α",
    "alpha1": "α₁",
    "alpha2": "α₂",
    "alpha3": "α₃",
    "beta": "β",
    "A": "A",
    "B": "B",
    "E": "E",
}
#: Coefficient in the paper's notation -> its name in the fit file of models from scratch.
_SWAP = {"A": "B", "B": "A", "alpha": "beta", "beta": "alpha"}
#: (method or `scratch`, corpus) by their usual names -> row of the paper's Table 8.
PAPER_ROWS = {
    (SCRATCH, "generic"): "Base (Slimpajama)",
    (SCRATCH, "code"): "From-scratch (code)",
    ("cpt-code", "code"): "CPT (code)",
    ("stack", "generic"): "Stack",
}


def table_8(fits: Sequence[SizesFit], excluded: Sequence[ExcludedCell] = ()) -> Table:
    """Return the coefficients with 95 % profile-likelihood intervals (Table 8 of the paper), one row for each law.

    Numbers: law (`scratch` or the method), corpus, form, n_models, n_points (one for each seed), n_base_min, n_base_max (N
    before growth), growth_factor; each coefficient with _lower and _upper (natural log, tokens, parameters; empty if the
    form has no such coefficient or an end is not determined); extrapolation_rms_nats, the RMS error of the extrapolation
    test; paper_row and paper_<coefficient> as printed.
    """
    printed = published_table(8)
    rows, shown = [], []
    for one in fits:
        paper_row = PAPER_ROWS.get((one.name, one.corpus), "")
        low, high = one.n_base_range
        row: dict[str, object] = {
            "law": one.name,
            "corpus": one.corpus,
            "form": one.fit.form,
            "n_models": len(one.models),
            "n_points": len(one.points),
            "n_base_min": int(low),
            "n_base_max": int(high),
            "growth_factor": one.growth_factor,
        }
        name = f"from scratch on {one.corpus}" if one.name == SCRATCH else f"{one.name} (on {one.corpus})"
        cells = {"law": name, "sizes": str(len(one.models)), "points": str(len(one.points))}
        for coefficient, heading in COEFFICIENTS.items():
            value, lower, upper = _estimate(one, coefficient)
            theirs = str(printed.loc[paper_row, coefficient]) if paper_row else ""
            row |= {coefficient: value, f"{coefficient}_lower": lower, f"{coefficient}_upper": upper}
            row[f"paper_{coefficient}"] = theirs or None
            cells[heading] = estimate_text(value, lower, upper, ".4g")
            cells[f"{heading} (paper)"] = theirs or GAP
        rows.append(row | {"extrapolation_rms_nats": one.extrapolation.rms_nats, "paper_row": paper_row})
        shown.append(cells)
    return Table(
        title="Table 8: coefficients of the laws over model sizes",
        numbers=pd.DataFrame(rows),
        shown=_without_empty(pd.DataFrame(shown)),
        notes=(
            "Methods: L = A D₁^−α₁ D₂^(−α₂ + α₃ ln D₁) + B N^−β + E (Eq. 7), N before growth. Models from scratch: "
            "L = A D^−α + B N^−β + E; their fit files call the terms of N A and α, and those of D B and β.",
            "Brackets: 95 % profile-likelihood intervals; the cells do not determine open ends. D in tokens, natural "
            "logarithm. The paper's numbers are for six models from 15M to 1B on other data.",
            *excluded_notes(excluded),
        ),
    )


def _estimate(one: SizesFit, coefficient: str) -> tuple[float | None, float | None, float | None]:
    name = _SWAP.get(coefficient, coefficient) if one.fit.form == "chinchilla" else coefficient
    return one.fit.estimate(name) if name in one.fit.coefficients else (None, None, None)


def _without_empty(shown: pd.DataFrame) -> pd.DataFrame:
    """Drop columns that have only gaps, e.g. α₁ in a study without joint laws."""
    return shown.loc[:, [name for name in shown.columns if set(shown[name]) != {GAP}]]
