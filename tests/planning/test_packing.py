"""How many jobs share a GPU, and peaks by name."""

from __future__ import annotations

import pytest

from twostage.design.device_peaks import peak_tflops
from twostage.planning.packing import jobs_per_gpu

GIB = 1 << 30


@pytest.mark.parametrize(
    ("n_params", "expected"),
    [(14_751_680, 4), (44_250_720, 2), (98_000_000, 1), (1_000_000_000, 1)],
)
def test_small_models_get_company(n_params, expected):
    assert jobs_per_gpu(n_params, 4 * GIB, 80 * GIB) == expected


def test_memory_limits_the_company():
    assert jobs_per_gpu(15_000_000, 30 * GIB, 80 * GIB) == 2
    assert jobs_per_gpu(15_000_000, 50 * GIB, 80 * GIB) == 1
    # One job runs in any case; whether it fits is for the device to say.
    assert jobs_per_gpu(15_000_000, 200 * GIB, 80 * GIB) == 1


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H200", 989.0),
        ("NVIDIA GH200 480GB", 989.0),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA GeForce RTX 3060", None),
        ("NVIDIA GB200", None),
        ("x86_64 AVX512", None),
    ],
)
def test_peaks_are_known_or_absent_never_guessed(name, peak):
    assert peak_tflops(name) == peak
