"""Profiles: the best objective for each value of a quantity, and where it crosses a threshold.

One method for every interval. The quantity g (a coefficient, a loss, a number of tokens) is treated as one more
observation, with a target t and a weight: the minimum of D(theta) + w (g(theta) - t)^2 is also the minimum of the
deviance D among all theta with the same g, so it is a point of the profile of g. Targets move outwards from the estimate
until the deviance crosses the threshold on both sides. The minimisation is that of the fits (`descent`), with their
bounds, and all targets descend in one batch. No coordinates have to be chosen for g, so the result does not depend on
units, and the same code serves several fits at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from twostage.laws.descent import Box, descend
from twostage.laws.likelihood import Likelihood
from twostage.laws.points import AnyArray, FloatArray
from twostage.laws.quantities import Quantity
from twostage.laws.response import Response
from twostage.laws.solver import LEAST_SQUARES_DELTA

MAX_ROUNDS = 24
# Of one descent. Bent ridges need many; a cut-off would make the ends depend on rounding, hence on the order of the rows.
MAX_STEPS, SQUARES_STEPS = 150, 8
# Rounds inside a bracket: enough for a smooth profile; a jump is then known to a small share of the bracket.
MAX_REFINED = 8
# The pull towards the target, in units of the curvature of the profile at the estimate.
STIFFNESS = 20.0
# First targets and the growth of the reach, in half-widths of the quadratic approximation.
FIRST_TARGETS, GROWTH = (0.4, 0.8, 1.2), 2.5
# In units of the depth (square root of the deviance over its threshold): accuracy of the ends.
CROSSING_TOLERANCE = 1e-3
# Laws tried for whether a quantity exists everywhere.
SCOUTS = 64
# Residuals of the quantity stay quadratic up to this many half-widths.
QUADRATIC = 1e8
# Where a whole round of targets deepens the profile by less than this, it has become flat; where it also moves the value by
# less than this (in half-widths), the quantity is at a bound.
FLAT = 1e-5
# No value is rejected up to this many half-widths: the end is open.
OPEN = 1e4


@dataclass(frozen=True)
class End:
    """One end of an interval. `kind`: `crossing`; `bound`, where the quantity cannot go further; `open`, where no value
    is rejected; or `lost`, where the minimisation failed (`value` is then infinite). `theta` (k,): coordinates there."""

    value: float
    kind: str
    theta: FloatArray


@dataclass(frozen=True)
class Evaluation:
    """Values and Jacobian of `Observed`, and what its curvature needs."""

    log_pred: FloatArray
    jacobian: FloatArray
    parts: list[object]
    second: FloatArray


@dataclass(frozen=True)
class Observed:
    """Several responses, each with residuals in units of its Huber threshold, and as their last point a quantity; a
    `response.Calculus`. Row b of a batch observes quantity `which[b]`, in units of `units[which[b]]`."""

    responses: tuple[Response, ...]
    deltas: tuple[float, ...]
    quantities: tuple[Quantity, ...]
    units: FloatArray
    spread: FloatArray
    which: AnyArray

    @property
    def size(self) -> int:
        """Number of points, with the quantity."""
        return sum(response.size for response in self.responses) + 1

    def take(self, rows: AnyArray) -> Observed:
        """The observations of some rows of a batch; all rows share the responses."""
        return replace(self, which=self.which[rows])

    def log_predict(self, theta: FloatArray) -> FloatArray:
        """Values (B, size)."""
        parts = [response.log_predict(theta[:, where]) / delta for response, delta, where, _ in self.places]
        return np.concatenate([*parts, self.observe(theta)[:, None]], axis=1)

    def observe(self, theta: FloatArray) -> FloatArray:
        """Each row's quantity in its unit, (B,)."""
        values = np.empty(len(theta))
        for index, rows in self._groups():
            values[rows] = self.quantities[index].values(theta[rows]) / self.units[index]
        return values

    def evaluate(self, theta: FloatArray) -> Evaluation:
        """Values and exact Jacobian (B, k, size)."""
        values = np.empty((len(theta), self.size))
        jacobian = np.zeros((*theta.shape, self.size))
        parts: list[object] = []
        for response, delta, where, points in self.places:
            part = response.evaluate(theta[:, where])
            values[:, points], jacobian[:, where, points] = part.log_pred / delta, part.jacobian / delta
            parts.append(part)
        values[:, -1] = self.observe(theta)
        second = np.empty((*theta.shape, theta.shape[1]))
        for index, rows in self._groups():
            slopes, curves = self.quantities[index].derivatives(theta[rows], self.spread)
            jacobian[rows, :, -1], second[rows] = slopes / self.units[index], curves / self.units[index]
        return Evaluation(values, jacobian, parts, second)

    def curvature(self, at: Evaluation, slope: FloatArray) -> FloatArray:
        """As in `response.Calculus`."""
        jacobian = at.jacobian
        out = (jacobian * slope[:, None]) @ jacobian.transpose(0, 2, 1) + slope[:, -1, None, None] * at.second
        for (response, delta, where, points), part in zip(self.places, at.parts, strict=True):
            own = response.curvature(part, slope[:, points]) / delta  # type: ignore[arg-type]
            inner = jacobian[:, where, points] * delta
            out[:, where, where] += own - (inner * slope[:, None, points]) @ inner.transpose(0, 2, 1) / delta
        return out

    def _groups(self) -> list[tuple[int, AnyArray]]:
        """The quantities that are observed, each with its rows."""
        return [(index, np.flatnonzero(self.which == index)) for index in np.unique(self.which).tolist()]

    @cached_property
    def places(self) -> list[tuple[Response, float, slice, slice]]:
        """Response, threshold, coordinates and points of each part."""
        places, k, m = [], 0, 0
        for response, delta in zip(self.responses, self.deltas, strict=True):
            places.append((response, delta, slice(k, k + response.k), slice(m, m + response.size)))
            k, m = k + response.k, m + response.size
        return places


