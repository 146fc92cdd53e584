"""The table of alpha3 with every interval that the cells allow, one row for each method and base model.

It is not one of the paper's tables; it extends Table 7, which has one interval for each exponent. `analysis.alpha3`
computes the intervals; this module formats them.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from twostage.analysis.alpha3 import DRAWS, UNITS, Alpha3, alpha3_of
from twostage.analysis.estimate_text import GAP, interval_text
from twostage.analysis.method_fit import MethodFit
from twostage.laws.fit import Interval
from twostage.study import ExcludedCell
from twostage.tables.table import Table, excluded_notes, identity, shown_identity

UNIT_TITLES = {"points": "points", "trunks": "first stages", "seeds": "seeds"}
_SEED_COLUMN = "alpha3_seed_"
_BEFORE_SEEDS = (
    *("method", "model", "n_base", "n_final", "n_cells", "n_seeds", "n_points"),
    *("alpha3", "profile_lower", "profile_upper"),
    *(f"{unit}_{name}" for unit in UNITS for name in ("n", "lower", "upper", "positive")),
)
_AFTER_SEEDS = (
    *("seed_fits_n", "seed_mean", "seed_mean_lower", "seed_mean_upper"),
    *("loo_rms_nats", "noise_sd_nats", "noise_n_cells", "noise_of_mean_nats", "note"),
)
_COUNTS = ("n_points", "points_n", "trunks_n", "seeds_n", "seed_fits_n", "noise_n_cells")
_UNKNOWN = Interval(None, None, 0.95, "", "")


def alpha3_table(
    cells: pd.DataFrame,
    fits: Sequence[MethodFit],
    excluded: Sequence[ExcludedCell] = (),
    draws: int = DRAWS,
) -> Table:
    """Return the table of alpha3 of the multiplicative law (Eq. 2) with all its intervals.

    Numbers: method, model, n_base, n_final, n_cells, n_seeds, n_points; alpha3 with its profile-likelihood interval
    (profile_lower, profile_upper); for points, trunks and seeds the number of resampled units (_n), the percentile
    interval (_lower, _upper) and the share of draws above zero (_positive); alpha3_seed_<s> fitted to each seed alone,
    the number of these fits (seed_fits_n), seed_mean and its t interval (seed_mean_lower, seed_mean_upper);
    loo_rms_nats of `mul`; noise_sd_nats between seeds of one cell, the number of cells behind it (noise_n_cells), and
    noise_of_mean_nats; note. Intervals are at 95 %. A missing number is empty, and `note` gives the reason.

    Args:
        cells: as `cells.read_cells` returns them.
        fits: made from these cells.
        excluded: listed below the table.
        draws: number of draws of each bootstrap.
    """
    rows, shown = [], []
    for fit in fits:
        found = alpha3_of(cells, fit, draws)
        rows.append(identity(fit) | _numbers(fit, found))
        shown.append(shown_identity(fit) | _texts(fit, found, rows[-1]))
    notes = [f"{row['method']}, {row['model']}: {row['note']}." for row in rows if row["note"]]
    return Table(
        title="α₃ of the multiplicative law and its uncertainty",
        numbers=_ordered(pd.DataFrame(rows)),
        shown=pd.DataFrame(shown),
        notes=(
            "Brackets: 95 % intervals. Profile: the profile-likelihood interval. Resampled: percentiles of "
            f"{draws} refits to resampled points, first stages (all points of one D1 and seed, which share their base "
            "model) or seeds, and the share of refits with α₃ > 0. With few points a percentile bootstrap is too narrow.",
            "Resampling seeds keeps the noise that the points of a seed share. With k seeds their spread is too small by "
            "√((k-1)/k), and there are few distinct draws (three seeds: ten), so this interval is a lower bound of the "
            "uncertainty. Each seed alone: the law fitted to one seed; mean ± t(0.975, k-1) s/√k over the k seeds.",
            "Errors in 10⁻³ nats per token: leave-one-out RMS error of the law, noise between seeds of one cell, and noise of "
            "a mean over the seeds of a cell (root mean square over the cells).",
            *notes,
            *excluded_notes(excluded),
        ),
    )


def _numbers(fit: MethodFit, found: Alpha3 | None) -> dict[str, object]:
    law = fit.laws.get("mul")
    noise = fit.noise
    errors: dict[str, object] = {
        "loo_rms_nats": law and law.loo_rms_nats,
        "noise_sd_nats": noise and noise.sd_nats,
        "noise_n_cells": noise and noise.n_cells,
        "noise_of_mean_nats": found and found.noise_of_mean_nats,
    }
    if found is None or law is None or law.fit is None:
        return {
            "alpha3": None,
            **errors,
            "note": "the study's laws.forms has no mul" if law is None else law.reason,
        }
    profile = law.fit.intervals.get("alpha3", _UNKNOWN)
    no_freedom = "" if "alpha3" in law.fit.intervals else "as many coefficients as points: no profile"
    numbers: dict[str, object] = {
        "n_points": found.n_points,
        "alpha3": found.value,
        "profile_lower": profile.lower,
        "profile_upper": profile.upper,
    }
    notes = [f"profile: {text}" for text in (profile.note, no_freedom) if text]
    for unit in UNITS:
        one = found.bootstraps[unit]
        numbers |= {
            f"{unit}_n": one.n_units,
            f"{unit}_lower": one.lower,
            f"{unit}_upper": one.upper,
            f"{unit}_positive": one.positive,
        }
        notes += [f"{UNIT_TITLES[unit]} resampled: {one.note}"] if one.note else []
    seeds = found.seeds
    notes += [
        text for text in (seeds.note, law.reason, "" if noise else "one seed in every cell: no noise") if text
    ]
    return (
        numbers
        | {f"{_SEED_COLUMN}{seed}": value for seed, value in seeds.values.items()}
        | {
            "seed_fits_n": len(seeds.values),
            "seed_mean": seeds.mean,
            "seed_mean_lower": seeds.lower,
            "seed_mean_upper": seeds.upper,
        }
        | errors
        | {"note": "; ".join(notes)}
    )


def _texts(fit: MethodFit, found: Alpha3 | None, row: dict[str, object]) -> dict[str, str]:
    """Return a row of the page."""

    def number(name: str, digits: int, factor: float = 1.0) -> str:
        value = row.get(name)
        return f"{factor * value:.{digits}f}" if isinstance(value, float) else GAP

    def interval(name: str) -> str:
        lower, upper = (
            value if isinstance(value := row.get(f"{name}_{end}"), float) else None
            for end in ("lower", "upper")
        )
        return interval_text(lower, upper, ".4f")

    texts = {
        "points": str(row.get("n_points", GAP)),
        "α₃": number("alpha3", 4),
        "profile": interval("profile"),
    }
    for unit in UNITS:
        share = number(f"{unit}_positive", 1, 100)
        texts[f"{UNIT_TITLES[unit]} resampled"] = interval(unit) + (
            f" ({share} % > 0)" if share != GAP else ""
        )
    alone = found.seeds.values if found else {}
    texts["each seed alone"] = ", ".join(f"{seed}: {value:.4f}" for seed, value in alone.items()) or GAP
    mean = number("seed_mean", 4)
    texts["their mean"] = mean if mean == GAP else f"{mean} {interval('seed_mean')}"
    return texts | {
        "leave-one-out": number("loo_rms_nats", 2, 1e3),
        "noise between seeds": number("noise_sd_nats", 2, 1e3),
        "noise of a mean": number("noise_of_mean_nats", 2, 1e3),
    }


def _ordered(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return all columns in order, including empty ones; seeds ascending; counts as integers even with missing values."""
    names = [str(name) for name in numbers]
    seeds = sorted(int(name.removeprefix(_SEED_COLUMN)) for name in names if name.startswith(_SEED_COLUMN))
    own = [f"{_SEED_COLUMN}{seed}" for seed in seeds]
    ordered = numbers.reindex(columns=[*_BEFORE_SEEDS, *own, *_AFTER_SEEDS])
    return ordered.astype(dict.fromkeys(_COUNTS, "Int64"))
