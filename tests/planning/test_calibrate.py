"""The measured speed of this machine: real updates of the study's models."""

from __future__ import annotations

import pytest
from results_tree import make_design

from twostage.common.errors import UserError
from twostage.design.specs import segment_spec
from twostage.planning.calibrate import calibrate

DESIGN = make_design()


def specs(design):
    segments, _ = design.jobs()
    return [segment_spec(design, segment) for segment in segments]


def test_the_smallest_and_the_largest_model_are_measured():
    found = calibrate(specs(DESIGN), seconds=0.2)
    sizes = {spec.architecture.n_params for spec in specs(DESIGN)}
    assert [n_params for n_params, _ in found.points] == [min(sizes), max(sizes)]
    for spec in specs(DESIGN):
        assert found.gap(spec.architecture.n_params, "fp32") is None
        # A core makes between 1e7 and 1e12 FLOPs per second.
        assert 1e7 < found.flops_per_s(spec.architecture.n_params) < 1e12


def test_bf16_without_a_gpu_is_refused():
    design = make_design(recipe={"precision": "bf16"})
    with pytest.raises(UserError, match=r"recipe\.precision: bf16 needs CUDA"):
        calibrate(specs(design), seconds=0.2)


def test_a_model_that_does_not_fit_is_refused():
    huge = {
        "n_layer": 500,
        "d_model": 32768,
        "n_head": 128,
        "batch_size": 8,
        "warmup_steps": 50,
        "peak_lr": 1e-3,
    }
    with pytest.raises(UserError, match="GB are free"):
        calibrate(specs(make_design(models={"huge": huge})), seconds=0.2)
