"""GPUs, minutes and memory of jobs, against hand calculations."""

from __future__ import annotations

import pytest

from twostage.cluster.site import Site
from twostage.common.architecture import Architecture
from twostage.planning.walltime import (
    convert_mb,
    gpus_for,
    nodes_for,
    plan_training,
    prepare_mb,
    prepare_min,
    runtime_min,
    tokenize_min,
)

MODEL = Architecture(n_layer=8, d_model=512, n_head=8, head_dim=64, d_mlp=2048, vocab_size=1000, context=1024)
# Forward, per layer: 2*4*512*512 + 2*3*512*2048 + 2*512*1025 = 9,438,208; head: 2*1000*512; a backward pass costs twice.
FLOPS_PER_TOKEN = 3 * (8 * 9_438_208 + 1_024_000)
#: Each GPU reaches 1e12 FLOP/s.
SITE = Site(gpu_tflops=1, assumed_mfu=1, target_job_h=1, max_gpus_per_job=64, gpus_per_node=8, grace_s=300)


@pytest.mark.parametrize(
    ("hours_on_one", "batch_size", "gpus"),
    [(0.9, 512, 1), (1.1, 512, 2), (2.0, 512, 2), (3.0, 512, 4), (8.1, 512, 16), (1000, 512, 64), (1000, 12, 4), (1000, 7, 1)],
)  # fmt: skip
def test_gpus_are_the_fewest_that_meet_the_target_and_divide_the_batch(hours_on_one, batch_size, gpus):
    assert gpus_for(hours_on_one * 3600e12, batch_size, SITE) == gpus


@pytest.mark.parametrize(("per_node", "gpus"), [(4, 16), (6, 4), (3, 2)])
def test_jobs_larger_than_one_node_use_complete_nodes(per_node, gpus):
    site = SITE.model_copy(update={"gpus_per_node": per_node, "max_gpus_per_job": 16})
    assert gpus_for(1e30, 512, site) == gpus
    assert gpus % per_node == 0 or gpus < per_node
    assert nodes_for(gpus, site) * per_node >= gpus


def test_hours_come_from_the_assumed_speed_until_one_was_measured():
    tokens = 10**9
    assumed = plan_training(MODEL, tokens, 512, SITE)
    assert assumed.flops == FLOPS_PER_TOKEN * 1e9  # 2.3e17, 64 hours on one GPU
    assert assumed.gpus == 64
    assert assumed.hours == pytest.approx(assumed.flops / 64e12 / 3600)
    assert assumed.gpu_hours == pytest.approx(assumed.flops / 1e12 / 3600)
    measured = plan_training(MODEL, tokens, 512, SITE, tokens_per_s=50_000)
    assert measured.hours == pytest.approx(10**9 / 50_000 / 3600)
    assert measured.gpus == assumed.gpus  # another number of ranks would round differently


def test_the_speed_of_the_run_is_used_before_a_benchmark_and_the_assumed_speed_last():
    tokens = 10**9
    by_benchmark = plan_training(MODEL, tokens, 512, SITE, tokens_per_s_of_one=2_000)
    assert by_benchmark.gpus == plan_training(MODEL, tokens, 512, SITE).gpus == 64
    assert by_benchmark.hours == pytest.approx(10**9 / (64 * 2_000) / 3600)
    both = plan_training(MODEL, tokens, 512, SITE, tokens_per_s=50_000, tokens_per_s_of_one=2_000)
    assert both.hours == pytest.approx(10**9 / 50_000 / 3600)


def test_runtime_grows_with_the_attempt_up_to_the_sites_limit():
    site = Site(grace_s=300, max_walltime_min=240)
    assert runtime_min(1.0, 1, site) == 15 + 5 + 90
    assert runtime_min(1.0, 2, site) == 2 * 110
    assert runtime_min(1.0, 3, site) == 240
    assert runtime_min(1000.0, 1, site) == 240


def test_data_jobs_request_what_their_corpus_needs():
    # The paper's generic corpus: 16 GB and most of a day, as measured in docs/data.md.
    assert prepare_mb(330 * 10**9) == 2000 + 13_860
    assert prepare_min(330 * 10**9) == 15 + 1375
    assert tokenize_min(330 * 10**9, workers=8) == 15 + 344
    assert prepare_mb(8_000_000) == 2000
    assert prepare_min(8_000_000) == tokenize_min(8_000_000, workers=1) == 16
    assert prepare_mb(None) == prepare_mb(50 * 10**9)


def test_conversions_need_three_times_the_memory_of_their_output():
    assert convert_mb(27 * 10**9) == 2000 + 81_000
