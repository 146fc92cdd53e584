"""Checks the paper's claims against a study's own tables: each holds, does not hold, or is not decided.

Pure functions of the tables of a study (`tables/*.csv`). Where a number has 95 % intervals, all of them must agree for a
claim to hold or fail; otherwise it is not decided. No claim is judged by extrapolation beyond the measured tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from twostage.analysis.estimate_text import estimate_text
from twostage.analysis.measured_crossover import BACK, CROSSES, REUSE, SCRATCH_BETTER
from twostage.analysis.norm_slope import norm_slope
from twostage.common.units import format_quantity
from twostage.design.design import SCRATCH

HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided"
Tables = Mapping[str, pd.DataFrame]  # name without .csv -> table


@dataclass(frozen=True)
class Finding:
    """The verdict on a claim for one method and model. `verdict`: HOLDS, FAILS or OPEN; `detail`: the numbers behind it."""

    what: str
    verdict: str
    detail: str


@dataclass(frozen=True)
class Claim:
    """A statement of the paper. `source`: where the paper says it; `findings`: the study's verdicts."""

    text: str
    source: str
    findings: tuple[Finding, ...]


def claims(tables: Tables) -> list[Claim]:
    """Return the claims that the tables can test, in the paper's order.

    Args:
        tables: `cells` as `cells.read_cells` returns it, and those of table-1, table-2, table-7, table-8, alpha3 and
            crossover that the study has.
    """
    found = [
        Claim(
            "The multiplicative law with interaction has the smallest leave-one-out error",
            "Tables 1 and 2",
            tuple(_best_form(tables)),
        ),
        Claim("α₃ > 0: saturation", "Table 7", tuple(_positive_alpha3(tables))),
        Claim(
            "α₂ − α₃ ln D₁ > 0 in the experiments: a second stage always gains",
            "Section 4.1",
            tuple(_gains(tables)),
        ),
        Claim("α₃ > 0 in the law over sizes", "Table 8", tuple(_positive_over_sizes(tables))),
        Claim(
            "From scratch wins in the end, for a second stage that is long enough",
            "Section 5.3",
            tuple(_scratch_wins(tables)),
        ),
        Claim(
            "Gradient norms in the second stage grow with D₁",
            "v2, after a summary of it",
            tuple(_norms_grow(tables)),
        ),
    ]
    return [claim for claim in found if claim.findings]


def loo_rows(tables: Tables) -> Iterable[pd.Series]:
    """Yield the rows of Tables 1 and 2 that have a leave-one-out error."""
    for name in ("table-1", "table-2"):
        for _, row in tables.get(name, pd.DataFrame()).iterrows():
            if isinstance(row["best_form"], str):
                yield row


def name_of(row: Mapping[str, object] | pd.Series) -> str:
    """Return the method and model of a row, e.g. `stack, 33k`."""
    return f"{row['method']}, {row['model']}"


def _best_form(tables: Tables) -> Iterable[Finding]:
    for row in loo_rows(tables):
        errors = {
            str(key).removeprefix("rms_"): row[key]
            for key in row.index
            if str(key).startswith("rms_") and not pd.isna(row[key])
        }
        if "mul" not in errors or len(errors) < 2:
            continue
        best = min((form for form in errors if form != "mul"), key=lambda form: errors[form])
        verdict = HOLDS if errors["mul"] < errors[best] else FAILS
        yield Finding(name_of(row), verdict, f"{errors['mul']:.1f}, {best} {errors[best]:.1f}")


def _positive_alpha3(tables: Tables) -> Iterable[Finding]:
    for _, row in tables.get("alpha3", tables.get("table-7", pd.DataFrame())).iterrows():
        if pd.isna(row["alpha3"]):
            continue
        intervals = [
            (row[f"{name}_lower"], row[f"{name}_upper"])
            for name in ("profile", "points", "trunks", "seeds", "seed_mean", "alpha3")
            if f"{name}_lower" in row.index
            and not (pd.isna(row[f"{name}_lower"]) and pd.isna(row[f"{name}_upper"]))
        ]
        yield Finding(name_of(row), _sign(row["alpha3"], intervals), f"{row['alpha3']:.3f}")


def _positive_over_sizes(tables: Tables) -> Iterable[Finding]:
    for _, row in tables.get("table-8", pd.DataFrame()).iterrows():
        if row["law"] != SCRATCH and not pd.isna(row["alpha3"]):
            ends = (row["alpha3_lower"], row["alpha3_upper"])
            yield Finding(
                str(row["law"]),
                _sign(row["alpha3"], [ends]),
                estimate_text(row["alpha3"], *ends, ".4f"),
            )


def _gains(tables: Tables) -> Iterable[Finding]:
    """Exponent of D2 at the largest D1. It has no interval, so its sign alone decides."""
    cells = tables["cells"]
    for _, row in tables.get("table-7", pd.DataFrame()).iterrows():
        own = cells[(cells["method"] == row["method"]) & (cells["model"] == row["model"])]
        if own.empty or pd.isna(row["alpha3"]):
            continue
        d1 = float(own["d1_tokens"].max())
        exponent = row["alpha2"] - row["alpha3"] * math.log(d1)
        yield Finding(
            name_of(row), HOLDS if exponent > 0 else FAILS, f"{exponent:.3f} at {format_quantity(d1)}"
        )


def _scratch_wins(tables: Tables) -> Iterable[Finding]:
    if "crossover" not in tables:
        return
    rows = tables["crossover"]
    for (method, model), own in rows[rows["kind"] == "summary"].groupby(["method", "model"], sort=False):
        outcomes = own.set_index("d1_tokens")["outcome"]
        won = [d1 for d1, outcome in outcomes.items() if outcome in (CROSSES, SCRATCH_BETTER)]
        lost = [d1 for d1, outcome in outcomes.items() if outcome in (REUSE, BACK)]
        texts = [
            f"{word} for D₁ = {', '.join(format_quantity(float(str(d1))) for d1 in some)}"
            for word, some in (("within the grid", won), ("not within it", lost))
            if some
        ]
        verdict = HOLDS if won and not lost else OPEN
        if texts:
            yield Finding(f"{method}, {model}", verdict, "; ".join(texts))


def _norms_grow(tables: Tables) -> Iterable[Finding]:
    cells = tables["cells"]
    if "grad_norm_mean" not in cells:
        return
    used = cells[(cells["method"] != SCRATCH) & (cells["d1_tokens"] > 0) & (cells["excluded"] == "")]
    for (method, model), own in used.groupby(["method", "model"], sort=False):
        slope = norm_slope(own)
        if slope is not None:
            ends = () if slope.lower is None else ((slope.lower, slope.upper),)
            detail = f"{slope.per_doubling} for twice the D₁"
            yield Finding(f"{method}, {model}", _sign(slope.mean, ends), detail)


def _sign(value: float, intervals: Iterable[tuple[float, float | None]]) -> str:
    """Return HOLDS or FAILS if all intervals are on one side of zero, else OPEN. A missing end counts as unbounded."""
    known = list(intervals)
    if known and value > 0 and all(not pd.isna(lower) and lower > 0 for lower, _ in known):
        return HOLDS
    if (
        known
        and value < 0
        and all(upper is not None and not pd.isna(upper) and upper < 0 for _, upper in known)
    ):
        return FAILS
    return OPEN
