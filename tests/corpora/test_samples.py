"""Which tokens a step sees: the shuffle is a bijection, mixtures are exact, and nothing depends on how much is asked for."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from twostage.common.errors import UserError
from twostage.common.storage import payload_entries, write_manifest
from twostage.corpora.samples import Mixture, SampleStream, TokenSplit, permute

GOLDEN_10 = [3, 9, 5, 2, 4, 0, 7, 8, 1, 6]
GOLDEN_MILLION = [62704, 232248, 501955, 823036, 942763, 987575, 244510, 766239]


@given(st.integers(1, 5000), st.integers(0, 2**63 - 1), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_permute_is_a_bijection(n: int, seed: int, epoch: int) -> None:
    assert sorted(permute(np.arange(n), n, seed, epoch).tolist()) == list(range(n))


@given(st.integers(1, 2**62), st.integers(0, 10**9), st.data())
@settings(max_examples=60, deadline=None)
def test_permute_stays_in_range_and_maps_each_place_alone(n: int, seed: int, data: st.DataObject) -> None:
    places = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=20)), dtype=np.int64)
    images = permute(places, n, seed, 3)
    assert ((images >= 0) & (images < n)).all()
    assert len(set(images.tolist())) == len(set(places.tolist()))
    assert [int(permute(places[[k]], n, seed, 3)[0]) for k in range(len(places))] == images.tolist()


def test_permute_golden_values() -> None:
    """Frozen: a change here changes the training data of every study; raise DATA_REVISION and TRAIN_REVISION."""
    assert permute(np.arange(10), 10, 0, 0).tolist() == GOLDEN_10
    assert permute(np.arange(8), 1_000_003, 1, 2).tolist() == GOLDEN_MILLION


def _splitmix(value: int) -> int:
    """splitmix64's finaliser with Python integers, after Steele, Lea & Flood (2014)."""
    mask = 2**64 - 1
    value ^= value >> 30
    value = value * 0xBF58476D1CE4E5B9 & mask
    value ^= value >> 27
    value = value * 0x94D049BB133111EB & mask
    return value ^ value >> 31


