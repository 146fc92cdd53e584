"""Profiles of the objective: the best value for each fixed value of one coefficient, and where it crosses a threshold.

The raw coefficient becomes an internal coordinate (`Form.raw_coordinates`). It is then fixed at several values, and the
others descend, all values in one batch. `uncertainty` sets the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twostage.laws.covariance import score_moments
from twostage.laws.descent import Box, descend
from twostage.laws.form import RawCoordinates
from twostage.laws.objective import Objective
from twostage.laws.points import FloatArray
from twostage.laws.problem import Problem
from twostage.laws.response import Response
from twostage.laws.solver import LEAST_SQUARES_DELTA

MAX_ROUNDS = 20
# A scale below this share of its estimate is tried at its bound, zero.
NEARLY_ZERO = 0.02
# In units of the depth (square root of the deviance): the ends of the interval are found to this accuracy.
CROSSING_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Coordinates:
    """The problem in coordinates where coefficient `index` is raw: response, bounds, the optimum there, and whether the
    coefficient is stepped in its logarithm."""

    response: Response
    box: Box
    theta: FloatArray
    index: int
    in_log: bool


def coordinates_for(problem: Problem, theta: FloatArray, name: str) -> Coordinates:
    """Coordinates in which the raw coefficient `name` is a coordinate; theta (k,) is the optimum in the usual ones."""
    law = problem.law
    internal = RawCoordinates(problem.response, theta, problem.box.lower, problem.box.upper)
    at = law.raw_coordinates(internal, problem.centre, name)
    in_log = name in law.scales and name != "E"
    return Coordinates(at.response, Box(at.lower, at.upper), at.theta, law.internal.index(name), in_log)


@dataclass(frozen=True)
class Profile:
    """Points of a profile, sorted by the coefficient's value: values (s,), depths (s,) = square root of the deviance in
    units of the threshold, signed by the side of the optimum, and thetas (s, k)."""

    values: FloatArray
    depths: FloatArray
    thetas: FloatArray


@dataclass(frozen=True)
class Ends:
    """Where the profile crosses the threshold (inf where it never does), and whether each end is the bound instead."""

    lower: float
    upper: float
    lower_at_bound: bool
    upper_at_bound: bool
    profile: Profile


def trace(
    problem: Problem, theta: FloatArray, name: str, spec: Objective, optimum: float, unit: float
) -> Ends:
    """Both crossings of one raw coefficient's profile: objective = optimum + unit.

    theta (k,) is the optimum. Expands outwards from steps of the quadratic approximation, then interpolates the depth,
    which is nearly linear in the coefficient (in its logarithm for the scales).
    """
    at = coordinates_for(problem, theta, name)
    start = float(at.theta[at.index])
    bounds = (at.box.lower[at.index], at.box.upper[at.index])
    profile = Profile(np.array([start]), np.zeros(1), at.theta[None])
    with np.errstate(all="ignore"):
        jacobian = at.response.evaluate(at.theta[None]).jacobian[0]
    if not np.isfinite(jacobian).all():
        # A scale so far from 1 that it under- or overflows: exponents of hundreds, from points that identify none.
        return Ends(-np.inf, np.inf, False, False, profile)
    step, direction = quadratic_steps(at, jacobian, problem, spec, unit)
    reach = 1.0
    for _ in range(MAX_ROUNDS):
        wanted: list[tuple[float, FloatArray]] = []
        for side in (-1, 1):
            wanted += _wanted(
                profile, side, at, start, side * reach * step, direction, bounds[(side + 1) // 2]
            )
        if not wanted:
            break
        reach *= 2.5
        values = np.array([value for value, _ in wanted])
        profile = _solved(
            profile, at, problem, spec, values, np.stack([t for _, t in wanted]), optimum, unit, start
        )
    lower, low_bound = _end(profile, -1, bounds[0], at)
    upper, high_bound = _end(profile, 1, bounds[1], at)
    return Ends(lower, upper, low_bound, high_bound, profile)


def quadratic_steps(
    at: Coordinates, jacobian: FloatArray, problem: Problem, spec: Objective, unit: float
) -> tuple[float, FloatArray]:
    """First guess of the half-width, and how the optimum follows the coefficient to first order, (k,).

    jacobian (k, n) is that of ln L at `at.theta`.
    """
    free = (at.theta > at.box.lower) & (at.theta < at.box.upper)
    free[at.index] = True
    rows = jacobian[free]
    norm = np.sqrt(np.vecdot(rows, rows)) + 1e-300
    inverse = np.linalg.pinv((rows / norm[:, None]) @ (rows / norm[:, None]).T, rcond=1e-13, hermitian=True)
    inverse = inverse / norm / norm[:, None]
    place = int(np.flatnonzero(np.flatnonzero(free) == at.index)[0])
    variance = max(float(inverse[place, place]), 1e-300)
    direction = np.zeros(at.theta.size)
    direction[free] = inverse[place] / variance
    # unit is the rise of the objective; its curvature is that of least squares times the share of E psi'
    residual = at.response.log_predict(at.theta[None])[0] - problem.y
    slope = score_moments(residual, spec, int(free.sum()))[1]
    return float(np.sqrt(2.0 * unit * variance / slope)), direction


def _wanted(
    profile: Profile,
    side: int,
    at: Coordinates,
    start: float,
    step: float,
    direction: FloatArray,
    bound: float,
) -> list[tuple[float, FloatArray]]:
    """Values (with starts) to solve next on one side: further out, or inside the bracket; none when done."""
    depth = side * profile.depths
    beyond = np.flatnonzero(depth >= 1.0)
    if beyond.size == 0:
        last = 0 if side < 0 else len(profile.values) - 1
        near, theta = profile.values[last], profile.thetas[last]
        if near == bound:
            return []
        value = (
            start * np.exp(np.clip(step / start, -60.0, 60.0)) if at.in_log and start > 0 else start + step
        )
        if at.in_log and value < NEARLY_ZERO * start:
            value = bound
        value = float(np.clip(value, at.box.lower[at.index], at.box.upper[at.index]))
        values = [near + share * (value - near) for share in (0.5, 1.0)]
        return [(v, theta + (v - near) * direction) for v in values]
    outer = int(beyond[0] if side > 0 else beyond[-1])
    inner = outer - side
    if min(abs(depth[inner] - 1.0), abs(depth[outer] - 1.0)) < CROSSING_TOLERANCE:
        return []
    share = (1.0 - depth[inner]) / (depth[outer] - depth[inner])
    # a guess on either side of the interpolated one, so that the bracket shrinks from both ends
    shares = [share - 0.2 * share, share, share + 0.2 * (1.0 - share)]
    return [
        (
            float(profile.values[inner] + s * (profile.values[outer] - profile.values[inner])),
            profile.thetas[inner] + s * (profile.thetas[outer] - profile.thetas[inner]),
        )
        for s in shares
    ]


def _solved(
    profile: Profile,
    at: Coordinates,
    problem: Problem,
    spec: Objective,
    values: FloatArray,
    starts: FloatArray,
    optimum: float,
    unit: float,
    start: float,
) -> Profile:
    """The profile with further values solved (one batch)."""
    count = len(values)
    nearest = profile.thetas[np.abs(profile.values - values[:, None]).argmin(axis=1)]
    starts = at.box.clip(np.concatenate([starts, nearest]))
    starts[:, at.index] = np.tile(values, 2)
    frozen = np.zeros(at.theta.size, bool)
    frozen[at.index] = True

    def solve_from(theta: FloatArray, delta: float, max_steps: int) -> FloatArray:
        return descend(
            at.response, problem.y, problem.weights, theta, at.box, delta, frozen=frozen, max_steps=max_steps
        )[0]

    # the second half starts from the nearest solution by way of least squares: two routes to each value
    starts[count:] = solve_from(starts[count:], LEAST_SQUARES_DELTA, 10)
    ends = solve_from(starts, spec.delta, 60)
    with np.errstate(all="ignore"):
        found = spec.value(at.response.log_predict(ends) - problem.y).reshape(2, count)
    found = np.where(np.isnan(found), np.inf, found)  # too far out to be represented
    best = found.argmin(axis=0)
    ends, found = ends.reshape(2, count, -1)[best, np.arange(count)], found.min(axis=0)
    depths = np.sign(values - start) * np.sqrt(np.maximum(found - optimum, 0.0) / unit)
    order = np.argsort(np.concatenate([profile.values, values]), kind="stable")
    return Profile(
        np.concatenate([profile.values, values])[order],
        np.concatenate([profile.depths, depths])[order],
        np.concatenate([profile.thetas, ends])[order],
    )


def _end(profile: Profile, side: int, bound: float, at: Coordinates) -> tuple[float, bool]:
    """The crossing on one side by interpolation, or the bound."""
    depth = side * profile.depths
    beyond = np.flatnonzero(depth >= 1.0)
    if beyond.size == 0:
        last = profile.values[0 if side < 0 else -1]
        return (float(bound), True) if last == bound else (side * np.inf, False)
    outer = int(beyond[0] if side > 0 else beyond[-1])
    inner = outer - side
    share = (1.0 - depth[inner]) / (depth[outer] - depth[inner])
    return float(profile.values[inner] + share * (profile.values[outer] - profile.values[inner])), False