class Profiles:
    """The profiles of quantities over the likelihoods of one or more fits, up to a deviance of `threshold`.

    `middles`, `halves` (Q,): the estimate and the half-width of the quadratic approximation; `directions` (Q, k): how the
    coordinates follow the quantity there.
    """

    def __init__(self, parts: Sequence[Likelihood], quantities: Sequence[Quantity], threshold: float) -> None:
        self.parts, self.quantities, self.threshold = list(parts), tuple(quantities), threshold
        self.optimum = np.concatenate([part.theta for part in parts])
        boxes = [part.problem.box for part in parts]
        self.box = Box(
            np.concatenate([box.lower for box in boxes]), np.concatenate([box.upper for box in boxes])
        )
        with np.errstate(all="ignore"):  # exponents of hundreds: what then follows is not finite
            self._set_scales()
        self.undefined = self._scouted()
        # the deviance in units in which the points of the first fit have weight one
        first = self.parts[0]
        common = 2.0 * first.spec.delta**2 / first.scale
        weights = [part.problem.weights * (2.0 * part.spec.delta**2 / part.scale / common) for part in parts]
        pull = 2.0 * STIFFNESS * threshold / common * QUADRATIC**2
        self.weights = np.concatenate([*weights, [pull]])
        self.y = np.concatenate([part.problem.y / part.spec.delta for part in parts])
        self.observed = Observed(
            tuple(part.problem.response for part in parts),
            tuple(part.spec.delta for part in parts),
            self.quantities,
            QUADRATIC * self.halves,
            self.spread,
            np.zeros(0, int),
        )

    def _set_scales(self) -> None:
        """Standard errors of the coordinates, and estimates, half-widths and directions of the quantities."""
        covariance = self._covariance()
        self.spread = np.minimum(np.sqrt(np.diag(covariance)) + 1e-300, np.maximum(np.abs(self.optimum), 0.1))
        start = self.optimum[None]
        self.middles = np.array([quantity.values(start)[0] for quantity in self.quantities])
        slopes = np.array([quantity.derivatives(start, self.spread)[0][0] for quantity in self.quantities])
        along = slopes @ covariance
        variances = np.vecdot(slopes, along)
        self.halves = np.sqrt(self.threshold * variances)
        self.directions = along / np.where(variances > 0, variances, 1.0)[:, None]

    def _covariance(self) -> FloatArray:
        """Covariance of the coordinates from the quadratic approximation, (k, k)."""
        covariance = np.zeros((self.optimum.size, self.optimum.size))
        start = 0
        for part in self.parts:
            stop = start + part.theta.size
            root = part.whitener()
            covariance[start:stop, start:stop] = root @ root.T
            start = stop
        return covariance

    def _scouted(self) -> AnyArray:
        """Which quantities do not exist for some laws inside the region, of SCOUTS random ones, (Q,)."""
        rng = np.random.default_rng(0)
        roots = [part.whitener() for part in self.parts]
        radius = 0.5 * np.sqrt(self.threshold)
        moved = []
        for root in roots:
            ways = rng.standard_normal((SCOUTS, len(root)))
            moved.append(radius * ways / np.linalg.norm(ways, axis=1)[:, None] @ root.T)
        thetas = self.box.clip(self.optimum + np.concatenate(moved, axis=1))
        with np.errstate(all="ignore"):
            inside = thetas[self.deviance(thetas) < self.threshold]
            return np.array([not np.isfinite(quantity.values(inside)).all() for quantity in self.quantities])

    def known(self, index: int) -> bool:
        """Whether the points determine a quantity to first order."""
        return bool(np.isfinite(self.halves[index]))

    def constant(self, index: int) -> bool:
        """Whether a quantity does not depend on the coefficients, to first order and rounding."""
        return bool(self.halves[index] <= 1e-12 * abs(self.middles[index]))

    def deviance(self, thetas: FloatArray) -> FloatArray:
        """Sum of the fits' deviances, (B,)."""
        total, start = np.zeros(len(thetas)), 0
        for part in self.parts:
            stop = start + part.theta.size
            total += part.deviance(thetas[:, start:stop])
            start = stop
        return total

    def ends(self) -> list[tuple[End, End]]:
        """The lower and the upper end of each quantity that varies; all descend in one batch."""
        sides = [Side(self, i, sign) for i in range(len(self.quantities)) for sign in (-1, 1)]
        for _ in range(MAX_ROUNDS):
            wishes = [side.wishes() for side in sides]
            counts = [len(targets) for targets, _ in wishes]
            if not sum(counts):
                break
            which = np.repeat([side.index for side in sides], counts)
            targets = np.concatenate([targets for targets, _ in wishes])
            solved = self.solved(which, targets, np.concatenate([starts for _, starts in wishes]))
            stops = np.cumsum(counts)
            for side, stop, count in zip(sides, stops, counts, strict=True):
                rows = slice(stop - count, stop)
                side.add(targets[rows], *(found[rows] for found in solved))
        return [(low.end(), high.end()) for low, high in zip(sides[::2], sides[1::2], strict=True)]

    def solved(
        self, which: AnyArray, targets: FloatArray, starts: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """For quantities `which` (B,), targets (B,) in half-widths from the estimate and starts (B, 2, k): values (B,),
        depths (B,), thetas (B, k).

        Two routes lead to each target: from the extrapolated start, and from the nearest solution by way of least squares.
        """
        count = len(targets)
        middle, half = self.middles[which], self.halves[which]
        y = np.empty((count, self.y.size + 1))
        y[:, :-1], y[:, -1] = self.y, (middle + targets * half) / self.observed.units[which]
        squares = self._descend(
            which, y, starts[:, 1], LEAST_SQUARES_DELTA / self.parts[0].spec.delta, SQUARES_STEPS
        )
        twice = np.tile(which, 2)
        ends = self._descend(
            twice, np.tile(y, (2, 1)), np.concatenate([starts[:, 0], squares]), 1.0, MAX_STEPS
        )
        with np.errstate(all="ignore"):
            reached = replace(self.observed, which=twice).observe(ends) * self.observed.units[twice]
            deviance = self.deviance(ends)
        lost = ~np.isfinite(reached) & (deviance < self.threshold)
        self.undefined[np.unique(twice[lost])] = True
        reached, deviance = reached.reshape(2, count), deviance.reshape(2, count)
        total = deviance + STIFFNESS * self.threshold * ((reached - middle) / half - targets) ** 2
        best, rows = np.where(np.isfinite(total), total, np.inf).argmin(axis=0), np.arange(count)
        depths = np.sqrt(np.maximum(deviance[best, rows], 0.0) / self.threshold)
        depths = np.where(np.isfinite(reached[best, rows]), np.nan_to_num(depths, nan=np.inf), np.inf)
        return reached[best, rows], depths, ends.reshape(2, count, -1)[best, rows]

    def _descend(
        self, which: AnyArray, y: FloatArray, starts: FloatArray, delta: float, steps: int
    ) -> FloatArray:
        observed = replace(self.observed, which=which)
        return descend(observed, y, self.weights, starts, self.box, delta, max_steps=steps, tolerance=1e-10)[
            0
        ]


class Side:
    """A quantity's profile on one side of the estimate: targets in half-widths, values, depths, coordinates, by target."""

    def __init__(self, profiles: Profiles, index: int, sign: int) -> None:
        self.index, self.sign, self.box = index, sign, profiles.box
        self.middle, self.half = float(profiles.middles[index]), float(profiles.halves[index])
        self.direction = profiles.directions[index]
        self.varies = profiles.known(index) and not profiles.constant(index)
        self.targets, self.values = np.zeros(1), np.array([self.middle])
        self.depths, self.thetas = np.zeros(1), profiles.optimum[None]
        self.reach, self.refined = 1.0, 0

    def add(self, targets: FloatArray, values: FloatArray, depths: FloatArray, thetas: FloatArray) -> None:
        """Take in solved targets."""
        targets = np.concatenate([self.targets, np.abs(targets)])
        order = np.argsort(targets, kind="stable")
        self.targets = targets[order]
        self.values = np.concatenate([self.values, values])[order]
        self.depths = np.concatenate([self.depths, depths])[order]
        self.thetas = np.concatenate([self.thetas, thetas])[order]

    def wishes(self) -> tuple[FloatArray, FloatArray]:
        """Targets (B,) to solve next, signed, with their starts (B, 2, k); none when the end is known."""
        if not self.varies:
            return self._with_starts([])
        inner = self._inner()
        if inner == len(self.targets) - 1:
            if self._flat(self.depths) or self.targets[-1] > OPEN:
                return self._with_starts([])
            shares = np.array(FIRST_TARGETS) * self.reach * (1.0 + 1.0 / STIFFNESS)
            self.reach *= GROWTH
            return self._with_starts([share for share in shares if share > self.targets[-1]])
        low, high = self.depths[inner] - 1.0, self.depths[inner + 1] - 1.0
        width = self.targets[inner + 1] - self.targets[inner]
        gap = abs(self.values[inner + 1] - self.values[inner])
        close = gap < CROSSING_TOLERANCE * abs(self.values[inner] - self.middle)
        if min(-low, high) < CROSSING_TOLERANCE or close or self.refined == MAX_REFINED:
            return self._with_starts([])
        self.refined += 1
        share = -low / (high - low) if np.isfinite(high) else 0.5
        # a guess on either side of the interpolated one, so that the bracket shrinks from both ends
        return self._with_starts(
            [self.targets[inner] + s * width for s in (0.8 * share, share, share + 0.2 * (1.0 - share))]
        )

    def end(self) -> End:
        """The end, after the last round."""
        inner = self._inner()
        theta = self.thetas[inner]
        if inner < len(self.targets) - 1:
            low, high = self.depths[inner] - 1.0, self.depths[inner + 1] - 1.0
            if not np.isfinite(high):
                return End(self.sign * np.inf, "lost", theta)
            value = self.values[inner] - low / (high - low) * (self.values[inner + 1] - self.values[inner])
            return End(float(value), "crossing", theta)
        if self._flat(self.values / self.half):
            return End(float(self.values[inner]), "bound", theta)
        return End(self.sign * np.inf, "open", theta)

    def _inner(self) -> int:
        """Place of the furthest solution inside: it proves that its value is not rejected."""
        return int(np.flatnonzero(self.depths < 1.0)[-1])

    def _flat(self, along: FloatArray) -> bool:
        """Whether the last round of targets has not changed `along` (s,)."""
        before = -1 - len(FIRST_TARGETS)
        return len(along) > 2 * len(FIRST_TARGETS) and bool(abs(along[-1] - along[before]) < FLAT)

    def _with_starts(self, targets: list[float]) -> tuple[FloatArray, FloatArray]:
        wanted = np.array(targets, float)
        near = np.abs(self.targets - wanted[:, None]).argmin(axis=1)
        known = self.thetas[near]
        reached = (self.values[near] - self.middle) / self.half
        ahead = (self.sign * wanted - reached) * self.half
        moved = known + ahead[:, None] * self.direction
        starts = np.stack([self.box.clip(moved), known], axis=1)
        return self.sign * wanted, starts