def _permute_plainly(place: int, n: int, seed: int, epoch: int) -> int:
    gamma, mask = 0x9E3779B97F4A7C15, 2**64 - 1
    state = _splitmix((_splitmix((seed + gamma) & mask) + (epoch + 1) * gamma) & mask)
    half = max(1, -(-(n - 1).bit_length() // 2))
    while True:
        left, right = divmod(place, 2**half)
        for step in range(1, 9):
            key = _splitmix((state + step * gamma) & mask)
            left, right = right, left ^ _splitmix((right + key) & mask) % 2**half
        place = left * 2**half + right
        if place < n:
            return place


@pytest.mark.parametrize("n", [1, 2, 3, 17, 1000, 2**33 + 5])
def test_permute_equals_a_plain_integer_implementation(n: int) -> None:
    places = np.unique(np.linspace(0, n - 1, 50).astype(np.int64))
    expected = [_permute_plainly(place, n, 7, 4) for place in places.tolist()]
    assert permute(places, n, 7, 4).tolist() == expected


@pytest.mark.parametrize("n", [5, 12, 100])
def test_permute_spreads_every_place_evenly_over_seeds_and_epochs(n: int) -> None:
    draws = 400 * n
    for index, images in enumerate(
        (
            np.array([permute(np.array([0]), n, seed, 0)[0] for seed in range(min(draws, 4000))]),
            np.array([permute(np.array([n - 1]), n, 5, epoch)[0] for epoch in range(min(draws, 4000))]),
        )
    ):
        assert stats.chisquare(np.bincount(images, minlength=n)).pvalue > 1e-4, index


def test_permute_breaks_up_neighbours() -> None:
    n = 20_011
    images = permute(np.arange(n), n, 11, 0)
    assert abs(stats.spearmanr(np.arange(n), images).statistic) < 4 / np.sqrt(n)
    assert abs(stats.spearmanr(images[:-1], images[1:]).statistic) < 4 / np.sqrt(n)
    # Distances between neighbours of a random permutation follow the triangular law on (0, n).
    distance = np.abs(np.diff(images)) / n
    assert stats.kstest(distance, lambda x: 2 * x - x**2).pvalue > 1e-4


def test_permutations_of_different_epochs_and_seeds_are_unrelated() -> None:
    n = 4096
    base = permute(np.arange(n), n, 3, 0)
    for other in (permute(np.arange(n), n, 3, 1), permute(np.arange(n), n, 4, 0)):
        assert (base == other).sum() < 10  # a Poisson variable of mean 1
        assert abs(stats.spearmanr(base, other).statistic) < 4 / np.sqrt(n)


@pytest.mark.parametrize(("place", "n"), [(5, 5), (-1, 5), (0, 0)])
def test_permute_refuses_what_is_out_of_range(place: int, n: int) -> None:
    with pytest.raises(ValueError, match="not"):
        permute(np.array([place]), n, 0, 0)


def test_mixture_pattern_of_three_to_one() -> None:
    corpora, numbers = Mixture([3, 1]).locate(np.arange(8))
    assert corpora.tolist() == [0, 0, 1, 0, 0, 0, 1, 0]
    assert numbers.tolist() == [0, 1, 0, 2, 3, 4, 1, 5]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.integers(0, 2000))
@settings(deadline=None, max_examples=60)
def test_mixture_counts_are_exact_and_never_far_from_the_share(weights: list[int], n_samples: int) -> None:
    mixture = Mixture(weights)
    corpora, numbers = mixture.locate(np.arange(n_samples))
    counts = np.bincount(corpora, minlength=len(weights)).tolist()
    assert mixture.counts(n_samples) == counts
    for corpus, weight in enumerate(weights):
        assert numbers[corpora == corpus].tolist() == list(range(counts[corpus]))
        assert abs(counts[corpus] - n_samples * weight / sum(weights)) < len(weights)
        assert mixture.counts(7 * sum(weights))[corpus] == 7 * weight


def test_mixture_reduces_weights() -> None:
    assert Mixture([75, 25]).period == 4
    assert (
        Mixture([75, 25]).locate(np.arange(40))[0].tolist()
        == Mixture([3, 1]).locate(np.arange(40))[0].tolist()
    )


@pytest.mark.parametrize("weights", [[], [1, 0], [-1]])
def test_mixture_refuses_bad_weights(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="weights"):
        Mixture(weights)


def _tokens(
    folder: Path, lengths: list[int], seed: int = 0, vocab_size: int = 1000
) -> tuple[Path, np.ndarray]:
    """Write a token folder with Megatron's own builder; return it and the complete stream."""
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    stream = np.random.default_rng(seed).integers(0, vocab_size, sum(lengths), dtype=np.uint16)
    folder.mkdir()
    for split in ("train", "valid"):
        builder = IndexedDatasetBuilder(str(folder / f"{split}.bin"), dtype=np.uint16)
        for document in np.split(stream, np.cumsum(lengths)[:-1]):
            builder.add_document(document, [len(document)])
        builder.finalize(str(folder / f"{split}.idx"))
    _write_manifest(folder, vocab_size)
    return folder, stream.astype(np.int64)


def _write_manifest(folder: Path, vocab_size: int = 1000) -> None:
    files = [f"{split}.{kind}" for split in ("train", "valid") for kind in ("bin", "idx")]
    manifest = {"corpus": folder.name, "vocab_size": vocab_size, "splits": {"train": {}, "valid": {}}}
    write_manifest(folder / "manifest.json", {**manifest, "payload": payload_entries(folder, files)})


@pytest.fixture(scope="module")
def two_corpora(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, np.ndarray]]:
    root = tmp_path_factory.mktemp("tokens")
    return [_tokens(root / "one", [5, 1, 30, 65], 0), _tokens(root / "two", [41], 1)]


@pytest.mark.parametrize(
    ("n_tokens", "context", "expected"), [(101, 10, 10), (100, 10, 9), (11, 10, 1), (10, 10, 0), (1, 2, 0)]
)
def test_number_of_samples(tmp_path: Path, n_tokens: int, context: int, expected: int) -> None:
    folder, _ = _tokens(tmp_path / "corpus", [n_tokens])
    assert TokenSplit(folder, "train").n_samples(context) == expected


def test_samples_are_windows_of_the_stream_that_share_one_token(
    two_corpora: list[tuple[Path, np.ndarray]],
) -> None:
    folder, stream = two_corpora[0]
    split = TokenSplit(folder, "valid")
    assert split.n_tokens == 101
    samples = split.samples(np.arange(10), 10)
    assert samples.dtype == np.int64
    for index in range(10):
        np.testing.assert_array_equal(samples[index], stream[10 * index : 10 * index + 11])
    np.testing.assert_array_equal(split.samples(np.array([9, 0]), 10), samples[[9, 0]])
    with pytest.raises(IndexError, match="10 samples"):
        split.samples(np.array([10]), 10)


