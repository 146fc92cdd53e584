"""Measured speed by model size, read from a benchmark file. The numbers here are made up, not measured."""

from __future__ import annotations

import pytest
from made_up_speeds import size, write_speeds
from tiny_training import TINY

from twostage.cluster.site import Site
from twostage.common.errors import UserError
from twostage.design.flops import flops_per_token
from twostage.planning.throughput import load_site_throughput, load_throughput

SIZES = [size(100, 4e6), size(10, 1e6), {"size": "1B", "failed": "out of memory"}]


def write(folder, **changes):
    return write_speeds(folder / "gpu.json", **{"sizes": SIZES} | changes)


def test_speed_between_the_measured_sizes(tmp_path):
    found = load_throughput(write(tmp_path))
    assert found.device == "made-up GPU"
    assert found.flops_per_s(10) == pytest.approx(1e6)
    assert found.flops_per_s(100) == pytest.approx(4e6)
    assert found.flops_per_s(31.622776601683793) == pytest.approx(2e6)  # halfway in both logarithms
    assert [found.gap(n_params, "bf16") for n_params in (10, 50, 100)] == [None] * 3


@pytest.mark.parametrize("n_params", [9, 101])
def test_there_is_no_speed_outside_the_measured_sizes(n_params, tmp_path):
    found = load_throughput(write(tmp_path))
    assert found.gap(n_params, "bf16") == f"{n_params} parameters are outside the measured 10 to 100"
    with pytest.raises(ValueError, match=r"n_params: .* outside the measured 10 to 100"):
        found.flops_per_s(n_params)


def test_there_is_no_speed_in_another_precision(tmp_path):
    assert (
        load_throughput(write(tmp_path)).gap(10, "fp32") == "measured in bf16, but the study trains in fp32"
    )


def test_tokens_per_second_follow_from_the_models_own_flops(tmp_path):
    sizes = [size(TINY.n_params // 2, 1e6), size(TINY.n_params * 2, 4e6)]
    found = load_throughput(write(tmp_path, sizes=sizes))
    assert found.tokens_per_s(TINY) == pytest.approx(2e6 / flops_per_token(TINY))


def test_a_site_reads_the_file_of_its_own_gpu_only(tmp_path):
    path = write(tmp_path)
    assert load_site_throughput(Site()) is None
    found = load_site_throughput(Site(throughput=str(path), gpu_tflops=10.0))
    assert found == load_throughput(path)
    with pytest.raises(
        UserError,
        match=r"site\.throughput: .*gpu\.json was measured on a made-up GPU \(peak 10 .*gpu_tflops is 989",
    ):
        load_site_throughput(Site(throughput=str(path)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dry_run": True}, "is from a dry run on a CPU and has no GPU speeds"),
        ({"schema": 2}, "of schema 1"),
        ({"kind": "other"}, "not a twostage-gpu-benchmark file"),
        ({"sizes": []}, "no size was measured"),
        ({"machine": {"device": "made-up GPU"}}, "key 'peak_tflops' is missing"),
    ],
)
def test_files_without_a_measurement_are_refused(changes, words, tmp_path):
    with pytest.raises(UserError, match=f"{words}.*benchmarks/gpu/run.py"):
        load_throughput(write(tmp_path, **changes))


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.json: not a readable benchmark file"):
        load_throughput(tmp_path / "none.json")
    (tmp_path / "half.json").write_text("{")
    with pytest.raises(UserError, match=r"half\.json: not a readable"):
        load_throughput(tmp_path / "half.json")
