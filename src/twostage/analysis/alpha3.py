"""How certain alpha3 of one method and base model is, in every way that its cells allow.

alpha3 > 0 is the finding of the paper, so one interval is not enough: the profile of the fit to all points, bootstraps over
points, first stages and seeds, and a fit to each seed alone. What the cells do not allow is missing, with the reason.
Pure functions of cells and a fit that is already made; the table is made in `tables.alpha3`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twostage.analysis.cells import method_cells
from twostage.analysis.method_fit import MethodFit, points_of
from twostage.analysis.over_seeds import mean_over_seeds
from twostage.common.errors import UserError
from twostage.laws.fit import Fit, fit_law
from twostage.laws.points import AnyArray, FloatArray, Points
from twostage.laws.uncertainty import bootstrap, resampled_weights

DRAWS = 2000
LEVEL = 0.95
#: Of the bootstraps' random numbers.
SEED = 0
#: Of two points or trunks there are three different draws, one of them the data: no interval.
MIN_UNITS = 3
Unit = Literal["points", "trunks", "seeds"]
UNITS: tuple[Unit, ...] = ("points", "trunks", "seeds")


@dataclass(frozen=True)
class Resampled:
    """A percentile bootstrap. `n_units`: units resampled; interval and `positive`, the share of draws above zero, are
    None where `note` says why."""

    n_units: int
    lower: float | None = None
    upper: float | None = None
    positive: float | None = None
    note: str = ""


@dataclass(frozen=True)
class SeedFits:
    """Fits to single seeds. `values`: alpha3 by seed; `mean` and its interval, mean +- t s / sqrt(k), need two seeds."""

    values: dict[int, float]
    mean: float | None = None
    lower: float | None = None
    upper: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Alpha3:
    """alpha3 of Eq. 2 and what is known of its uncertainty. `noise_of_mean_nats`: of a mean over a cell's seeds, root mean
    square over the cells; None, as in the fit file, with one seed in every cell."""

    value: float
    n_points: int
    bootstraps: dict[Unit, Resampled]
    seeds: SeedFits
    noise_of_mean_nats: float | None


def alpha3_of(cells: pd.DataFrame, fit: MethodFit, draws: int = DRAWS) -> Alpha3 | None:
    """Return what the cells say of alpha3; None where the fit file has no fit of `mul`.

    Args:
        cells: as `cells.read_cells` returns them.
        fit: made from these cells; every refit starts from its optimum and has its objective.
        draws: of each bootstrap.

    Raises:
        UserError: the fit is of other cells.
    """
    law = fit.laws.get("mul")
    if law is None or law.fit is None:
        return None
    points = points_of(method_cells(cells, fit.method, fit.model))
    if len(points) != law.fit.n_points:
        raise UserError(
            f"fits/{fit.method}/{fit.model}.json: fitted to {law.fit.n_points} points, and the cells have {len(points)}; "
            "make it again with: snakemake -f <the fit file>"
        )
    noise = None
    if fit.noise is not None:
        seeds_of_cells = np.unique(points.cell, return_counts=True)[1]
        noise = fit.noise.sd_nats * float(np.sqrt(np.mean(1 / seeds_of_cells)))
    return Alpha3(
        value=law.fit.coefficients["alpha3"],
        n_points=len(points),
        bootstraps={unit: _resampled(points, law.fit, unit, draws) for unit in UNITS},
        seeds=_seed_fits(points, law.fit),
        noise_of_mean_nats=noise,
    )


def _resampled(points: Points, fit: Fit, unit: Unit, draws: int) -> Resampled:
    notes = []
    if unit == "seeds":
        complete, others = _complete_seeds(points)
        if len(complete) < 2:
            few = "one seed" if len(complete) + len(others) == 1 else "fewer than two seeds have all cells"
            return Resampled(len(complete), note=few)
        if others:
            notes.append(f"without {_listed(others)}, which lack{'s' * (len(others) == 1)} cells")
            points = points.subset(np.isin(_seed(points), complete))
            fit = fit_law(points, "mul", objective=fit.objective_name, delta=fit.objective_spec.delta)
    units = {"points": np.arange(len(points)), "trunks": points.trunk, "seeds": _seed(points)}
    n_units = np.unique(units[unit]).size
    if unit != "seeds" and n_units < MIN_UNITS:
        return Resampled(n_units, note=f"{n_units} {unit} are too few to resample")
    if np.unique(points.cell).size <= len(fit.coefficients):
        return Resampled(n_units, note="as many coefficients as cells: every draw is fitted exactly")
    weights = resampled_weights(points, draws, unit, SEED)
    enough = _determined(points, weights, len(fit.coefficients))
    column = list(fit.law.coefficients).index("alpha3")
    values = bootstrap(points, "mul", draws, unit, SEED, fit=fit)[enough, column]
    if not enough.all():
        notes.append(f"{(~enough).sum()} of {draws} draws left out, which hold too few D1, D2 or cells")
    lower, upper = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Resampled(n_units, float(lower), float(upper), float(np.mean(values > 0)), "; ".join(notes))


def _determined(points: Points, weights: FloatArray, coefficients: int) -> NDArray[np.bool_]:
    """Which draws (n, m) can be fitted at all: two D1, two D2 and as many cells as coefficients; (n,).

    A refit of the others stays where it started, which would narrow the interval.
    """
    present = weights > 0
    enough = np.ones(len(weights), bool)
    tokens = points.variables()
    for labels, least in ((tokens["d1"], 2), (tokens["d2"], 2), (points.cell, coefficients)):
        member = labels[:, None] == np.unique(labels)
        enough &= (present @ member).sum(axis=1) >= least
    return enough


def _complete_seeds(points: Points) -> tuple[list[int], list[int]]:
    """Seeds that have every cell, and the others."""
    seeds, counts = np.unique(_seed(points), return_counts=True)
    all_cells = counts == np.unique(points.cell).size
    return seeds[all_cells].tolist(), seeds[~all_cells].tolist()


def _seed_fits(points: Points, fit: Fit) -> SeedFits:
    values: dict[int, float] = {}
    grids, unfitted = set(), []
    for seed in np.unique(_seed(points)).tolist():
        own = points.subset(_seed(points) == seed)
        try:
            alone = fit_law(own, "mul", objective=fit.objective_name, delta=fit.objective_spec.delta)
        except ValueError:  # too few cells, D1 or D2
            unfitted.append(seed)
            continue
        values[seed] = alone.coefficients["alpha3"]
        grids.add(tuple(sorted(own.cell.tolist())))
    notes = [f"{_listed(unfitted)} alone: too few cells for the law"] if unfitted else []
    if len(values) < 2:
        return SeedFits(values, note="; ".join([*notes, "no mean over seeds of fewer than two fits"]))
    if len(grids) > 1:
        notes.append("seeds alone have different cells and count alike in the mean")
    return SeedFits(values, *mean_over_seeds(values.values()), "; ".join(notes))


def _seed(points: Points) -> AnyArray:
    assert points.seed is not None  # cells have seeds
    return points.seed


def _listed(seeds: list[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
