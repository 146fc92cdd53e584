"""Near-duplicates of validation documents, found by their shared word 8-grams ("shingles").

Two documents are near-duplicates if they share at least half of the distinct shingles of the smaller one. Containment finds a
short document that is quoted in a long one. All shingles are compared, without sampling, so the result is deterministic.
`corpus.py` drops exact duplicates before.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twostage.corpora.samples import mix

SHINGLE_WORDS = 8
#: Least fraction of the smaller document's distinct shingles that near-duplicates share (our choice).
CONTAINMENT = 0.5

# These limit the cache of word hashes to about 50 MB.
_CACHED_WORDS = 1 << 18
_CACHED_LENGTH = 64

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class _WordHashes(dict[str, int]):
    """A cache of 64-bit hashes of words; most of a text consists of few distinct words.

    A hash is two CRCs, of the word's bytes and of its reversed bytes: fast and the same on every machine.
    """

    def __missing__(self, word: str) -> int:
        encoded = word.encode("utf-8", "surrogatepass")
        value = zlib.crc32(encoded) << 32 | zlib.crc32(encoded[::-1])
        if len(word) <= _CACHED_LENGTH:
            if len(self) == _CACHED_WORDS:
                self.clear()
            self[word] = value
        return value


_word_hashes = _WordHashes()


def shingles(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return (hash, document index) of every distinct shingle of every text, sorted by document, then hash.

    Words are runs of non-blank characters in lower case. A text of fewer than `SHINGLE_WORDS` words has one shingle with all
    of its words. Two different shingles have the same 64-bit hash with probability of about 1e-19.

    Returns:
        Two arrays of equal length: uint64 hashes, int64 document indices.
    """
    split = [text.lower().split() for text in texts]
    counts = np.array([len(words) for words in split], dtype=np.int64)
    flat = [word for words in split for word in words]
    words = mix(np.fromiter(map(_word_hashes.__getitem__, flat), np.uint64, len(flat)))
    owner = np.repeat(np.arange(len(texts)), counts)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]]) if len(texts) else np.empty(0, np.int64)
    place = np.arange(len(flat)) - np.repeat(first, counts)
    # A shingle starts at each word that is followed by at least 7 more in its document, and at the first word.
    starts = np.flatnonzero((place == 0) | (place + SHINGLE_WORDS <= counts[owner]))
    # Shingles of short documents are padded with zeros.
    short = np.flatnonzero(counts[owner[starts]] < SHINGLE_WORDS)
    lengths = counts[owner[starts[short]]]
    words = np.concatenate([words, np.zeros(SHINGLE_WORDS, np.uint64)])
    hashes = np.zeros(len(starts), np.uint64)
    for step in range(SHINGLE_WORDS):
        word = words[starts + step]
        word[short[lengths <= step]] = 0
        hashes = mix(hashes * _MULTIPLIER + word)
    owners = owner[starts].astype(np.int64)
    order = np.lexsort((hashes, owners))
    hashes, owners = hashes[order], owners[order]
    distinct = np.ones(len(hashes), bool)
    distinct[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    return hashes[distinct], owners[distinct]


class NearDuplicates:
    """An index of the shingles of validation documents, to find near-duplicates among training documents."""

    def __init__(self, validation: Sequence[str]) -> None:
        hashes, owners = shingles(validation)
        self._sizes = np.bincount(owners, minlength=len(validation))
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._owners = hashes[order], owners[order]

    def find(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Return whether each text is a near-duplicate of a validation document; bool array [len(texts)]."""
        found = np.zeros(len(texts), bool)
        hashes, owners = shingles(texts)
        sizes = np.bincount(owners, minlength=len(texts))
        left = np.searchsorted(self._hashes, hashes, "left")
        matches = np.searchsorted(self._hashes, hashes, "right") - left
        hit = matches > 0
        left, matches, owners = left[hit], matches[hit], owners[hit]
        if not len(left):
            return found
        # List the validation documents of each matching shingle, then count the matches of each pair of documents.
        ends = np.cumsum(matches)
        index = np.arange(ends[-1]) - np.repeat(ends - matches, matches) + np.repeat(left, matches)
        pairs, common = np.unique(
            np.repeat(owners, matches) * len(self._sizes) + self._owners[index], return_counts=True
        )
        train, valid = np.divmod(pairs, len(self._sizes))
        found[train[common >= CONTAINMENT * np.minimum(sizes[train], self._sizes[valid])]] = True
        return found
