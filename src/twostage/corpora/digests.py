"""Sets and tallies of SHA-256 digests in little memory, for corpora of 10^8 documents.

`DigestSet` finds repeated documents, `Tally` vouches for a split's content whatever its order. Neither holds texts.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES = 32
#: New digests are held in a Python set up to this number, then sorted into an array.
RECENT = 1 << 16
# A level that is not this many times larger than the next is merged with it: few levels, few copies.
_GROWTH = 4
_KEY = np.dtype("S16")


class DigestSet:
    """A set of digests that keeps the first 16 bytes of each (128 bits: 10^9 documents collide with probability 1e-21).

    Measured with 4 and 8 million: 18 to 21 bytes per document, 33 to 37 at the peak of a merge; a Python set of whole
    digests takes 114 (`python benchmarks/dedup_memory.py`).
    """

    def __init__(self, recent: int = RECENT) -> None:
        self._limit = recent
        self._recent: set[bytes] = set()
        self._levels: list[NDArray[np.bytes_]] = []  # sorted arrays, largest first

    def __len__(self) -> int:
        return len(self._recent) + sum(len(level) for level in self._levels)

    def add(self, digest: bytes) -> bool:
        """Add a digest; return whether it is new."""
        # numpy strips NULs at the end of a value and pads with them when it compares: equal keys stay equal.
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
    """Counts documents and bytes, and digests what they hold, whatever their order; 32 bytes per document."""

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
        # In place: their order means nothing, and a copy would double the memory.
        np.frombuffer(self._digests, dtype=f"S{DIGEST_BYTES}").sort()
        return {
            "documents": len(self),
            "bytes": self.size_bytes,
            "documents_sha256": hashlib.sha256(self._digests).hexdigest(),
        }
