"""Near-duplicates of validation documents, against a plain implementation with sets."""

from __future__ import annotations

import random

import numpy as np
from local_texts import made_up_text

from twostage.corpora.neardup import NearDuplicates, shingles


def _plain_overlap(one: str, two: str) -> float:
    def grams(text: str) -> set[tuple[str, ...]]:
        words = text.lower().split()
        return {tuple(words[start : start + 8]) for start in range(max(1, len(words) - 7))}

    return len(grams(one) & grams(two)) / min(len(grams(one)), len(grams(two)))


def test_near_duplicates_equal_a_plain_implementation_with_sets() -> None:
    draw = random.Random(4)
    valid = [made_up_text(seed, draw.randint(1, 60)) for seed in range(40)]
    train = []
    for _ in range(300):
        words = draw.choice(valid).split()
        cut = draw.randint(0, len(words))
        train.append(
            " ".join(
                [*words[:cut], *made_up_text(draw.randint(100, 10**6), draw.randint(0, 40)).split()]
            ).upper()
            or "x"
        )
    expected = [any(_plain_overlap(text, other) >= 0.5 for other in valid) for text in train]
    assert NearDuplicates(valid).find(train).tolist() == expected
    assert 50 < sum(expected) < 250  # both answers occur


def test_shingles_are_counted_like_sets() -> None:
    texts = ["a b c d e f g h i", "a b", "", "a a a a a a a a a a a a"]
    hashes, owners = shingles(texts)
    assert np.bincount(owners, minlength=4).tolist() == [2, 1, 0, 1]
    assert len(set(hashes.tolist())) == 4


def test_near_duplicates_of_nothing() -> None:
    assert NearDuplicates([]).find(["a b c"]).tolist() == [False]
    assert NearDuplicates(["a b c"]).find([]).tolist() == []
