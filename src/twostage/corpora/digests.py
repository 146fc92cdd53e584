"""Memory-efficient collections of SHA-256 digests, for corpora of 10^8 documents.

`DigestSet` finds repeated documents. `Tally` counts documents and gives one digest of all of them, independent of their
order. Neither holds texts.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES = 32
#: So many new digests are collected in a Python set, then sorted into an array.
RECENT = 1 << 16
# A level is merged with the next one unless it is this many times larger. This limits both levels and copies.
_GROWTH = 4
_KEY = np.dtype("S16")


class DigestSet:
    """A set of digests that keeps the first 16 bytes of each (128 bits: 10^9 documents collide with probability 1e-21).

    Measured with 4 and 8 million documents: 18 to 21 bytes per document, 33 to 37 at the peak of a merge. A Python set of
    full digests takes 114 (`python benchmarks/dedup_memory.py`).
    """

    def __init__(self, recent: int = RECENT) -> None:
        self._limit = recent
        self._recent: set[bytes] = set()
        self._levels: list[NDArray[np.bytes_]] = []  # sorted arrays, largest first

    def __len__(self) -> int:
        return len(self._recent) + sum(len(level) for level in self._levels)

    def add(self, digest: bytes) -> bool:
        """Add a digest; return whether it is new."""
        # numpy strips trailing NULs from values, and pads with NULs when it compares, so equal keys stay equal.
        key = digest[: _KEY.itemsize]
        if key in self._recent:
            return False
        for level in self._levels:
            place = int(level.searchsorted(key))
            if place < len(level) and level[place] == key.rstrip(b"\0"):
                return False
        self._recent.add(key)
        if len(self._recent) == self._limit:
            self._settle()
        return True

    def _settle(self) -> None:
        level = np.fromiter(self._recent, _KEY, len(self._recent))
        level.sort()
        self._recent = set()
        while self._levels and len(self._levels[-1]) < _GROWTH * len(level):
            larger = self._levels.pop()
            level = np.concatenate([larger, level])
            del larger
            level.sort(kind="stable")
        self._levels.append(level)


class Tally:
    """Counts documents and bytes, with a digest of all contents that is independent of order; 32 bytes per document."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._digests = bytearray()

    def __len__(self) -> int:
        return len(self._digests) // DIGEST_BYTES

    def add(self, digest: bytes, size: int) -> None:
        """Count one document by its SHA-256 and its size in bytes."""
        self.size_bytes += size
        self._digests += digest

    def update(self, other: Tally) -> None:
        """Count all documents of another tally."""
        self.size_bytes += other.size_bytes
        self._digests += other._digests

    def to_json(self) -> dict[str, Any]:
        """Return the counts, and the SHA-256 of all digests in sorted order."""
        # In place: the order has no meaning, and a copy would double the memory.
        np.frombuffer(self._digests, dtype=f"S{DIGEST_BYTES}").sort()
        return {
            "documents": len(self),
            "bytes": self.size_bytes,
            "documents_sha256": hashlib.sha256(self._digests).hexdigest(),
        }
