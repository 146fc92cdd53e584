"""Numbers that follow from fitted laws, as smooth functions of the solver's coordinates: what an interval is asked for.

A quantity depends on the internal vectors of one or more fits, written one after the other (k coordinates in all). It has
exact derivatives where the library defines it, and differences where a user does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twostage.laws.form import Form
from twostage.laws.points import FloatArray
from twostage.laws.problem import Problem
from twostage.laws.response import Response

# Differences are taken over this share of a standard error.
STEP = 1e-3
COMPLEX_STEP = 1e-30


class Quantity(ABC):
    """A function of internal vectors theta (B, k), with its first and second derivatives."""

    @abstractmethod
    def values(self, theta: FloatArray) -> FloatArray:
        """The quantity, shape (B,); NaN where it does not exist."""

    @abstractmethod
    def derivatives(self, theta: FloatArray, spread: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Gradient (B, k) and second derivatives (B, k, k). `spread` (k,): standard errors, the scale of differences."""


@dataclass(frozen=True)
class LogLoss(Quantity):
    """ln L of one law at one place: the response of its form on a single point."""

    response: Response

    @classmethod
    def at(cls, problem: Problem, **variables: float) -> LogLoss:
        """The logarithm of the loss that the law of `problem` predicts at d1, d2, n."""
        return cls(problem.law.response(problem.law.logs(**variables), problem.centre))

    def values(self, theta: FloatArray) -> FloatArray:
        """As in `Quantity`."""
        return self.response.log_predict(theta)[:, 0]

    def derivatives(self, theta: FloatArray, spread: FloatArray) -> tuple[FloatArray, FloatArray]:
        """As in `Quantity`, exact."""
        at = self.response.evaluate(theta)
        gradient = at.jacobian[..., 0]
        second = self.response.curvature(at, np.ones((len(theta), 1)))
        return gradient, second - gradient[:, :, None] * gradient[:, None, :]


@dataclass(frozen=True)
class Coordinates:
    """The laws whose internal vectors are written one after the other, with their centres."""

    laws: tuple[Form, ...]
    centres: tuple[Mapping[str, float], ...]

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> Coordinates:
        """Those of several problems, in order."""
        return cls(tuple(p.law for p in problems), tuple(p.centre for p in problems))

    def raw(self, theta: Any) -> list[dict[str, Any]]:
        """Raw coefficients of each law from vectors (B, k), real or complex: arrays of shape (B,)."""
        found, start = [], 0
        for law, centre in zip(self.laws, self.centres, strict=True):
            stop = start + len(law.internal)
            found.append(law.to_raw(theta[:, start:stop].T, centre))
            start = stop
        return found


@dataclass(frozen=True)
class Analytic(Quantity):
    """A function of raw coefficients that takes arrays, real and complex; its derivatives come from complex steps."""

    coordinates: Coordinates
    function: Callable[..., Any]

    def values(self, theta: FloatArray) -> FloatArray:
        """As in `Quantity`."""
        return np.asarray(self.function(*self.coordinates.raw(theta)), float) + np.zeros(len(theta))

    def derivatives(self, theta: FloatArray, spread: FloatArray) -> tuple[FloatArray, FloatArray]:
        """As in `Quantity`: an exact gradient, and central differences of it."""
        count, k = theta.shape
        moves = STEP * np.diag(spread)
        places = theta[:, None] + np.concatenate([np.zeros((1, k)), moves, -moves])
        stepped = places[:, :, None] + 1j * COMPLEX_STEP * np.eye(k)
        value = self.function(*self.coordinates.raw(stepped.reshape(-1, k)))
        slopes = (np.imag(value + np.zeros(stepped[..., 0].size)) / COMPLEX_STEP).reshape(count, 2 * k + 1, k)
        second = (slopes[:, 1 : k + 1] - slopes[:, k + 1 :]) / (2 * STEP * spread[:, None])
        return slopes[:, 0], 0.5 * (second + second.transpose(0, 2, 1))


class Plain(Quantity):
    """A function that takes one mapping of raw coefficients per law and returns a number; with `arrays`, coefficients of
    shape (B, 1) for B numbers at once.

    The second derivatives are those at the first place asked for.
    """

    def __init__(
        self, coordinates: Coordinates, function: Callable[..., Any], *, arrays: bool = False
    ) -> None:
        self.coordinates, self.function, self.arrays = coordinates, function, arrays
        self._second: FloatArray | None = None

    def values(self, theta: FloatArray) -> FloatArray:
        """As in `Quantity`."""
        raws = self.coordinates.raw(theta)
        if self.arrays:
            columns = [{name: value[:, None] for name, value in raw.items()} for raw in raws]
            return np.asarray(self.function(*columns), float).reshape(len(theta))
        rows = range(len(theta))
        return np.array(
            [self.function(*({n: float(v[row]) for n, v in raw.items()} for raw in raws)) for row in rows],
            float,
        )

    def derivatives(self, theta: FloatArray, spread: FloatArray) -> tuple[FloatArray, FloatArray]:
        """As in `Quantity`."""
        count, k = theta.shape
        moves = STEP * np.diag(spread)
        around = theta[:, None] + np.concatenate([moves, -moves])
        value = self.values(around.reshape(-1, k)).reshape(count, 2 * k)
        slopes = (value[:, :k] - value[:, k:]) / (2 * STEP * spread)
        if self._second is None:
            self._second = self._second_at(theta[0], 30 * STEP * spread)
        return slopes, np.broadcast_to(self._second, (count, k, k))

    def _second_at(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        k = theta.size
        rows, columns = np.triu_indices(k)
        moves = np.diag(step)
        one = self.values(theta + moves)
        both = self.values(theta + moves[rows] + moves[columns])
        middle = self.values(theta[None])[0]
        second = np.zeros((k, k))
        second[rows, columns] = (both - one[rows] - one[columns] + middle) / (step[rows] * step[columns])
        second[columns, rows] = second[rows, columns]
        return np.nan_to_num(second, nan=0.0, posinf=0.0, neginf=0.0)
