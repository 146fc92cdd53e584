"""Near-duplicates of validation documents, found by their shared word 8-grams ("shingles").

Two documents count as near-duplicates if the shorter one's shingles are contained in the other to at least half.
Exact set overlap, no sampling: deterministic, and strict enough to also catch a short document quoted in a long one.
Exact duplicates are dropped before (`corpus.py`).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SHINGLE_WORDS = 8
#: Share of the smaller document's distinct shingles that the pair has in common (our choice).
CONTAINMENT = 0.5

# Bounds of the memory for hashes of words: some 50 MB.
_REMEMBERED_WORDS = 1 << 18
_REMEMBERED_LENGTH = 64

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class _WordHashes(dict[str, int]):
    """64 bits per word, remembered: few distinct words make up most of a text.

    Two CRCs, of a word's bytes and of its reversed bytes; fast and the same on every machine.
    """

    def __missing__(self, word: str) -> int:
        encoded = word.encode("utf-8", "surrogatepass")
        value = zlib.crc32(encoded) << 32 | zlib.crc32(encoded[::-1])
        if len(word) <= _REMEMBERED_LENGTH:
            if len(self) == _REMEMBERED_WORDS:
                self.clear()
            self[word] = value
        return value


_word_hashes = _WordHashes()


def shingles(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return (hash, document index) of every distinct shingle of every text, sorted by document, then hash.

    Words are runs of non-blank characters, lower-cased. A text of fewer than `SHINGLE_WORDS` words has one shingle:
    all of its words. 64-bit hashes of 8 words: a false match has probability ~1e-19 per pair.
    """
    split = [text.lower().split() for text in texts]
    counts = np.array([len(words) for words in split], dtype=np.int64)
    flat = [word for words in split for word in words]
    words = _mix(np.fromiter(map(_word_hashes.__getitem__, flat), np.uint64, len(flat)))
    owner = np.repeat(np.arange(len(texts)), counts)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]]) if len(texts) else np.empty(0, np.int64)
    place = np.arange(len(flat)) - np.repeat(first, counts)
    # A shingle starts at each word that has 7 more behind it in its document; a short document has one start.
    starts = np.flatnonzero((place == 0) | (place + SHINGLE_WORDS <= counts[owner]))
    # Only short documents end inside of their shingle; zeros stand for the words that they lack.
    short = np.flatnonzero(counts[owner[starts]] < SHINGLE_WORDS)
    lengths = counts[owner[starts[short]]]
    words = np.concatenate([words, np.zeros(SHINGLE_WORDS, np.uint64)])
    hashes = np.zeros(len(starts), np.uint64)
    for step in range(SHINGLE_WORDS):
        word = words[starts + step]
        word[short[lengths <= step]] = 0
        hashes = _mix(hashes * _MULTIPLIER + word)
    owners = owner[starts].astype(np.int64)
    order = np.lexsort((hashes, owners))
    hashes, owners = hashes[order], owners[order]
    distinct = np.ones(len(hashes), bool)
    distinct[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    return hashes[distinct], owners[distinct]


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class NearDuplicates:
    """An index of validation documents, asked about batches of training documents."""

    def __init__(self, validation: Sequence[str]) -> None:
        hashes, owners = shingles(validation)
        self._sizes = np.bincount(owners, minlength=len(validation))
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._owners = hashes[order], owners[order]

    def find(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Return, per text, whether it is a near-duplicate of a validation document; bool array [len(texts)]."""
        found = np.zeros(len(texts), bool)
        hashes, owners = shingles(texts)
        sizes = np.bincount(owners, minlength=len(texts))
        left = np.searchsorted(self._hashes, hashes, "left")
        matches = np.searchsorted(self._hashes, hashes, "right") - left
        hit = matches > 0
        left, matches, owners = left[hit], matches[hit], owners[hit]
        if not len(left):
            return found
        # Expand each shingle to the validation documents that have it, then count shingles per pair of documents.
        ends = np.cumsum(matches)
        index = np.arange(ends[-1]) - np.repeat(ends - matches, matches) + np.repeat(left, matches)
        pairs, common = np.unique(
            np.repeat(owners, matches) * len(self._sizes) + self._owners[index], return_counts=True
        )
        train, valid = np.divmod(pairs, len(self._sizes))
        found[train[common >= CONTAINMENT * np.minimum(sizes[train], self._sizes[valid])]] = True
        return found
