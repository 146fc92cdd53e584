"""The toy model, compared with exact expectations (recursions over sample counts) and theoretical limits."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom

from twostage.toy.model import ToyModel, constant_branching, learn_tree, simulate, split_branching

MODEL = ToyModel(
    base_branching=4, domain_branching=4, split_probability=0.2, base_ratio=0.9, domain_ratio=0.7, topics=50
)


def trees(samples, branching, repeats, **options):
    return [learn_tree(samples, branching, np.random.default_rng(seed), **options) for seed in range(repeats)]


def within_errors(values, expected, errors=4.5):
    """Assert that the mean of every column is within a few standard errors of the expectation."""
    values = np.asarray(values, float)
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    assert np.all(error > 0), "the simulation does not vary: nothing is tested"
    assert np.all(np.abs(values.mean(axis=0) - expected) < errors * error), (
        values.mean(axis=0),
        expected,
        error,
    )


def test_a_tree_by_hand():
    """Two children: the first sample teaches the root, the second a child, the third the other child or a grandchild."""
    shapes = {tuple(tree.level.tolist()): tree.mass.tolist() for tree in trees(3, constant_branching(2), 40)}
    assert shapes == {(0, 1, 1): [1.0, 0.5, 0.5], (0, 1, 2): [1.0, 0.5, 0.25]}


@pytest.mark.parametrize("roots", [1, 7])
def test_every_sample_teaches_one_feature_below_a_known_one(roots):
    tree = learn_tree(5000, constant_branching(3), np.random.default_rng(0), roots)
    assert tree.level.size == 5000
    np.testing.assert_allclose(tree.mass, 3.0**-tree.level / roots)
    known = np.bincount(tree.level)
    assert known[0] == roots
    assert np.all(known[1:] <= 3 * known[:-1])
    # a level has no features before its parent level has
    first = [int(np.argmax(tree.level == level)) for level in range(known.size)]
    assert first == sorted(first)


def test_number_of_known_children_of_the_root():
    """All samples but the first choose one of k children: k (1 - (1 - 1/k)^(n - 1)) children are known on average."""
    found = [np.sum(tree.level == 1) for tree in trees(9, constant_branching(8), 2000)]
    within_errors(found, 8 * (1 - (1 - 1 / 8) ** 8))


def test_known_features_of_each_level():
    """Number of visitors: n at the root, Binomial(n - 1, 1/k) at its children; a feature is known if it has one."""
    samples, k = 30, 4
    visitors = np.zeros(samples + 1)
    visitors[samples] = 1
    expected = []
    for level in range(4):
        expected.append(k**level * (1 - visitors[0]))
        onward = np.concatenate(
            [[visitors[0] + visitors[1]], visitors[2:], [0.0]]
        )  # one visitor teaches the feature, the others move on
        visitors = sum(p * binom.pmf(np.arange(samples + 1), n, 1 / k) for n, p in enumerate(onward) if p > 0)
    found = [
        np.bincount(tree.level, minlength=4)[1:4] for tree in trees(samples, constant_branching(k), 3000)
    ]
    within_errors(found, expected[1:])


def expected_loss(samples, ratio, children):
    """Exact mean loss: f(0) = 1, f(n) = ratio * mean of f(visitors of a child); `children`: number -> probability."""

    @cache
    def loss(n):
        if n == 0:
            return 1.0
        below = sum(
            p * sum(q * loss(j) for j, q in enumerate(binom.pmf(range(n), n - 1, 1 / k)) if q > 1e-15)
            for k, p in children.items()
        )
        return ratio * below

    for n in range(samples):
        loss(n)  # small n first, so that the recursion is not deep
    return loss(samples)


@pytest.mark.parametrize("children", [{4: 1.0}, {2: 0.5, 6: 0.3, 11: 0.2}])
def test_loss_is_the_exact_expectation(children):
    numbers, chances = np.array(list(children)), list(children.values())
    found = [
        tree.loss([5, 40, 150], 0.7)
        for tree in trees(150, lambda rng, count: rng.choice(numbers, count, p=chances), 1500)
    ]
    within_errors(found, [expected_loss(n, 0.7, children) for n in (5, 40, 150)])


def test_loss_and_depths_agree():
    tree = learn_tree(3000, constant_branching(3), np.random.default_rng(1), roots=5)
    for samples in (0, 1, 10, 3000):
        depths = tree.depth_masses(samples)
        assert depths.sum() == pytest.approx(1)
        assert np.all(depths >= -1e-12)
        assert tree.loss(samples, 0.6) == pytest.approx(np.sum(depths * 0.6 ** np.arange(depths.size)))
    assert tree.loss(0, 0.6) == 1


@pytest.mark.parametrize(("k", "ratio"), [(2, 0.8), (4, 0.7)])
def test_exponent_of_a_regular_tree(k, ratio):
    """ln(1/ratio) / ln k, fitted over a factor that is a power of k, at which the tree is self-similar."""
    factor = 16
    samples = [40, 40 * factor, 1000 * factor, 1000 * factor**2]
    losses = np.log(
        learn_tree(samples[-1], constant_branching(k), np.random.default_rng(2)).loss(samples, ratio)
    )
    early, late = (losses[0] - losses[1]) / np.log(factor), (losses[2] - losses[3]) / np.log(factor)
    limit = -np.log(ratio) / np.log(k)
    assert late == pytest.approx(limit, rel=0.01)
    assert abs(early - limit) > abs(late - limit), "the limit is approached from the start of learning"


def test_exponent_of_a_tree_with_mixed_branching():
    """s with E[children^s] = 1/ratio (renewal theory), which differs from the exponent of the mean number of children."""
    numbers, ratio = np.array([2, 16]), 0.7
    s = brentq(lambda s: np.mean(numbers**s) - 1 / ratio, 0, 2)
    naive = -np.log(ratio) / np.log(numbers.mean())
    assert abs(s / naive - 1) > 0.05
    tree = learn_tree(2_000_000, lambda rng, n: rng.choice(numbers, n), np.random.default_rng(3), roots=400)
    first, last = np.log(tree.loss([2_000_000 // 256, 2_000_000], ratio))
    assert (first - last) / np.log(256) == pytest.approx(s, rel=0.025)


def test_depth_of_a_path_is_the_log_of_the_samples():
    tree = learn_tree(4**9, constant_branching(4), np.random.default_rng(4))

    def mean_depth(samples):
        depths = tree.depth_masses(samples)
        return np.sum(depths * np.arange(depths.size))

    assert mean_depth(4**9) - mean_depth(4**6) == pytest.approx(3, abs=0.02)


def test_splits_multiply_the_children():
    """k (1 + p)^t on average, never fewer than k nor more than k 2^t; t drawn from the given distribution."""
    rng = np.random.default_rng(5)
    draw = split_branching(3, 0.3, [0, 0, 0, 0, 1.0])
    number = draw(rng, 40_000)
    assert number.min() >= 3
    assert number.max() <= 3 * 2**4
    within_errors(number[:, None], [3 * 1.3**4])
    mixed = split_branching(3, 0.3, [0.25, 0, 0.75])(rng, 40_000)
    within_errors(mixed[:, None], [3 * (0.25 + 0.75 * 1.3**2)])
    assert set(split_branching(3, 0.0, [0.5, 0.5])(rng, 1000)) == {3}
    assert set(split_branching(3, 1.0, [0.5, 0.5])(rng, 1000)) == {3, 6}


def test_a_grid_holds_every_cell_once_and_is_reproducible():
    first = simulate(MODEL, [100, 1000], [500, 2000], [0, 1])
    assert len(first) == 8
    assert not first.duplicated(["seed", "d1_samples", "d2_samples"]).any()
    assert first.equals(simulate(MODEL, [1000, 100], [2000, 500], [0, 1]))
    by_seed = first.pivot(index=["d1_samples", "d2_samples"], columns="seed", values="loss")
    assert (by_seed[0] != by_seed[1]).all()


def test_grown_grids_keep_the_base_losses():
    """A longer D2 axis does not change the base; a longer D1 axis does, because it changes the base run."""
    short = simulate(MODEL, [100, 1000], [500], [0])
    longer = simulate(MODEL, [100, 1000], [500, 3000], [0])
    assert short["base_loss"].tolist() == longer[longer["d2_samples"] == 500]["base_loss"].tolist()


def test_both_stages_lower_the_loss_and_the_first_widens_the_tree():
    table = simulate(MODEL, [100, 10_000], [2000, 50_000], [0]).set_index(["d1_samples", "d2_samples"])
    loss = table["loss"]
    assert loss[100, 2000] > loss[100, 50_000]
    assert loss[100, 2000] > loss[10_000, 2000]
    assert 4 < table["branching"][100, 50_000] < table["branching"][10_000, 50_000]
    # saturation: after more pretraining the second stage gains less
    assert loss[10_000, 50_000] / loss[10_000, 2000] > loss[100, 50_000] / loss[100, 2000]


def test_without_splitting_the_second_stage_does_not_depend_on_the_first():
    table = simulate(replace(MODEL, split_probability=0.0), [100, 10_000], [2000, 50_000], [0])
    assert (table["branching"] == 4).all()
    left = (table["loss"] / table["base_loss"]).to_numpy().reshape(2, 2)
    np.testing.assert_allclose(left[0], left[1], rtol=0.02)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base_branching": 1}, "base_branching: 1 must be an integer of at least 2"),
        ({"domain_ratio": 1.0}, "domain_ratio: 1.0 must be greater than 0 and less than 1"),
        ({"split_probability": -0.1}, "split_probability: -0.1 must be between 0 and 1"),
        ({"topics": 0}, "topics: 0 must be"),
    ],
)
def test_an_impossible_model_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        replace(MODEL, **change)


def test_impossible_samples_are_refused():
    with pytest.raises(ValueError, match="samples: 0 must be at least 1"):
        learn_tree(0, constant_branching(2), np.random.default_rng(0))
    tree = learn_tree(5, constant_branching(2), np.random.default_rng(0))
    for call in (lambda: tree.loss([3, 6], 0.5), lambda: tree.depth_masses(6)):
        with pytest.raises(
            ValueError, match="samples: 6 must be between 0 and the number of simulated samples, 5"
        ):
            call()
    with pytest.raises(ValueError, match="at least one value"):
        simulate(MODEL, [], [10], [0])
