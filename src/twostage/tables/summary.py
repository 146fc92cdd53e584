"""The summary of a study: one Markdown page with its results and the paper's, and the claims as a table for the report.

This module only formats: every number comes from the study's tables, and `analysis.claims` judges them. Equal tables give
an equal page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from twostage.analysis.claims import FAILS, HOLDS, OPEN, Claim, Tables, claims, loo_rows, name_of
from twostage.analysis.estimate_text import GAP, estimate_text, interval_text
from twostage.analysis.measured_crossover import CROSSES
from twostage.analysis.sources import Sources
from twostage.catalogue.lookup import drawable_figures
from twostage.common.markdown import markdown_table
from twostage.common.units import format_quantity
from twostage.design.design import SCRATCH
from twostage.laws.declarations import DECLARED, PAPER_FORMS
from twostage.laws.fit import at_bound
from twostage.study import Study
from twostage.tables.table import Table, excluded_notes

GREEK = {
    **{f"alpha{i}": f"α{digit}" for i, digit in enumerate("₁₂₃", 1)},
    **{"alpha": "α", "beta": "β", "A": "A", "B": "B", "E": "E"},
}
#: Figures on the page, if the study draws them.
FIGURES = ("figure-1", "figure-3", "gradient-norm", "crossover", "figure-4-left", "figure-4-right")


def claims_table(tables: Tables, study: Study) -> Table:
    """Return the claims: as numbers (claim, source, what, verdict, detail; one row per finding) and as a page."""
    found = claims(tables)
    rows = [
        {"claim": claim.text, "source": claim.source, **vars(finding)}
        for claim in found
        for finding in claim.findings
    ]
    return Table(
        title="The paper's claims and this study's results",
        numbers=pd.DataFrame(rows, columns=["claim", "source", "what", "verdict", "detail"]),
        shown=_claims(found),
        notes=(CLAIMS_NOTE, *excluded_notes(study.excluded_cells)),
    )


def summary(tables: Tables, study: Study) -> str:
    """Return the summary page as Markdown.

    Args:
        tables: as for `claims.claims`; sections without a table are left out.
        study: the study, or the part of it, that the tables belong to.
    """
    claimed = claims_table(tables, study)
    sections = [
        f"# What study `{study.name}` measured",
        "Losses in nats per token, natural logarithms, D in tokens; brackets: 95 % intervals. The paper's numbers are for other data "
        "and larger models (0.1B; Table 8: 15M to 1B), so only orders and signs are comparable.",
        *_section(claimed.title, claimed.shown, claimed.notes[0]),
        *_section("Leave-one-out errors, 10⁻³ nats (Tables 1 and 2)", _errors(tables), ERRORS_NOTE),
        *_section("Exponents of the multiplicative law (Table 7)", _exponents(tables), EXPONENTS_NOTE),
        *_section("Uncertainty of α₃", _certainty(tables), CERTAINTY_NOTE),
        *_section("One law over model sizes (Table 8)", _sizes(tables), SIZES_NOTE),
        *_section("Reuse or from scratch?", _crossings(tables), CROSSINGS_NOTE),
        *_section(
            "Epochs", _epochs(tables), "The largest number of passes that a stage makes over its corpus."
        ),
        *_not_identified(tables),
        *_figures(study),
        "\n\n".join(claimed.notes[1:]),
    ]
    return "\n\n".join(sections) + "\n"


CLAIMS_NOTE = (
    "A claim holds or fails for a method and model if all of their 95 % intervals agree; otherwise it is not decided. Errors "
    "of forms and exponents at one D1 have no intervals; their values alone decide."
)
ERRORS_NOTE = (
    "A cell is left out with all its seeds. Bold: the smallest error of the row. Noise: standard deviation between seeds of "
    "one cell; differences far below it are not significant."
)
EXPONENTS_NOTE = (
    "Profile-likelihood intervals. α₁ and α₂ depend on the unit of D (D → D/u shifts both by α₃ ln u); at the centre of the "
    "grid they do not. α₃ never does."
)
CERTAINTY_NOTE = (
    "The profile treats points as independent, so it is too narrow if the points of one seed share noise. Bootstraps resample "
    "points, first stages (a seed and a D1), or seeds. The last columns are fits to each seed alone."
)
SIZES_NOTE = (
    "L = A D1^(−α₁) D2^(−α₂ + α₃ ln D1) + B N^(−β) + E; from scratch: A D^(−α) + B N^(−β) + E. Extrapolation: RMS error on the "
    "lowest tenth of the losses, which were left out of that fit."
)
CROSSINGS_NOTE = (
    "Measured losses, compared with models trained from scratch on the same corpus, at the size after stage 2, with the same "
    "D2. Nothing is extrapolated beyond the measured D2."
)


def _section(title: str, table: pd.DataFrame, note: str) -> list[str]:
    return [] if table.empty else [f"## {title}", markdown_table(table), note]


def _claims(found: Sequence[Claim]) -> pd.DataFrame:
    rows = []
    for claim in found:
        texts = {
            verdict: [f"{one.what} ({one.detail})" for one in claim.findings if one.verdict == verdict]
            for verdict in (HOLDS, OPEN, FAILS)
        }
        rows.append(
            {"the paper says": claim.text, "where": claim.source}
            | {verdict: "; ".join(some) or GAP for verdict, some in texts.items()}
        )
    return pd.DataFrame(rows)


def _errors(tables: Tables) -> pd.DataFrame:
    rows, measured = [], list(loo_rows(tables))
    fitted = [form for form in DECLARED if any(f"rms_{form}" in row for row in measured)]
    forms = list(dict.fromkeys((*PAPER_FORMS, *fitted)))
    for row in measured:
        values = {form: row.get(f"rms_{form}") for form in forms}
        texts = {form: GAP if pd.isna(value) else f"{value:.1f}" for form, value in values.items()}
        texts[row["best_form"]] = f"**{texts[row['best_form']]}**"
        paper = [row.get(f"paper_rms_{form}") for form in PAPER_FORMS]
        rows.append(
            {"": name_of(row), "cells": row["n_cells"], "seeds": row["n_seeds"]}
            | {"`mul`, α₃ = 0" if form == "mul0" else f"`{form}`": texts[form] for form in forms}
            | {"noise": GAP if pd.isna(row["noise_floor"]) else f"{row['noise_floor']:.1f}"}
            | {
                "paper: the same four": GAP
                if pd.isna(paper).all()
                else " / ".join(GAP if pd.isna(value) else f"{float(str(value)):.1f}" for value in paper)
            }
        )
    return pd.DataFrame(rows)


def _exponents(tables: Tables) -> pd.DataFrame:
    rows = []
    for _, row in tables.get("table-7", pd.DataFrame()).iterrows():
        names = ("alpha1", "alpha2", "alpha3")
        if pd.isna(row["alpha3"]):
            continue
        paper = [row[f"paper_{name}"] for name in names]
        rows.append(
            {"": name_of(row)}
            | {GREEK[name]: _estimate(row, name) for name in names}
            | {f"{GREEK[name]} at the centre": f"{row[f'{name}_centred']:.3f}" for name in names[:2]}
            | {
                "paper: α₁, α₂, α₃": GAP
                if pd.isna(paper).any()
                else ", ".join(f"{float(str(value)):.3f}" for value in paper)
            }
        )
    return pd.DataFrame(rows)


def _estimate(row: pd.Series, name: str, spec: str = ".3f") -> str:
    return estimate_text(row[name], row[f"{name}_lower"], row[f"{name}_upper"], spec)


def _certainty(tables: Tables) -> pd.DataFrame:
    rows = []
    for _, row in tables.get("alpha3", pd.DataFrame()).iterrows():
        if pd.isna(row["alpha3"]):
            continue
        alone = [
            f"{row[key]:.3f}"
            for key in row.index
            if str(key).startswith("alpha3_seed_") and not pd.isna(row[key])
        ]
        rows.append(
            {"": name_of(row), "α₃": f"{row['alpha3']:.3f}"}
            | {
                title: interval_text(row[f"{unit}_lower"], row[f"{unit}_upper"], ".3f")
                for unit, title in (
                    ("profile", "profile"),
                    ("points", "points"),
                    ("trunks", "first stages"),
                    ("seeds", "seeds"),
                )
            }
            | {"seeds alone": ", ".join(alone) or GAP}
            | {"their mean, t interval": _estimate(row, "seed_mean")}
        )
    return pd.DataFrame(rows)


def _sizes(tables: Tables) -> pd.DataFrame:
    rows = []
    names = ("alpha", "alpha1", "alpha2", "alpha3", "beta", "E")
    for _, row in tables.get("table-8", pd.DataFrame()).iterrows():
        title = f"from scratch on {row['corpus']}" if row["law"] == SCRATCH else str(row["law"])
        rows.append(
            {"": title, "sizes": row["n_models"], "points": row["n_points"]}
            | {
                GREEK[name]: _estimate(row, name, ".4f" if name == "alpha3" else ".3f")
                + (
                    ""
                    if pd.isna(row[f"paper_{name}"])
                    else f" (paper {float(str(row[f'paper_{name}'])):.3f})"
                )
                for name in names
            }
            | {"extrapolation, 10⁻³ nats": _thousandths(row["extrapolation_rms_nats"])}
        )
    return pd.DataFrame(rows)


def _thousandths(value: float) -> str:
    return GAP if pd.isna(value) else f"{1e3 * value:.1f}"


def _crossings(tables: Tables) -> pd.DataFrame:
    crossover = tables.get("crossover", pd.DataFrame({"kind": []}))
    rows = []
    for _, row in crossover[crossover["kind"] == "summary"].iterrows():
        text = str(row["outcome"])
        if text == CROSSES:
            text = f"scratch better from {format_quantity(row['from_d2_tokens'])} on"
        compared = not pd.isna(row["difference_nats"])
        rows.append(
            {
                "": name_of(row),
                "D1": format_quantity(row["d1_tokens"]),
                "measured": text + _crossing_interval(row),
            }
            | {"largest D2 in common": format_quantity(row["d2_tokens"]) if compared else GAP}
            | {"reuse − scratch there": f"{row['difference_nats']:+.3f}" if compared else GAP}
        )
    return pd.DataFrame(rows)


def _crossing_interval(row: pd.Series) -> str:
    """Format the interval of the crossing; an open end is `before all` or `beyond all` measured D2."""
    lower, upper = row["from_d2_lower"], row["from_d2_upper"]
    if pd.isna(lower) or pd.isna(upper) or lower == upper:
        return ""
    ends = (
        "before all" if lower == 0 else format_quantity(lower),
        "beyond all" if upper == float("inf") else format_quantity(upper),
    )
    return f" [{ends[0]}, {ends[1]}]"


def _epochs(tables: Tables) -> pd.DataFrame:
    cells = tables["cells"]
    if not {"epochs_1", "epochs_2"} <= set(cells.columns):  # optional in an imported table
        return pd.DataFrame()
    used = cells[(cells["method"] != SCRATCH) & (cells["d1_tokens"] > 0)]
    largest = used.groupby("method", sort=False)[["epochs_1", "epochs_2"]].max()
    rows = [
        {"": method, "stage 1": f"{row['epochs_1']:.2f}", "stage 2": f"{row['epochs_2']:.2f}"}
        for method, row in largest.iterrows()
    ]
    return pd.DataFrame(rows)


def _not_identified(tables: Tables) -> list[str]:
    """List coefficients that the cells do not determine: at a bound, with an open end, or with an interval above their value."""
    rows: dict[str, list[str]] = {}
    for _, row in tables.get("table-7", pd.DataFrame()).iterrows():
        lacking = [
            f"{GREEK[name]} {reason}"
            for name in ("alpha1", "alpha2", "alpha3")
            if (reason := _loose(row, name))
        ]
        if at_bound("E") in str(row["note"]):
            lacking.insert(0, "E is at its bound 0")
        if pd.isna(row["alpha3"]):
            lacking = [str(row["note"])]
        if lacking:
            rows.setdefault("; ".join(lacking), []).append(name_of(row))
    for _, row in tables.get("table-8", pd.DataFrame()).iterrows():
        lacking = [
            f"{title} {reason}"
            for name, title in GREEK.items()
            if not pd.isna(row[name]) and (reason := _loose(row, name))
        ]
        if lacking:
            rows.setdefault("; ".join(lacking), []).append(f"{row['law']} over sizes, on {row['corpus']}")
    lines = [f"- {', '.join(names)}: {text}" for text, names in rows.items()]
    return ["## What is not identified", "\n".join(lines)] if lines else []


def _loose(row: pd.Series, name: str) -> str:
    value, lower, upper = row[name], row[f"{name}_lower"], row[f"{name}_upper"]
    if pd.isna(value):
        return ""
    if pd.isna(lower) and pd.isna(upper):
        return "has no interval"
    if pd.isna(lower) or pd.isna(upper):
        return "is bounded on one side only"
    if lower <= 0 <= upper and name not in ("E",):
        return "may be 0"
    return "has an interval wider than its value" if upper - lower > abs(value) else ""


def _figures(study: Study) -> list[str]:
    names = [name for name in FIGURES if name in drawable_figures(study)]
    return ["## Figures", *(f"![{name}](figures/{name}.png)" for name in names)] if names else []


def make_summary(study: Study, sources: Sources) -> Table:
    """The claims with the page."""
    tables = {"cells": sources.cells()} | sources.tables()
    return replace(claims_table(tables, study), page=summary(tables, study))
