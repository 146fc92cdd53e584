"""The tokens of a training step: samples of a token stream, shuffled, from a mixture of corpora.

Sample i of a run depends only on (corpora, weights, seed, context, i), not on the number of samples of the run. Therefore a
new grid point does not change the data of the existing ones. Megatron's GPTDataset does not have this property, so only
its IndexedDataset is used. `tokens.py` writes the token files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twostage.common.advice import remake
from twostage.common.errors import UserError
from twostage.common.storage import read_manifest, verify_payload

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_ROUNDS = 8


#: Samples of a held-out split that an evaluation needs: its standard error follows from their differences.
LEAST_EVALUATED = 2


def least_tokens(n_samples: int, context: int) -> int:
    """Return the tokens of the shortest split with this number of samples; see `TokenSplit`."""
    return n_samples * context + 1


class TokenSplit:
    """One split of a tokenised corpus, read through Megatron's IndexedDataset (memory-mapped).

    The documents, each followed by an end-of-document token, form one stream. Sample j is the `context + 1` tokens from
    position `j * context`. The last partial sample is dropped.

    Attributes:
        name: name of the corpus.
        split: "train" or "valid".
        n_tokens: length of the stream.
        vocab_size: vocabulary size of the tokenizer; every token id is smaller.

    Raises:
        UserError: the manifest or a file is missing, truncated or altered (sizes and SHA-256 are checked).
    """

    def __init__(self, directory: str | Path, split: str) -> None:
        directory = Path(directory)
        self.manifest_path = directory / "manifest.json"
        manifest = read_manifest(self.manifest_path)
        if split not in manifest.get("splits", {}):
            raise UserError(
                f"{self.manifest_path}: no split {split!r}; choose one of {sorted(manifest.get('splits', {}))}"
            )
        verify_payload(self.manifest_path, names=[f"{split}.bin", f"{split}.idx"])
        self.name: str = manifest["corpus"]
        self.split = split
        self.vocab_size: int = manifest["vocab_size"]
        # Imported here because importing Megatron takes seconds.
        from megatron.core.datasets.indexed_dataset import IndexedDataset

        self._dataset = IndexedDataset(str(directory / split))
        self.n_tokens = int(self._dataset.sequence_lengths.sum(dtype=np.int64))
        self._dtype = np.dtype(self._dataset.index.dtype)
        bin_path = directory / f"{split}.bin"
        if bin_path.stat().st_size != self.n_tokens * self._dtype.itemsize:
            raise UserError(
                f"{bin_path}: {bin_path.stat().st_size} bytes do not match the {self.n_tokens} tokens of its index; "
                f"remake it with: {remake(self.manifest_path)}"
            )

    def n_samples(self, context: int) -> int:
        """Return the number of complete samples, (n_tokens - 1) // context."""
        return max(self.n_tokens - 1, 0) // context

    def samples(self, indices: NDArray[np.integer], context: int) -> NDArray[np.int64]:
        """Return samples by their index in the stream (not shuffled); int64 array [len(indices), context + 1].

        Raises:
            UserError: a token id is not below `vocab_size`.
            IndexError: an index is not in [0, n_samples).
        """
        limit = self.n_samples(context)
        batch = np.empty((len(indices), context + 1), dtype=np.int64)
        for row, index in enumerate(indices.tolist()):
            if not 0 <= index < limit:
                raise IndexError(
                    f"sample {index} of {self.name}/{self.split} does not exist; there are {limit} samples of {context} tokens"
                )
            # Documents are contiguous in the file, so one read may span several.
            batch[row] = self._dataset.bin_reader.read(
                dtype=self._dtype.type, count=context + 1, offset=index * context * self._dtype.itemsize
            )
        if batch.size and batch.max() >= self.vocab_size:
            raise UserError(
                f"{self.manifest_path.parent / self.split}.bin: token id {batch.max()} is beyond the vocabulary of "
                f"{self.vocab_size}; remake it with: {remake(self.manifest_path)}"
            )
        return batch


