"""Learning rates: exact at both ends, and equal to those of Megatron's WSD scheduler in between."""

from __future__ import annotations

import pytest
import torch

from twostage.design.schedule import Schedule
from twostage.model import megatron_cpu

# Table 5's smallest model with a short grid: 50 warmup steps, 400 trunk steps, 40 decay steps.
TRUNK = Schedule(peak_lr=8e-3, warmup_steps=50)
BRANCH = Schedule(peak_lr=8e-3, warmup_steps=50, decay_start=400, total_steps=440)


def test_first_step_end_of_warmup_last_stable_and_last_step_are_exact():
    assert BRANCH.rate(1) == 8e-3 / 50
    assert BRANCH.rate(49) == 8e-3 * 49 / 50
    assert BRANCH.rate(50) == 8e-3
    assert BRANCH.rate(51) == 8e-3
    assert BRANCH.rate(400) == 8e-3
    assert BRANCH.rate(401) < 8e-3
    assert BRANCH.rate(440) == 0.1 * 8e-3


@pytest.mark.parametrize("peak", [8e-3, 3e-4, 0.1, 1 / 3])
@pytest.mark.parametrize("final", [0.1, 0.0, 0.25])
def test_last_step_is_exact_for_any_peak(peak, final):
    schedule = Schedule(peak_lr=peak, warmup_steps=0, decay_start=70, total_steps=77, final_fraction=final)
    assert schedule.rate(1) == peak
    assert schedule.rate(77) == final * peak


def test_a_trunk_and_its_branch_agree_up_to_the_decay():
    assert [TRUNK.rate(step) for step in range(1, 401)] == [BRANCH.rate(step) for step in range(1, 401)]
    assert TRUNK.rate(1_000_000) == TRUNK.peak_lr


def test_every_rate_equals_megatrons_wsd_scheduler():
    megatron_cpu.prepare("cpu")
    from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

    parameter = torch.nn.Parameter(torch.zeros(1))
    theirs = OptimizerParamScheduler(
        torch.optim.SGD([parameter], lr=1.0),
        init_lr=0.0,
        max_lr=8e-3,
        min_lr=8e-4,
        lr_warmup_steps=50,
        lr_decay_steps=440,
        lr_decay_style="WSD",
        wsd_decay_steps=40,
        lr_wsd_decay_style="linear",
        start_wd=0.1,
        end_wd=0.1,
        wd_incr_steps=440,
        wd_incr_style="constant",
    )
    for step in range(1, 441):
        theirs.num_steps = step
        assert BRANCH.rate(step) == pytest.approx(theirs.get_lr({}), rel=1e-12), step


def test_steps_outside_the_run_are_refused():
    with pytest.raises(ValueError, match="step: 0 must be at least 1"):
        TRUNK.rate(0)
    with pytest.raises(ValueError, match="step: 441 is after the end of the schedule, 440"):
        BRANCH.rate(441)


def test_a_cosine_is_exact_at_both_ends_and_halfway():
    cosine = Schedule(kind="cosine", peak_lr=5e-3, warmup_steps=4, total_steps=12)
    assert [cosine.rate(step) for step in (1, 4, 12)] == [5e-3 / 4, 5e-3, 5e-4]
    assert cosine.rate(8) == pytest.approx((5e-3 + 5e-4) / 2, rel=1e-12)
    assert all(cosine.rate(step) > cosine.rate(step + 1) for step in range(4, 12))


def test_without_a_warmup_every_kind_starts_at_the_peak():
    for kind, total in (("wsd", None), ("constant", None), ("cosine", 12)):
        assert Schedule(kind=kind, peak_lr=5e-3, warmup_steps=0, total_steps=total).rate(1) == 5e-3


def test_a_constant_rate_does_not_change():
    constant = Schedule(kind="constant", peak_lr=5e-3, warmup_steps=4)
    assert [constant.rate(step) for step in (2, 4, 5, 10_000)] == [2.5e-3, 5e-3, 5e-3, 5e-3]
