"""Least squares for power laws L = A_i x^-alpha_i + E that share one floor E: optimum, covariance, profile intervals.

The solver of `power_laws`: residuals of ln L, E >= 0, exponents of any sign. A single curve with its own
floor is a problem with one group.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import lmfit
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, least_squares
from scipy.stats import t as student

from twostage.common.errors import UserError
from twostage.laws.fit import Interval

FloatArray = NDArray[np.float64]
_FLOOR_STARTS = 60  # starting values of the floor
_POLISHED = 3  # the best starts, from which the optimizer runs
_MAX_EXPONENT = 20.0  # bound of |alpha| in the search, far beyond any fitted value
_MAX_LOG = 700.0  # bound of |ln| of the reducible loss; a trial step on a flat curve can go beyond what a float holds
_NEAR = 1e-6  # the floor stays at least this far (relative) below the lowest loss
_STEPS = 14  # largest number of steps to the end of an interval
_LENGTHEN = 1.5  # each step is longer than the previous one by this factor


@dataclass(frozen=True)
class PowerLawProblem:
    """The points of `n_curves` curves that share a floor.

    `log_x`, `log_loss`, `index` (the curve of each point): shape (m,). Parameters by name: `alpha_<i>`; `log_factor_<i>`,
    ln of the reducible loss at ln x = `reference`; `floor`, in nats.
    """

    log_x: FloatArray
    log_loss: FloatArray
    index: NDArray[np.intp]
    n_curves: int
    reference: float

    @property
    def names(self) -> list[str]:
        """Names of the parameters in the order of the covariance: exponents, factors, floor."""
        curves = range(self.n_curves)
        return [f"alpha_{i}" for i in curves] + [f"log_factor_{i}" for i in curves] + ["floor"]

    @property
    def degrees_of_freedom(self) -> int:
        """Number of points minus number of parameters."""
        return self.log_loss.size - len(self.names)

    def check(self) -> None:
        """Raise `UserError` if the points cannot determine the parameters."""
        distinct = [np.unique(self.log_x[self.index == i]).size for i in range(self.n_curves)]
        if not distinct or min(distinct) < 2 or max(distinct) < 3:
            raise UserError(
                "power laws with a floor need at least 3 token counts on one curve and 2 on the others, the curves have "
                f"{distinct}; measure more cells"
            )
        if self.degrees_of_freedom < 0:
            raise UserError(
                f"{self.n_curves} power laws with a floor have {len(self.names)} coefficients but there are only "
                f"{self.log_loss.size} points; measure more cells"
            )

    def with_reference(
        self, reference: float, at: lmfit.Parameters
    ) -> tuple[PowerLawProblem, lmfit.Parameters]:
        """Return the same problem and parameters, with the factors taken at another ln x."""
        moved = at.copy()
        for i in range(self.n_curves):
            moved[f"log_factor_{i}"].value -= moved[f"alpha_{i}"].value * (reference - self.reference)
        return PowerLawProblem(self.log_x, self.log_loss, self.index, self.n_curves, reference), moved

    def _values(self, parameters: lmfit.Parameters) -> FloatArray:
        return np.array([parameters[name].value for name in self.names])

    def _reducible(self, values: FloatArray) -> FloatArray:
        alpha, log_factor = values[: self.n_curves][self.index], values[self.n_curves : -1][self.index]
        log_reducible = log_factor - alpha * (self.log_x - self.reference)
        return np.asarray(np.exp(np.clip(log_reducible, -_MAX_LOG, _MAX_LOG)))

    def _residuals(self, values: FloatArray) -> FloatArray:
        """Return ln(predicted) - ln(measured), shape (m,); `values`: in the order of `names`."""
        return np.asarray(np.log(self._reducible(values) + values[-1]) - self.log_loss)

    def _jacobian(self, values: FloatArray) -> FloatArray:
        """Derivatives of the residuals, shape (m, parameters), columns in the order of `names`."""
        reducible = self._reducible(values)
        total = reducible + values[-1]
        jacobian = np.zeros((self.log_loss.size, len(self.names)))
        rows = np.arange(self.log_loss.size)
        jacobian[rows, self.index] = -reducible / total * (self.log_x - self.reference)
        jacobian[rows, self.n_curves + self.index] = reducible / total
        jacobian[:, -1] = 1.0 / total
        return jacobian

    def chisqr(self, parameters: lmfit.Parameters) -> float:
        """Return the sum of squared residuals."""
        return float(np.sum(self._residuals(self._values(parameters)) ** 2))

    def _start(self, floor: float) -> lmfit.Parameters:
        """Return the parameters of straight-line fits to ln(L - floor)."""
        parameters = lmfit.Parameters()
        loss = np.exp(self.log_loss)
        excess = np.log(np.maximum(loss - floor, 1e-9))  # avoids ln(0) for a floor near the lowest loss
        for i in range(self.n_curves):
            own = self.index == i
            slope, level = np.polyfit(self.log_x[own] - self.reference, excess[own], 1)
            parameters.add(
                f"alpha_{i}",
                float(np.clip(-slope, -_MAX_EXPONENT, _MAX_EXPONENT)),
                min=-_MAX_EXPONENT,
                max=_MAX_EXPONENT,
            )
            parameters.add(f"log_factor_{i}", float(level))
        parameters.add("floor", floor, min=0.0, max=float(loss.min()) * (1 - _NEAR))
        return parameters

    def _refine(self, start: lmfit.Parameters) -> lmfit.Parameters:
        """Move the free parameters to their optimum, in place, and return all.

        SciPy is called directly, because lmfit would add a covariance of its own, which fails where the floor is at 0.
        """
        free = [name for name, parameter in start.items() if parameter.vary]
        places = [self.names.index(name) for name in free]
        values = self._values(start)

        def placed(x: FloatArray) -> FloatArray:
            values[places] = x
            return values

        found = least_squares(
            lambda x: self._residuals(placed(x)),
            values[places],
            jac=lambda x: self._jacobian(placed(x))[:, places],
            bounds=([start[name].min for name in free], [start[name].max for name in free]),
            xtol=1e-11,
            ftol=1e-11,
            gtol=1e-11,
            x_scale="jac",
        )
        for name, value in zip(free, found.x, strict=True):
            start[name].value = float(value)
        return start

    def solve(self) -> lmfit.Parameters:
        """Return the best fit over many starting floors between 0 and the lowest loss."""
        ceiling = float(np.exp(self.log_loss.min())) * (1 - _NEAR)
        starts = [self._start(share * ceiling) for share in 1 - np.geomspace(1, 1e-3, _FLOOR_STARTS)]
        starts.sort(key=self.chisqr)
        return min((self._refine(start) for start in starts[:_POLISHED]), key=self.chisqr)

    def covariance(self, parameters: lmfit.Parameters) -> FloatArray:
        """Return (J^T J)^-1 with exact derivatives, in the order of `names`, before scaling by the variance.

        All NaN if the matrix is singular. A floor at its bound 0 is treated as free: fixing it there would make the errors
        of the exponents too small.
        """
        jacobian = self._jacobian(self._values(parameters))
        scale = np.linalg.norm(jacobian, axis=0)
        if not np.all(scale > 0):
            return np.full((scale.size, scale.size), np.nan)
        gram = (jacobian / scale).T @ (jacobian / scale)
        if np.linalg.cond(gram) > 1e14:
            return np.full_like(gram, np.nan)
        return np.asarray(np.linalg.inv(gram) / scale / scale[:, None])

    def profile(
        self, optimum: lmfit.Parameters, name: str, *, step: float, variance: float, dof: int, level: float
    ) -> Interval:
        """Return the profile interval of `name`.

        At its ends, fixing `name` and refitting the other parameters raises the sum of squares by the F quantile times
        `variance`. This is the F test of lmfit's conf_interval, but the refits respect the bounds (the floor is often at
        0), and an end that is not found is None, with a note.

        Args:
            step: first step of the search, about one standard error.
            variance: of the residuals.
            dof: degrees of freedom of `variance`.
        """
        if dof < 1:
            return Interval(
                None, None, level, "none", "as many coefficients as points: no error can be given"
            )
        quantile = float(student.ppf(0.5 + level / 2, dof))
        step = quantile * step if np.isfinite(step) and step > 0 else 0.1 * max(abs(optimum[name].value), 0.1)
        lowest = self.chisqr(optimum)

        def excess(at: lmfit.Parameters) -> float:
            """Return the distance in standard deviations minus the quantile, which is almost linear in the coefficient."""
            return float(np.sqrt(max(self.chisqr(at) - lowest, 0.0) / variance)) - quantile

        ends = [self._end(optimum, name, sign * step, excess) for sign in (-1.0, 1.0)]
        notes = [
            f"{side} end: {note}" for side, (_, note) in zip(("lower", "upper"), ends, strict=True) if note
        ]
        return Interval(ends[0][0], ends[1][0], level, "profile", "; ".join(notes))

    def _end(
        self, optimum: lmfit.Parameters, name: str, step: float, excess: Callable[[lmfit.Parameters], float]
    ) -> tuple[float | None, str]:
        """Step away from the optimum until the excess is positive, then solve for its root; return the end and a note."""
        lowest, highest = optimum[name].min, optimum[name].max
        inside, warm = float(optimum[name].value), optimum
        for _ in range(_STEPS):
            outside = min(max(inside + step, lowest), highest)
            moved = self._refit_with(warm, name, outside)
            if excess(moved) > 0:
                start = warm
                end = brentq(
                    lambda trial, start=start: excess(self._refit_with(start, name, trial)),
                    inside,
                    outside,
                    xtol=1e-3 * abs(outside - inside),
                    rtol=1e-6,
                )
                return float(end), ""
            if outside in (lowest, highest):
                return outside, "at the bound of the coefficient"
            inside, warm, step = outside, moved, _LENGTHEN * step
        return None, "not closed: the points do not bound it on this side"

    def _refit_with(self, start: lmfit.Parameters, name: str, value: float) -> lmfit.Parameters:
        held = start.copy()
        held[name].set(value=value, vary=False)
        return self._refine(held)
