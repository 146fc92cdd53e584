"""Digest sets and tallies against plain Python ones, with digests that numpy's padding could confuse."""

from __future__ import annotations

import hashlib
import random

import pytest

from twostage.corpora.digests import DigestSet, Tally


def _digest(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "big")).digest()


@pytest.mark.parametrize("recent", [1, 3, 64, 10_000])
def test_a_set_says_what_a_plain_set_says(recent: int) -> None:
    draw = random.Random(recent)
    ours, plain = DigestSet(recent), set()
    for _ in range(5000):
        digest = _digest(draw.randrange(3000))
        assert ours.add(digest) == (digest not in plain)
        plain.add(digest)
        assert len(ours) == len(plain)
    assert 2000 < len(plain) < 3000


@pytest.mark.parametrize("recent", [1, 2, 100])
def test_zeros_at_the_end_of_a_digest_are_kept(recent: int) -> None:
    digests = [b"a" * kept + b"\0" * (32 - kept) for kept in range(17)]
    digests += [b"a" * kept + b"\0" * (15 - kept) + b"b" + b"\0" * 16 for kept in range(15)]
    random.Random(0).shuffle(digests)
    ours = DigestSet(recent)
    assert [ours.add(digest) for digest in digests] == [True] * len(digests)
    assert [ours.add(digest) for digest in digests] == [False] * len(digests)


def test_a_tally_digests_the_sorted_digests_whatever_their_order() -> None:
    digests = [_digest(number) for number in range(1000)] + [b"a" * 31 + b"\0", b"\0" * 32, b"\0" * 31 + b"a"]
    expected = hashlib.sha256(b"".join(sorted(digests))).hexdigest()
    for order in (digests, digests[::-1]):
        parts = Tally(), Tally()
        for place, digest in enumerate(order):
            parts[place % 2].add(digest, place)
        parts[0].update(parts[1])
        assert parts[0].to_json() == {
            "documents": 1003,
            "bytes": 1003 * 1002 // 2,
            "documents_sha256": expected,
        }
        parts[0].add(b"b" * 32, 1)  # it can go on after a report
        assert len(parts[0]) == 1004


def test_an_empty_tally() -> None:
    assert Tally().to_json()["documents_sha256"] == hashlib.sha256(b"").hexdigest()
