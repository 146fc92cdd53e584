"""A toy model of two-stage learning: features are the nodes of an infinite tree, and each sample teaches one feature.

After a summary of v2 of arXiv 2510.06548 ("feature space expansion"). The model and its parameters are our choice, see
docs/toy-model.md. Both stages are simulated sample by sample, without any formula for the loss or the exponent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
#: Draws the numbers of children of newly learned features: (generator, number of features) -> integers >= 1.
Branching = Callable[[np.random.Generator, int], IntArray]


@dataclass(frozen=True, kw_only=True)
class ToyModel:
    """The parameters of the simulation.

    Attributes:
        base_branching: children of every generic feature.
        domain_branching: children of a domain feature, k, before the first stage splits any.
        split_probability: probability that a known generic feature splits a child of a domain feature in two.
        base_ratio: factor on the domain's loss for each known generic feature of a path; near 1, since most are irrelevant.
        domain_ratio: factor on the domain's loss for each known domain feature of a path, r.
        topics: number of roots of the domain's features; many roots average out the random splits of a single one.
    """

    base_branching: int
    domain_branching: int
    split_probability: float
    base_ratio: float
    domain_ratio: float
    topics: int = 1

    def __post_init__(self) -> None:
        for name, value in ((field.name, getattr(self, field.name)) for field in fields(self)):
            if name.endswith("branching") and not (value == int(value) and value >= 2):
                raise ValueError(f"{name}: {value} must be an integer of at least 2")
            if name == "topics" and not (value == int(value) and value >= 1):
                raise ValueError(f"topics: {value} must be an integer of at least 1")
            if name.endswith("ratio") and not 0 < value < 1:
                raise ValueError(f"{name}: {value} must be greater than 0 and less than 1")
        if not 0 <= self.split_probability <= 1:
            raise ValueError(f"split_probability: {self.split_probability} must be between 0 and 1")


@dataclass(frozen=True)
class LearnedTree:
    """The known features of a tree, in the order in which they were learned; arrays of shape (samples,).

    Sample i (from 0) taught feature i, so the first n features are those that n samples teach. `level`: depth of the
    feature, 0 for a root. `mass`: probability that a path goes through the feature. `mean_children`: mean number of
    children of the features that were visited again; NaN if there are none.
    """

    level: IntArray
    mass: FloatArray
    mean_children: float

    def depth_masses(self, samples: int) -> FloatArray:
        """Return P(a path has exactly t known features) after `samples` samples, for t = 0, 1, ...; sums to 1."""
        self._check(samples)
        known = np.bincount(self.level[:samples], self.mass[:samples])
        return -np.diff(np.concatenate([[1.0], known, [0.0]]))

    def loss(self, samples: ArrayLike, ratio: float) -> FloatArray:
        """Return the mean over paths of ratio^(known features on the path) after `samples` samples; shape of `samples`."""
        counts = np.asarray(samples, np.int64)
        self._check(*counts.ravel().tolist())
        # A newly known feature at level l lowers the loss of the paths through it by r^l - r^(l+1).
        gain = (1 - ratio) * ratio**self.level * self.mass
        return 1 - np.concatenate([[0.0], np.cumsum(gain)])[counts]

    def _check(self, *samples: int) -> None:
        for count in samples:
            if not 0 <= count <= self.level.size:
                raise ValueError(
                    f"samples: {count} must be between 0 and the number of simulated samples, {self.level.size}"
                )


def learn_tree(samples: int, branching: Branching, rng: np.random.Generator, roots: int = 1) -> LearnedTree:
    """Learn `roots` trees from random samples.

    Each sample starts at a random root. At a known feature it moves on to one of its children, all with equal probability;
    it teaches the first unknown feature that it reaches. Features are created when they are learned, so the tree has no
    maximal depth.

    The simulation moves all samples down level by level, in their order: the first sample to arrive at a feature teaches
    it, the others move on. This is equivalent to processing one sample after another, because the events at a feature
    depend only on the samples that arrive there.
    """
    if samples < 1:
        raise ValueError(f"samples: {samples} must be at least 1")
    levels, masses = np.empty(samples, np.int64), np.empty(samples)
    moving = np.arange(samples)  # samples that have not taught a feature yet, in their order
    place = rng.integers(
        roots, size=samples
    )  # the feature that each of them is at, numbered within the level
    mass = np.full(roots, 1 / roots)
    level, features, children_drawn = 0, 0, 0
    while moving.size:
        # For repeated indices NumPy keeps the last assignment; the reversed order keeps the earliest sample.
        teacher = np.full(mass.size, -1, np.int64)
        teacher[place[::-1]] = moving[::-1]
        known = teacher >= 0
        levels[teacher[known]] = level
        masses[teacher[known]] = mass[known]
        goes_on = moving != teacher[place]
        moving, place = moving[goes_on], place[goes_on]
        # Only features that samples move on from need children.
        visited = np.zeros(mass.size, np.bool_)
        visited[place] = True
        place = (np.cumsum(visited) - 1)[place]
        children = branching(rng, int(visited.sum()))
        features += children.size
        children_drawn += int(children.sum())
        first_child = np.cumsum(children) - children
        place = first_child[place] + (rng.random(moving.size) * children[place]).astype(np.int64)
        mass = np.repeat(mass[visited] / children, children)
        level += 1
    return LearnedTree(levels, masses, children_drawn / features if features else float("nan"))


def constant_branching(children: int) -> Branching:
    """Return a branching in which every feature has the same number of children."""
    return lambda _, count: np.full(count, children, np.int64)


def split_branching(children: int, split_probability: float, depth_masses: ArrayLike) -> Branching:
    """Return the branching of domain features after a first stage.

    Each domain feature has a context: a random path of the generic tree, of which the first stage knows t features (t has
    the distribution `depth_masses`). Each of these features in turn splits every child in two with probability
    `split_probability`. The mean number of children is therefore children * (1 + split_probability)^t.
    """
    cumulative = np.cumsum(np.asarray(depth_masses, float))
    cumulative /= cumulative[-1]

    def draw(rng: np.random.Generator, count: int) -> IntArray:
        depth = np.searchsorted(cumulative, rng.random(count), side="right")
        number = np.full(count, children, np.int64)
        for known in range(int(depth.max(initial=0))):
            splits = rng.binomial(number, split_probability)
            number += np.where(depth > known, splits, 0)
        return number

    return draw


def simulate(
    model: ToyModel, d1_samples: Sequence[int], d2_samples: Sequence[int], seeds: Sequence[int]
) -> pd.DataFrame:
    """Simulate both stages on a grid: one base tree for each seed, and one domain tree for each seed and D1.

    As with real trunks, the cells of one D1 and seed share one run, and the cells of one seed share the base.

    Returns:
        One row per cell and seed: seed, d1_samples, d2_samples, branching (mean number of children of the domain features
        that the longest run has visited again), base_loss (after the first stage, at D2 = 0), loss. Losses are relative
        to the loss before any learning and have no floor.
    """
    if not (len(d1_samples) and len(d2_samples) and len(seeds)):
        raise ValueError("d1_samples, d2_samples and seeds: each must have at least one value")
    return pd.DataFrame(
        [row for seed in seeds for row in _simulate_seed(model, sorted(d1_samples), sorted(d2_samples), seed)]
    )


def _simulate_seed(
    model: ToyModel, d1_samples: Sequence[int], d2_samples: Sequence[int], seed: int
) -> Iterator[dict[str, float]]:
    base_rng, *domain_rngs = (
        np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(1 + len(d1_samples))
    )
    base = learn_tree(d1_samples[-1], constant_branching(model.base_branching), base_rng)
    base_losses = base.loss(d1_samples, model.base_ratio)
    for d1, base_loss, rng in zip(d1_samples, base_losses.tolist(), domain_rngs, strict=True):
        split = split_branching(model.domain_branching, model.split_probability, base.depth_masses(d1))
        domain = learn_tree(d2_samples[-1], split, rng, model.topics)
        for d2, left in zip(d2_samples, domain.loss(d2_samples, model.domain_ratio).tolist(), strict=True):
            yield {
                "seed": seed,
                "d1_samples": d1,
                "d2_samples": d2,
                "branching": domain.mean_children,
                "base_loss": base_loss,
                "loss": base_loss * left,
            }
