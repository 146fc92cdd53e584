"""Uncertainty of alpha3 for one method and base model.

alpha3 > 0 is the main finding of the paper, so several intervals are computed: the profile of the fit to all points,
bootstraps over points, first stages and seeds, and a separate fit for each seed. A note gives the reason where the cells
do not allow one of them. Pure functions of cells and an existing fit; `tables.alpha3` makes the table.
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
SEED = 0  # of the bootstrap's random numbers
#: Two points or trunks give only three different draws, and one of them is the data itself.
MIN_UNITS = 3
Unit = Literal["points", "trunks", "seeds"]
UNITS: tuple[Unit, ...] = ("points", "trunks", "seeds")


@dataclass(frozen=True)
class Resampled:
    """A percentile bootstrap.

    `n_units`: number of resampled units. `positive`: share of draws above zero. Where the bootstrap is not possible,
    the interval and `positive` are None and `note` gives the reason.
    """

    n_units: int
    lower: float | None = None
    upper: float | None = None
    positive: float | None = None
    note: str = ""


@dataclass(frozen=True)
class SeedFits:
    """Fits to single seeds. `values`: alpha3 by seed; `mean` and its interval, mean +- t s / sqrt(k), need two fits."""

    values: dict[int, float]
    mean: float | None = None
    lower: float | None = None
    upper: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Alpha3:
    """alpha3 of Eq. 2 with its uncertainty.

    `noise_of_mean_nats`: standard deviation of a cell's mean over seeds, root mean square over the cells; None if every
    cell has one seed.
    """

    value: float
    n_points: int
    bootstraps: dict[Unit, Resampled]
    seeds: SeedFits
    noise_of_mean_nats: float | None


def alpha3_of(cells: pd.DataFrame, fit: MethodFit, draws: int = DRAWS) -> Alpha3 | None:
    """Return alpha3 with its uncertainty, or None if the fit file has no fit of `mul`.

    Args:
        cells: as `cells.read_cells` returns them.
        fit: made from these cells; every refit starts from its optimum and uses its objective.
        draws: number of draws of each bootstrap.

    Raises:
        UserError: the fit was made from other cells.
    """
    law = fit.laws.get("mul")
    if law is None or law.fit is None:
        return None
    points = points_of(method_cells(cells, fit.method, fit.model))
    if len(points) != law.fit.n_points:
        raise UserError(
            f"fits/{fit.method}/{fit.model}.json: fitted to {law.fit.n_points} points, but the cells have {len(points)}; "
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
    """Return which draws can be fitted: those with two D1, two D2 and at least as many cells as coefficients.

    `weights`: shape (draws, points); returns shape (draws,). A refit of any other draw does not move from its start,
    which would make the interval too narrow.
    """
    present = weights > 0
    enough = np.ones(len(weights), bool)
    tokens = points.variables()
    for labels, least in ((tokens["d1"], 2), (tokens["d2"], 2), (points.cell, coefficients)):
        member = labels[:, None] == np.unique(labels)
        enough &= (present @ member).sum(axis=1) >= least
    return enough


def _complete_seeds(points: Points) -> tuple[list[int], list[int]]:
    """Return the seeds that have every cell, and the other seeds."""
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
