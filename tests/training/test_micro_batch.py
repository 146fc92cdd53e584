"""The micro-batch that fits, by hand."""

from __future__ import annotations

import pytest

from twostage.common.architecture import Architecture
from twostage.training.micro_batch import activation_bytes, fitting_micro_batch

MODEL = Architecture(n_layer=2, d_model=10, n_head=2, head_dim=4, d_mlp=40, vocab_size=100, context=8)
PER_SAMPLE = 8 * (2 * 4 * (10 + 8 + 40) * 2 + 100 * 10)
STATE = 18 * (2 * (4 * 10 * 8 + 3 * 10 * 40 + 20) + 10 + 2000)


def test_bytes_of_one_sample():
    assert activation_bytes(MODEL) == PER_SAMPLE == 15_424
    assert activation_bytes(MODEL, value_bytes=4) == 8 * (2 * 4 * 58 * 4 + 100 * 12)


@pytest.mark.parametrize(
    ("samples_that_fit", "share", "micro_batch"),
    [(100, 24, 24), (24, 24, 24), (23, 24, 12), (7, 24, 6), (1, 24, 1), (0, 24, 1), (5, 7, 1), (9, 1, 1)],
)
def test_the_largest_divisor_that_fits_is_taken(samples_that_fit, share, micro_batch):
    free = (STATE + (samples_that_fit + 0.5) * PER_SAMPLE) / 0.8
    assert fitting_micro_batch(MODEL, share, int(free)) == micro_batch


def test_a_paper_model_on_an_80_gb_gpu():
    """1B, context 1024, vocabulary 32,000: about 1 GB per sample and 20 GB of state."""
    model = Architecture(
        n_layer=30, d_model=1504, n_head=16, head_dim=94, d_mlp=6016, vocab_size=32000, context=1024
    )
    assert activation_bytes(model) == pytest.approx(2.55e9, rel=0.02)
    assert fitting_micro_batch(model, 1024, 80_000_000_000) == 16
