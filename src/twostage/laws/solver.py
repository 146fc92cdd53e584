"""Global, deterministic minimisation of a law's objective, for a family of problems at once.

A family is one set of points under several weightings: the full data and its leave-one-out folds, for example. Seeds
from an exponent grid are refined by least squares; every member then descends from its best seed, and members exchange
their minima until none improves. The exchange finds the lowest of the many close minima of a nearly polyhedral
objective. A single fit uses it too: helper members with some points left out are added (`helper_weights`). Families of
several forms descend in one batch.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from twostage.laws.batch import Request, descend_batch
from twostage.laws.descent import Box, descend
from twostage.laws.lad import finish
from twostage.laws.objective import Objective
from twostage.laws.points import AnyArray, FloatArray
from twostage.laws.response import Response
from twostage.laws.seeds import grid_seeds

Answer = tuple[FloatArray, FloatArray]

LEAST_SQUARES_DELTA = 0.3
# The search compares minima at a Huber threshold no smaller than this share of the typical residual; a sharper
# objective is reached from the KEEP best of them (KEEP_SINGLE for a single fit).
SEARCH_SHARE = 1e-2
KEEP, KEEP_SINGLE = 4, 16
MAX_ROUNDS = 8
# Steps of the seeds towards least squares, and of one round of descents; unfinished descents continue at the end.
SEED_STEPS, ROUND_STEPS, ROUND_TOLERANCE = 5, 16, 1e-10
HELPERS = 24


@dataclass(frozen=True)
class Task:
    """A family to solve: a response with its bounds, log losses y (m,), weights (P, m). `verify` descends for the first
    member from the minima of all the others, too, and follows that member alone to a sharper objective."""

    response: Response
    box: Box
    y: FloatArray
    weights: FloatArray
    objective: Objective
    verify: bool = False


@dataclass(frozen=True)
class Solution:
    """Best parameters of one problem (k,) and their value, with what the search saw: values (s,) of all descents for
    this problem, and how many descents the family made."""

    theta: FloatArray
    value: float
    seen: FloatArray
    n_starts: int


@dataclass(frozen=True)
class Family:
    """Best parameters (P, k) and objective values (P,) of P problems with weights (P, m); `seen[p]`: the values its descents ended at."""

    thetas: FloatArray
    values: FloatArray
    weights: FloatArray
    seen: list[FloatArray]
    n_starts: int

    def member(self, index: int) -> Solution:
        """The solution of one problem of the family."""
        return Solution(self.thetas[index], float(self.values[index]), self.seen[index], self.n_starts)


def search_deltas(
    response: Response, y: FloatArray, near: FloatArray, objective: Objective
) -> tuple[float, float]:
    """Huber thresholds at which minima are compared and down to which they are followed; `near` (s, k) gives the size
    of the residuals. For `lad` the second is a tenth of the first; `lad.finish` then finds the exact minimum."""
    typical = float(np.median(np.abs(response.log_predict(near) - y)))
    delta = SEARCH_SHARE * typical
    if objective.name == "lad":
        delta = max(delta, 1e-15)
        return delta, 0.1 * delta
    return max(delta, objective.delta), objective.delta


def helper_weights(weights: FloatArray) -> FloatArray:
    """A family for a single problem with weights (m,): itself first, then HELPERS versions with some points left out."""
    helpers = min(HELPERS, weights.size)
    left_out = np.arange(weights.size) % helpers == np.arange(helpers)[:, None]
    return np.concatenate([weights[None], np.where(left_out, 0.0, weights)])


def solve_families(tasks: Sequence[Task]) -> list[Family]:
    """Best fits of every member of every task; the tasks share their points and descend together."""
    searches = [_search(task) for task in tasks]
    waiting = [next(search) for search in searches]
    active = list(range(len(tasks)))
    families: list[Family | None] = [None] * len(tasks)
    while active:
        # only requests with equal settings can descend in one batch
        first = waiting[active[0]]
        alike = [i for i in active if _manner(waiting[i]) == _manner(first)]
        answers = descend_batch([waiting[i] for i in alike], tasks[0].y)
        for i, answer in zip(alike, answers, strict=True):
            try:
                waiting[i] = searches[i].send(answer)
            except StopIteration as stop:
                families[i] = stop.value
                active.remove(i)
    return [family for family in families if family is not None]


def _manner(request: Request) -> tuple[float, int, float]:
    return request.delta, request.max_steps, request.tolerance


def _search(task: Task) -> Generator[Request, Answer, Family]:
    """The global search of one task: a generator that yields requests to descend and is sent the ends and their values."""
    response, y, weights = task.response, task.y, task.weights
    mean = weights.mean(axis=0)
    seeds = grid_seeds(response, np.exp(y), mean, task.box)
    polish = np.broadcast_to(mean, (len(seeds), y.size))
    theta, value = yield Request(
        response, task.box, polish, seeds, LEAST_SQUARES_DELTA, SEED_STEPS, tolerance=1e-2
    )
    order = np.argsort(value, kind="stable")
    theta, value = theta[order], value[order]
    pool = theta[np.concatenate([[True], value[1:] > value[:-1] * (1 + 1e-3)])]
    delta, target = search_deltas(response, y, pool[:1], task.objective)
    found = Found(task, delta)
    everyone = np.arange(len(weights))
    starts = pool[found.values(pool).argmin(axis=1)]
    for _ in range(MAX_ROUNDS):
        if not found.add(everyone, (yield found.request(everyone, starts, ROUND_STEPS, ROUND_TOLERANCE))):
            break
        starts = found.exchange()
    # descents that had not converged when a round ended
    ends, values = yield found.request(everyone, found.thetas.copy())
    moved = values < found.best
    found.add(everyone[moved], (ends[moved], values[moved]))
    if task.verify:
        first = np.zeros(len(weights), int)
        while found.add(first, (yield found.request(first, found.thetas.copy()))):
            pass
        found.keep_first()
    while delta > target:
        delta = max(delta / 10.0, target)
        who, starts = found.sharpen(delta, KEEP_SINGLE if task.verify else KEEP)
        found.add(who, (yield found.request(who, starts)))
    if task.objective.name == "lad":
        found.finish_lad()
    return found.family()


class Found:
    """Every minimum that a search has found so far at one Huber threshold, by member, and the best of each."""

    def __init__(self, task: Task, delta: float) -> None:
        self.task, self.weights, self.delta = task, task.weights, delta
        count = len(task.weights)
        self.best = np.full(count, np.inf)
        self.thetas = np.zeros((count, task.response.k))
        self.fresh = np.zeros(count, bool)
        self.log: list[tuple[AnyArray, FloatArray, FloatArray]] = []

    def values(self, pool: FloatArray) -> FloatArray:
        """Objective of every pool member (Q, k) for every member of the family: (P, Q)."""
        residuals = self.task.response.log_predict(pool) - self.task.y
        return np.asarray(self.weights @ Objective("huber", self.delta).per_point(residuals).T)

    def request(
        self, who: AnyArray, starts: FloatArray, max_steps: int = 200, tolerance: float = 1e-12
    ) -> Request:
        """Descend from starts (B, k) for the members `who` (B,)."""
        return Request(
            self.task.response, self.task.box, self.weights[who], starts, self.delta, max_steps, tolerance
        )

    def add(self, who: AnyArray, answer: Answer) -> bool:
        """Record what a request found; whether any member improved."""
        ends, values = answer
        self.log.append((who, ends, values))
        order = np.lexsort((values, who))
        members, first = np.unique(who[order], return_index=True)
        pick = order[first]
        gain = values[pick] < self.best[members]
        self.fresh = np.zeros(len(self.weights), bool)
        self.fresh[members] = values[pick] < self.best[members] * (1 - 1e-10) - 1e-17 * self.delta
        self.best[members[gain]], self.thetas[members[gain]] = values[pick[gain]], ends[pick[gain]]
        return bool(self.fresh.any())

    def exchange(self) -> FloatArray:
        """For each member the most promising minimum that another one has just found: (P, k)."""
        givers = np.flatnonzero(self.fresh)
        pool = self.thetas[givers]
        values = self.values(pool)
        if len(givers) > 1:
            values[givers, np.arange(len(givers))] = np.inf
        return np.asarray(pool[values.argmin(axis=1)])

    def keep_first(self) -> None:
        """Continue with the first member only."""
        self.weights, self.best, self.thetas = self.weights[:1], self.best[:1], self.thetas[:1]
        self.log = [(who[who == 0], ends[who == 0], values[who == 0]) for who, ends, values in self.log]

    def sharpen(self, delta: float, keep: int) -> tuple[AnyArray, FloatArray]:
        """Start again at a smaller threshold from the `keep` best distinct minima of every member."""
        who, ends, values = (np.concatenate(parts) for parts in zip(*self.log, strict=True))
        order = np.lexsort((values, who))
        who, ends, values = who[order], ends[order], values[order]
        new = np.ones(len(who), bool)
        new[1:] = (who[1:] != who[:-1]) | (values[1:] > values[:-1] * (1 + 1e-9))
        who, ends = who[new], ends[new]
        best = np.arange(len(who)) - np.searchsorted(who, who) < keep
        self.log, self.delta = [], delta
        self.best = np.full(len(self.weights), np.inf)
        return who[best], ends[best]

    def finish_lad(self) -> None:
        """Move every minimum found to the nearby exact one of the sum of absolute residuals."""
        log, self.log = self.log, []
        self.best = np.full(len(self.weights), np.inf)
        for who, ends, _ in log:
            exact = finish_all(self.task.response, self.task.y, self.weights[who], ends, self.task.box)
            residuals = self.task.response.log_predict(exact) - self.task.y
            self.add(who, (exact, np.vecdot(np.abs(residuals), self.weights[who])))

    def family(self) -> Family:
        """The result, with values of the true objective."""
        response, y, objective = self.task.response, self.task.y, self.task.objective
        who, ends, _ = (np.concatenate(parts) for parts in zip(*self.log, strict=True))
        values = np.vecdot(objective.per_point(response.log_predict(ends) - y), self.weights[who])
        seen = [values[who == p] for p in range(len(self.weights))]
        final = np.vecdot(objective.per_point(response.log_predict(self.thetas) - y), self.weights)
        return Family(self.thetas, final, self.weights, seen, len(who))


def finish_all(
    response: Response, y: FloatArray, weights: FloatArray, thetas: FloatArray, box: Box
) -> FloatArray:
    """`lad.finish` row by row: y and weights (m,) or (B, m), thetas (B, k)."""
    shape = (len(thetas), response.size)
    rows = zip(np.broadcast_to(y, shape), np.broadcast_to(weights, shape), thetas, strict=True)
    return np.array([finish(response, a, w, theta, box) for a, w, theta in rows]).reshape(thetas.shape)


def minimise(
    response: Response, y: FloatArray, weights: FloatArray, starts: FloatArray, box: Box, objective: Objective
) -> tuple[FloatArray, FloatArray]:
    """Local minima from each start (B, k), y and weights (m,) or (B, m): thetas (B, k), objective values (B,)."""
    delta, target = search_deltas(response, y, starts, objective)
    theta, _ = descend(response, y, weights, starts, box, delta)
    while delta > target:
        delta = max(delta / 10.0, target)
        theta, _ = descend(response, y, weights, theta, box, delta)
    if objective.name == "lad":
        theta = finish_all(response, y, weights, theta, box)
    return theta, np.vecdot(objective.per_point(response.log_predict(theta) - y), weights)
