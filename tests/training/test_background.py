"""Writes in the background: one at a time, none lost, errors raised in the training thread."""

from __future__ import annotations

import threading

import pytest

from twostage.training.background import BackgroundWriter


def test_training_goes_on_during_a_write_and_waits_before_the_next():
    release, order = threading.Event(), []

    def slow():
        release.wait(timeout=60)
        order.append("first")

    with BackgroundWriter() as writer:
        writer.submit(slow)
        order.append("training")
        threading.Timer(0.2, release.set).start()
        writer.submit(lambda: order.append("second"))
        assert order[:2] == ["training", "first"]
        writer.wait()
        assert order == ["training", "first", "second"]


def test_the_block_ends_with_the_last_write():
    release, done = threading.Event(), []
    with BackgroundWriter() as writer:
        writer.submit(lambda: (release.wait(timeout=60), done.append(True)))
        release.set()
    assert done


@pytest.mark.parametrize("raised_by", ["wait", "submit", "exit"])
def test_a_failed_write_stops_training(raised_by):
    def fail():
        raise OSError(28, "No space left on device")

    def train():
        with BackgroundWriter() as writer:
            writer.submit(fail)
            if raised_by == "wait":
                writer.wait()
            elif raised_by == "submit":
                writer.submit(lambda: pytest.fail("a later write began"))

    with pytest.raises(OSError, match="No space left"):
        train()


def test_an_error_of_training_is_the_one_reported_and_the_write_still_ends():
    done = []

    def train():
        with BackgroundWriter() as writer:
            writer.submit(lambda: done.append(True))
            raise ValueError("diverged")

    with pytest.raises(ValueError, match="diverged"):
        train()
    assert done


def test_a_reported_error_is_not_reported_twice():
    writer = BackgroundWriter()
    writer.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        writer.wait()
    writer.wait()