def _mix(value: int) -> int:
    """Finaliser of splitmix64 for one Python integer."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finaliser of splitmix64: a fast 64-bit hash of each value."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _round_keys(seed: int, epoch: int) -> list[np.uint64]:
    state = _mix((_mix((seed + _GOLDEN) & _MASK) + (epoch + 1) * _GOLDEN) & _MASK)
    return [np.uint64(_mix((state + (step + 1) * _GOLDEN) & _MASK)) for step in range(_ROUNDS)]


def permute(places: NDArray[np.integer], n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the images of `places` under a pseudo-random permutation of [0, n) that is determined by (seed, epoch).

    The permutation is computed without a table, in constant memory: a balanced Feistel network (Luby & Rackoff 1988) with
    splitmix64 rounds permutes the range up to the next power of four. Images outside [0, n) are mapped again until they are
    inside ("cycle walking", Black & Rogaway 2002), fewer than four times on average.

    Args:
        places: int array [k] of values in [0, n).
        n: size of the permuted range, 1 <= n <= 2**62.
        seed, epoch: non-negative integers.

    Returns:
        int64 array [k].

    Raises:
        ValueError: `n` or a place is out of range.
    """
    if not 1 <= n <= 1 << 62:
        raise ValueError(f"n: {n} is not in [1, 2**62]")
    values = np.asarray(places).astype(np.uint64)
    if values.size and (np.min(places) < 0 or np.max(places) >= n):
        raise ValueError(f"places: not all values are in [0, {n})")
    half = np.uint64(max(1, ((n - 1).bit_length() + 1) // 2))
    low = np.uint64((1 << int(half)) - 1)
    keys = _round_keys(seed, epoch)

    def encrypt(block: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = block >> half, block & low
        for key in keys:
            left, right = right, left ^ (mix(right + key) & low)
        return (left << half) | right

    values = encrypt(values)
    while (outside := values >= np.uint64(n)).any():
        values[outside] = encrypt(values[outside])
    return values.astype(np.int64)


class Mixture:
    """A deterministic interleaving of corpora by integer weights, with exact counts in every period.

    A period has sum(weights) samples, after division of the weights by their greatest common divisor. Each sample of a period
    comes from the corpus that is furthest below its share; on a tie, from the first one listed. All periods are equal.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        if not weights or any(weight < 1 for weight in weights):
            raise ValueError(f"weights: {list(weights)} must be positive integers, one per corpus")
        divisor = math.gcd(*weights)
        self.weights = tuple(weight // divisor for weight in weights)
        self.period = sum(self.weights)
        taken = [0] * len(self.weights)
        pattern, rank = [], []
        for place in range(1, self.period + 1):
            deficits = [
                weight * place - count * self.period
                for weight, count in zip(self.weights, taken, strict=True)
            ]
            choice = deficits.index(max(deficits))
            pattern.append(choice)
            rank.append(taken[choice])
            taken[choice] += 1
        self._pattern = np.array(pattern)
        self._rank = np.array(rank)

    def locate(self, indices: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (index of the corpus, index of the sample within that corpus) of mixture samples; two int arrays [k]."""
        periods, places = np.divmod(np.asarray(indices, dtype=np.int64), self.period)
        corpora = self._pattern[places]
        return corpora, periods * np.array(self.weights)[corpora] + self._rank[places]

    def counts(self, n_samples: int) -> list[int]:
        """Return how many of the first `n_samples` samples come from each corpus."""
        periods, rest = divmod(n_samples, self.period)
        tail = np.bincount(self._pattern[:rest], minlength=len(self.weights))
        return [periods * weight + int(extra) for weight, extra in zip(self.weights, tail, strict=True)]


class SampleStream:
    """The infinite sequence of training samples of a run.

    Sample i of the stream is sample `offset + i` of the mixture. Sample j of a corpus with n samples belongs to epoch j // n
    and is element j % n of that epoch's permutation.

    Args:
        splits: one split per corpus.
        weights: positive integers, one per split; samples are drawn in these proportions.
        seed: seed of the permutations.
        context: tokens per sample.
        offset: samples of the mixture to skip (the fresh-data ablation starts where the base model stopped).

    Raises:
        UserError: a split is shorter than one sample.
    """

    def __init__(
        self, splits: Sequence[TokenSplit], weights: Sequence[int], seed: int, context: int, offset: int = 0
    ) -> None:
        if len(splits) != len(weights):
            raise ValueError(
                f"weights: {len(weights)} weights for {len(splits)} corpora; give one weight per corpus"
            )
        if offset < 0:
            raise ValueError(f"offset: {offset} must not be negative")
        self.splits = tuple(splits)
        self.mixture = Mixture(weights)
        self.seed, self.context, self.offset = seed, context, offset
        self._sizes = [split.n_samples(context) for split in splits]
        for split, size in zip(splits, self._sizes, strict=True):
            if size == 0:
                raise UserError(
                    f"{split.manifest_path}: the {split.split} split has {split.n_tokens} tokens, fewer than one sample of "
                    f"{context} + 1; use more text or a shorter context"
                )

    def batch(self, start: int, count: int) -> NDArray[np.int64]:
        """Return samples start .. start + count - 1; int64 array [count, context + 1]."""
        corpora, numbers = self.mixture.locate(np.arange(start, start + count, dtype=np.int64) + self.offset)
        batch = np.empty((count, self.context + 1), dtype=np.int64)
        for corpus, (split, size) in enumerate(zip(self.splits, self._sizes, strict=True)):
            rows = np.flatnonzero(corpora == corpus)
            if not len(rows):
                continue
            epochs, places = np.divmod(numbers[rows], size)
            indices = np.empty(len(rows), dtype=np.int64)
            for epoch in np.unique(epochs).tolist():
                inside = epochs == epoch
                indices[inside] = permute(places[inside], size, self.seed, epoch)
            batch[rows] = split.samples(indices, self.context)
        return batch

    def epochs(self, n_samples: int) -> list[float]:
        """Return the number of epochs that the first `n_samples` samples of the stream make over each corpus."""
        before, after = self.mixture.counts(self.offset), self.mixture.counts(self.offset + n_samples)
        return [(end - begin) / size for size, begin, end in zip(self._sizes, before, after, strict=True)]