def test_stream_follows_the_definition(two_corpora: list[tuple[Path, np.ndarray]]) -> None:
    """Sample by sample from the text of DESIGN section 4, with the plain permutation above."""
    splits = [TokenSplit(folder, "train") for folder, _ in two_corpora]
    batch = SampleStream(splits, [3, 1], seed=9, context=10).batch(0, 60)
    taken = [0, 0]
    for index in range(60):
        corpus = (0, 0, 1, 0)[index % 4]
        n = (10, 4)[corpus]
        place = _permute_plainly(taken[corpus] % n, n, 9, taken[corpus] // n)
        np.testing.assert_array_equal(batch[index], two_corpora[corpus][1][10 * place : 10 * place + 11])
        taken[corpus] += 1


def test_stream_does_not_depend_on_how_it_is_cut_or_how_much_is_asked_for(
    two_corpora: list[tuple[Path, np.ndarray]],
) -> None:
    splits = [TokenSplit(folder, "train") for folder, _ in two_corpora]
    stream = SampleStream(splits, [1, 1], seed=1, context=8)
    whole = stream.batch(0, 200)  # many epochs of both
    draw = random.Random(0)
    start = 0
    while start < 200:
        count = min(draw.randint(1, 30), 200 - start)
        np.testing.assert_array_equal(stream.batch(start, count), whole[start : start + count])
        start += count
    np.testing.assert_array_equal(
        SampleStream(splits, [1, 1], seed=1, context=8, offset=37).batch(0, 50), whole[37:87]
    )


def test_every_epoch_holds_every_sample_once_in_a_new_order(
    two_corpora: list[tuple[Path, np.ndarray]],
) -> None:
    split = TokenSplit(two_corpora[0][0], "train")
    stream = SampleStream([split], [1], seed=2, context=4)
    n = split.n_samples(4)
    first, second = stream.batch(0, n), stream.batch(n, n)
    everything = sorted(map(tuple, split.samples(np.arange(n), 4).tolist()))
    assert sorted(map(tuple, first.tolist())) == everything
    assert sorted(map(tuple, second.tolist())) == everything
    assert (first != second).any()


def test_epochs_count_what_is_drawn(two_corpora: list[tuple[Path, np.ndarray]]) -> None:
    splits = [TokenSplit(folder, "train") for folder, _ in two_corpora]
    assert SampleStream(splits, [3, 1], seed=0, context=10).epochs(40) == [3.0, 2.5]
    assert SampleStream(splits, [3, 1], seed=0, context=10, offset=2).epochs(1) == [0.0, 0.25]


def test_a_split_shorter_than_a_sample_is_refused(two_corpora: list[tuple[Path, np.ndarray]]) -> None:
    split = TokenSplit(two_corpora[1][0], "train")
    with pytest.raises(UserError, match="41 tokens, fewer than one sample of 41"):
        SampleStream([split], [1], seed=0, context=41)


def test_truncated_tokens_are_refused(tmp_path: Path) -> None:
    folder, _ = _tokens(tmp_path / "corpus", [100])
    with (folder / "train.bin").open("r+b") as stream:
        stream.truncate(150)
    assert (folder / "train.bin").stat().st_size == 150
    with pytest.raises(UserError, match=r"train\.bin: truncated: 150 bytes.*snakemake .*-f") as caught:
        TokenSplit(folder, "train")
    assert str(folder / "manifest.json") in str(caught.value)
    TokenSplit(folder, "valid")  # the other split is whole


def test_tokens_that_do_not_match_their_index_are_refused(tmp_path: Path) -> None:
    folder, _ = _tokens(tmp_path / "corpus", [100])
    other, _ = _tokens(tmp_path / "other", [99])
    shutil.copy(other / "train.bin", folder / "train.bin")
    _write_manifest(folder)  # even where the manifest agrees
    with pytest.raises(UserError, match="198 bytes do not match the 100 tokens"):
        TokenSplit(folder, "train")


def test_a_token_beyond_the_vocabulary_is_refused(tmp_path: Path) -> None:
    folder, stream = _tokens(tmp_path / "corpus", [100])
    _write_manifest(folder, vocab_size=int(stream.max()))
    split = TokenSplit(folder, "train")
    with pytest.raises(
        UserError, match=f"token id {stream.max()} is beyond the vocabulary of {stream.max()}"
    ):
        split.samples(np.arange(split.n_samples(3)), 3)


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    folder, _ = _tokens(tmp_path / "corpus", [100])
    with pytest.raises(UserError, match=r"no split 'test'; choose one of \['train', 'valid'\]"):
        TokenSplit(folder, "test")
    assert json.loads((folder / "manifest.json").read_text())["corpus"] == "corpus"
