"""All fits to the cells of one method and base model, stored in one file: `fits/<method>/<model>.json`.

These are the laws of D1 and D2 with leave-one-out errors (Tables 1 and 7) and the power laws of Figures 1 and 3. Where the
cells cannot determine a fit, the file has the reason in its place, so that the workflow also works for a 2 x 2 grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from twostage.analysis.cells import method_cells
from twostage.analysis.power_laws import PowerLaws, fit_power_laws
from twostage.common.errors import UserError
from twostage.laws.fit import Fit, fit_law
from twostage.laws.jsonio import dumps, loads
from twostage.laws.points import Points
from twostage.laws.selection import NoiseFloor, leave_one_out, noise_floor
from twostage.laws.uncertainty import profile_intervals

#: Token counts along and across the curves of each set.
CURVE_SETS: dict[str, tuple[str, str]] = {"d2": ("d2_tokens", "d1_tokens"), "d1": ("d1_tokens", "d2_tokens")}


@dataclass(frozen=True)
class LawFit:
    """The fit of one form, with RMS errors in nats: in sample, and leave-one-out over cells.

    What could not be computed is None, and `reason` explains it.
    """

    form: str
    fit: Fit | None
    rms_nats: float | None
    loo_rms_nats: float | None
    reason: str = ""


@dataclass(frozen=True)
class CurveFit:
    """The fit of one set of curves. If it could not be fitted, `power_laws` is None and `reason` explains it."""

    power_laws: PowerLaws | None
    reason: str = ""


@dataclass(frozen=True)
class MethodFit:
    """The content of a fit file; see the module docstring.

    `curves`: by the token count that varies (`d2`: one curve for each D1; `d1`: one for each D2), with one floor for all
    curves. `curves_own_floor`: the same with a separate floor for each curve. `noise`: spread between seeds; None with one
    seed.
    """

    method: str
    model: str
    n_base: int
    n_final: int
    n_cells: int
    seeds: tuple[int, ...]
    valid_corpus: str
    laws: dict[str, LawFit]
    curves: dict[str, CurveFit]
    curves_own_floor: dict[str, CurveFit]
    noise: NoiseFloor | None

    def to_json(self) -> str:
        """Return the text of the fit file; numbers have 17 digits, NaN is null."""
        laws = {
            name: {**vars(law), "fit": None if law.fit is None else loads(law.fit.to_json())}
            for name, law in self.laws.items()
        }
        return (
            dumps(
                {**vars(self), "noise": self.noise and asdict(self.noise), "laws": laws} | _plain_curves(self)
            )
            + "\n"
        )

    @classmethod
    def from_json(cls, text: str) -> MethodFit:
        """Read a fit file; a missing key is a `UserError` that names it."""
        data = loads(text)
        try:
            laws = {
                name: LawFit(
                    **{**law, "fit": None if law["fit"] is None else Fit.from_json(dumps(law["fit"]))}
                )
                for name, law in data["laws"].items()
            }
            curves = {key: _read_curves(data[key]) for key in ("curves", "curves_own_floor")}
            noise = NoiseFloor(**data["noise"]) if data["noise"] else None
            return cls(**{**data, "laws": laws, "noise": noise, "seeds": tuple(data["seeds"])} | curves)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"fit file: {error}; make it again with: snakemake -f <the fit file>") from None


def _plain_curves(fit: MethodFit) -> dict[str, Any]:
    def plain(curves: Mapping[str, CurveFit]) -> dict[str, Any]:
        return {
            name: {"power_laws": curve.power_laws and curve.power_laws.to_dict(), "reason": curve.reason}
            for name, curve in curves.items()
        }

    return {"curves": plain(fit.curves), "curves_own_floor": plain(fit.curves_own_floor)}


def _read_curves(data: Mapping[str, Any]) -> dict[str, CurveFit]:
    return {
        name: CurveFit(
            PowerLaws.from_dict(curve["power_laws"]) if curve["power_laws"] else None, curve["reason"]
        )
        for name, curve in data.items()
    }


def fit_method(
    cells: pd.DataFrame, method: str, model: str, *, forms: Sequence[str], delta: float
) -> MethodFit:
    """Fit all laws and curves to the cells of one method and base model, without the excluded cells.

    Args:
        cells: as `cells.read_cells` returns them.
        forms: names of laws of D1 and D2, e.g. mul, mul0, add, hyb.
        delta: threshold of the Huber loss of ln L.

    Raises:
        UserError: the method has no cells. Too few cells are not an error; see `LawFit.reason`.
    """
    frame = method_cells(cells, method, model)
    points = points_of(frame)
    try:
        noise = noise_floor(points)
    except ValueError:
        noise = None  # one seed
    return MethodFit(
        method=method,
        model=model,
        n_base=int(frame["n_base"].iloc[0]),
        n_final=int(frame["n_final"].iloc[0]),
        n_cells=int(np.unique(points.cell).size),
        seeds=tuple(int(seed) for seed in sorted(frame["seed"].unique())),
        valid_corpus=str(frame["valid_corpus"].iloc[0]),
        laws={form: _fit_form(points, form, delta) for form in forms},
        curves={name: _fit_curves(frame, *columns, shared=True) for name, columns in CURVE_SETS.items()},
        curves_own_floor={
            name: _fit_curves(frame, *columns, shared=False) for name, columns in CURVE_SETS.items()
        },
        noise=noise,
    )


def points_of(frame: pd.DataFrame) -> Points:
    """Convert rows of `cells.method_cells` to the points of a law of D1 and D2."""
    return Points.from_frame(frame, d1="d1_tokens", d2="d2_tokens", loss="loss_nats", seed="seed")


def _fit_form(points: Points, form: str, delta: float) -> LawFit:
    try:
        fit = fit_law(points, form, delta=delta)
    except ValueError as error:
        return LawFit(form, None, None, None, str(error))
    errors = fit.predict(**points.variables_for(fit.law.variables)) - points.loss
    rms = float(np.sqrt(np.mean(errors**2)))
    if len(points) > len(fit.coefficients):
        fit = fit.with_intervals(profile_intervals(points, fit))
    try:
        return LawFit(form, fit, rms, leave_one_out(points, form, delta=delta).rms_nats)
    except ValueError as error:
        return LawFit(form, fit, rms, None, str(error))


def _fit_curves(frame: pd.DataFrame, along: str, across: str, *, shared: bool) -> CurveFit:
    try:
        return CurveFit(
            fit_power_laws(
                frame[along].to_numpy(),
                frame[across].to_numpy(),
                frame["loss_nats"].to_numpy(),
                shared_floor=shared,
            )
        )
    except UserError as error:
        return CurveFit(None, str(error))
