"""The table `crossover`: reuse compared with measured models from scratch at every D1 and D2, and a summary for each D1.

It is not one of the paper's tables. Measured numbers come from `analysis.measured_crossover`, numbers of fitted laws from
`analysis.crossover_fits`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from twostage.analysis.crossover_fits import FittedPair, describe, fit_pair
from twostage.analysis.estimate_text import GAP
from twostage.analysis.measured_crossover import (
    CROSSES,
    Comparison,
    Crossing,
    Differences,
    compare,
    find_crossing,
)
from twostage.common.units import format_quantity
from twostage.study import ExcludedCell
from twostage.tables.table import Table, excluded_notes

COLUMNS = (
    "kind",
    "method",
    "model",
    "corpus",
    "n_final",
    "scratch_model",
    "scratch_n",
    "d1_tokens",
    "d2_tokens",
    "n_seeds",
    "scratch_n_seeds",
    "loss_nats",
    "scratch_loss_nats",
    "difference_nats",
    "difference_se_nats",
    "fit_difference_nats",
    "scratch_tokens",
    "saved_tokens",
    "scratch_tokens_range",
    "d1_plus_d2_scratch_loss_nats",
    "d1_plus_d2_difference_nats",
    "d1_plus_d2_difference_se_nats",
    "beats_d1_plus_d2",
    "outcome",
    "from_d2_tokens",
    "from_d2_lower",
    "from_d2_upper",
    "no_crossing_probability",
    "scratch_better_throughout_probability",
    "reuse_better_at_largest_probability",
    "fit_outcome",
    "fit_from_d2_tokens",
    "fit_from_d2_lower",
    "fit_from_d2_upper",
    "fit_crossing_share",
    "noise_sd_nats",
    "noise_degrees_of_freedom",
    "noise_from",
    "note",
)


def crossover_table(cells: pd.DataFrame, delta: float, excluded: Sequence[ExcludedCell] = ()) -> Table:
    """Compare every method and base model with models from scratch.

    Args:
        cells: as `cells.read_cells` returns them.
        delta: threshold of the Huber loss of ln L, for the laws.
        excluded: listed below the table.

    Returns:
        Numbers with columns COLUMNS, in three kinds of rows. `point` (one D1 and D2): the difference reuse - scratch in
        nats with its standard error; the tokens from scratch to the loss of reuse, empty if scratch_tokens_range is
        `beyond` or `below` the measured range; the loss from scratch after D1 + D2 tokens, empty outside the measured
        range. `summary` (one D1): the D2 above which scratch is better, measured and by fitted laws; interval ends of 0
        and inf mean below and above all measured D2. `none`: there is no model from scratch at this size; `note` explains
        it. The page shows the summaries.
    """
    kept = cells[(cells["excluded"] == "") & (cells["d1_tokens"] > 0)]
    rows: list[dict[str, Any]] = []
    shown: list[dict[str, str]] = []
    missing: dict[
        str, list[str]
    ] = {}  # reason -> methods that were not compared or not fitted for this reason
    for method, model in dict.fromkeys(zip(kept["method"], kept["model"], strict=True)):
        one = compare(cells, str(method), str(model))
        name = f"{one.method} at {one.model}"
        if one.reason:
            rows.append(_identity(one) | {"kind": "none", "note": one.reason})
            missing.setdefault(f"Not compared: {one.reason}", []).append(name)
            continue
        fits = fit_pair(one, delta=delta)
        if isinstance(fits, str):
            missing.setdefault(f"Laws {fits}", []).append(name)
        for d1 in one.rows:
            points = _points(one, d1, fits)
            summary = _summary(one, d1, fits)
            rows += [*points, {**(points[-1] if points else {}), **summary}]
            shown.append(_shown(one, d1, points, summary))
    notes = [f"{', '.join(names)}. {reason}." for reason, names in missing.items()]
    return Table(
        title="Crossover: above which D2 is training from scratch better?",
        numbers=pd.DataFrame(rows).reindex(columns=list(COLUMNS)),
        shown=pd.DataFrame(shown),
        notes=(*_EXPLAINED, *notes, *excluded_notes(excluded)),
    )


_EXPLAINED = (
    "Measured: loss of reuse minus loss of a model trained from scratch on the same corpus, at the size after stage 2, with "
    "the same D₂ tokens. Losses are interpolated linearly in ln D₂ and never extrapolated. Brackets: 95 % intervals by Monte "
    "Carlo (20,000 draws, fixed seed): every difference is drawn independently with its standard error, which comes from the "
    "noise between seeds. If the points of a run share their noise, the true intervals are up to 1.4 times as wide. "
    "< and >: below and above all measured D₂. Without several seeds there is no interval.",
    "Laws: the multiplicative law of the method (Eq. 2) and a power law from scratch, fitted to the same cells. A crossing "
    "beyond the measured D₂ is an extrapolation.",
    "Saved: tokens from scratch to the loss of reuse at the largest common D₂, minus that D₂. Beats D₁ + D₂: number of D₂ at "
    "which reuse is better than training from scratch on D₁ + D₂ tokens, out of those where that loss is known. This counts "
    "the tokens of the base model at the size after stage 2, although a base model before growth takes fewer FLOPs per token.",
)


def _identity(one: Comparison) -> dict[str, Any]:
    noise = one.noise
    return {
        "method": one.method,
        "model": one.model,
        "corpus": one.corpus,
        "n_final": one.n_final,
        "scratch_model": one.scratch_model,
        "scratch_n": one.scratch_n or None,
        "noise_sd_nats": None if noise is None else noise.sd_nats,
        "noise_degrees_of_freedom": None if noise is None else noise.degrees_of_freedom,
        "noise_from": one.noise_from,
        "note": one.reason,
    }


def _points(one: Comparison, d1: int, fits: FittedPair | str) -> list[dict[str, Any]]:
    row, curve, scratch = one.differences(d1), one.rows[d1], one.scratch
    points = []
    for i, d2 in enumerate(row.d2.tolist()):
        mine, other = (int(np.searchsorted(tokens, d2)) for tokens in (curve.tokens, scratch.tokens))
        loss = float(curve.loss[mine])
        needed = scratch.tokens_to(loss)
        known = 0 < needed < np.inf
        both = scratch.at(d1 + d2)
        gap = None if both is None else loss - both[0]
        se = None
        if both is not None and one.noise is not None:
            se = one.noise.sd_nats * float(np.sqrt(1 / curve.seeds[mine] + both[1]))
        points.append(
            _identity(one)
            | {
                "kind": "point",
                "d1_tokens": d1,
                "d2_tokens": int(d2),
                "n_seeds": int(curve.seeds[mine]),
                "scratch_n_seeds": int(scratch.seeds[other]),
                "loss_nats": loss,
                "scratch_loss_nats": float(scratch.loss[other]),
                "difference_nats": float(row.nats[i]),
                "difference_se_nats": None if row.se is None else float(row.se[i]),
                "fit_difference_nats": None if isinstance(fits, str) else fits.difference(d1, d2),
                "scratch_tokens": needed if known else None,
                "saved_tokens": needed - d2 if known else None,
                "scratch_tokens_range": "" if known else "below" if needed == 0 else "beyond",
                "d1_plus_d2_scratch_loss_nats": None if both is None else both[0],
                "d1_plus_d2_difference_nats": gap,
                "d1_plus_d2_difference_se_nats": se,
                "beats_d1_plus_d2": None if gap is None else gap < 0,
            }
        )
    return points


def _summary(one: Comparison, d1: int, fits: FittedPair | str) -> dict[str, Any]:
    row = one.differences(d1)
    found = find_crossing(row)
    shares = (found.p_before, found.p_inside, found.p_beyond)
    summary = _identity(one) | {
        "kind": "summary",
        "d1_tokens": d1,
        "outcome": found.outcome,
        "from_d2_tokens": found.tokens,
        "from_d2_lower": found.lower,
        "from_d2_upper": found.upper,
        "no_crossing_probability": None if shares[1] is None else 1 - shares[1],
        "scratch_better_throughout_probability": shares[0],
        "reuse_better_at_largest_probability": shares[2],
        "note": _note(row, found),
    }
    if isinstance(fits, str):
        return summary | {"fit_outcome": fits}
    law = fits.from_d2(d1)
    largest = float(row.d2[-1]) if row.d2.size else float(one.scratch.tokens[-1])
    smallest = float(row.d2[0]) if row.d2.size else float(one.scratch.tokens[0])
    return summary | {
        "fit_outcome": describe(law.value, smallest, largest, fits.difference(d1, largest)),
        "fit_from_d2_tokens": law.value,
        "fit_from_d2_lower": law.lower,
        "fit_from_d2_upper": law.upper,
        "fit_crossing_share": law.exists_share,
    }


def _note(row: Differences, found: Crossing) -> str:
    if row.se is None:
        return "one seed everywhere: noise and intervals are not known"
    changes = int(np.sum(np.diff(row.nats >= 0)))
    return f"{changes} changes of sign; the last counts" if changes > 1 and found.outcome == CROSSES else ""


def _shown(one: Comparison, d1: int, points: list[dict[str, Any]], summary: dict[str, Any]) -> dict[str, str]:
    measured = [point["d2_tokens"] for point in points]
    known = [point["beats_d1_plus_d2"] for point in points if point["beats_d1_plus_d2"] is not None]
    last = points[-1] if points else {}
    p = summary["no_crossing_probability"]
    text = (
        _with_interval(summary, "from_d2", measured)
        if summary["outcome"] == CROSSES
        else f"{summary['outcome']}{_interval(summary, 'from_d2', measured)}"
    )
    saved = last.get("saved_tokens")
    reach = {"beyond": f"scratch needs more than {format_quantity(one.scratch.tokens[-1])}"}.get(
        last.get("scratch_tokens_range", ""), GAP
    )
    return {
        "method": one.method,
        "base model": one.model,
        "from scratch": one.scratch_model,
        "D₁": format_quantity(d1),
        "measured D₂": " to ".join(dict.fromkeys(map(format_quantity, measured[:1] + measured[-1:]))) or GAP,
        "scratch better from D₂": text,
        "P(no crossing within)": GAP if p is None else f"{100 * p:.0f} %",
        "scratch better from D₂, laws": _law_text(summary),
        "saved at the largest D₂": reach if saved is None else _signed(saved),
        "beats D₁ + D₂": f"{sum(known)} of {len(known)}" if known else GAP,
    }


def _signed(tokens: float) -> str:
    return f"{'−' if tokens < 0 else ''}{format_quantity(abs(tokens))}" if tokens else "0"


def _with_interval(summary: dict[str, Any], key: str, measured: list[int]) -> str:
    return f"{format_quantity(summary[f'{key}_tokens'])}{_interval(summary, key, measured)}"


def _interval(summary: dict[str, Any], key: str, measured: list[int]) -> str:
    ends = (summary[f"{key}_lower"], summary[f"{key}_upper"])
    if ends[0] is None or ends[1] is None or len(set(ends)) == 1:
        return ""  # the noise is not known, or all draws are on one side of the measured D2
    texts = [
        f"< {format_quantity(measured[0])}"
        if end == 0
        else f"> {format_quantity(measured[-1])}"
        if np.isinf(end)
        else format_quantity(end)
        for end in ends
    ]
    return f" [{texts[0]}, {texts[1]}]"


def _law_text(summary: dict[str, Any]) -> str:
    value = summary.get("fit_from_d2_tokens")
    if value is None:
        return "not fitted"
    if np.isnan(value):
        return str(summary["fit_outcome"]).removeprefix("laws: ")
    ends = [summary["fit_from_d2_lower"], summary["fit_from_d2_upper"]]
    interval = "" if np.isnan(ends).any() else f" [{format_quantity(ends[0])}, {format_quantity(ends[1])}]"
    where = str(summary["fit_outcome"]).removeprefix("laws: ")
    beyond = "" if where.startswith("within") else f" ({where.split()[0]} the measured)"
    return f"{format_quantity(value)}{interval}{beyond}"
