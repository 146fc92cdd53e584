"""Batches read ahead: the same ones, in order; errors and early ends come through."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from twostage.corpora.samples import SampleStream, TokenSplit
from twostage.training import prefetch


def work_threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.fixture
def read(corpus_folder):
    stream = SampleStream([TokenSplit(corpus_folder, "train")], [1], seed=3, context=16)
    return lambda step: stream.batch((step - 1) * 8, 8)


def test_batches_are_the_same_read_ahead_or_not(read):
    plain = list(prefetch.batches(read, 5, 30, "cpu", ahead=False))
    ahead = list(prefetch.batches(read, 5, 30, "cpu", ahead=True))
    assert len(plain) == len(ahead) == 26
    assert all(torch.equal(left, right) for left, right in zip(plain, ahead, strict=True))
    assert np.array_equal(plain[0], read(5))
    assert not torch.equal(plain[0], plain[1])


def test_reading_runs_ahead_but_not_far():
    asked, seen = [], threading.Event()

    def read(step):
        asked.append(step)
        if step == 1 + prefetch.DEPTH:
            seen.set()
        return np.full((1, 2), step)

    batches = prefetch.batches(read, 1, 100, "cpu", ahead=True)
    assert next(batches)[0, 0] == 1
    assert seen.wait(timeout=60)  # read before it was asked for
    for expected in range(2, 40):
        assert next(batches)[0, 0] == expected
        # In use, waiting, and one in the reader's hand.
        assert len(asked) <= expected + prefetch.DEPTH + 1
    batches.close()
    assert not work_threads()
    assert len(asked) < 60


def test_an_error_comes_at_the_update_it_belongs_to():
    def read(step):
        if step == 4:
            raise ValueError("token id 999 is beyond the vocabulary")
        return np.full((1, 2), step)

    for ahead in (False, True):
        batches = prefetch.batches(read, 1, 9, "cpu", ahead=ahead)
        assert [int(next(batches)[0, 0]) for _ in range(3)] == [1, 2, 3]
        with pytest.raises(ValueError, match="beyond the vocabulary"):
            next(batches)
    assert not work_threads()


def test_nothing_to_read_is_no_batch(read):
    for ahead in (False, True):
        assert list(prefetch.batches(read, 5, 4, "cpu", ahead=ahead)) == []
