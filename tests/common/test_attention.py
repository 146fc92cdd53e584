"""The choice of an attention backend: each reason against a backend, and the explanation that `auto` gives."""

from __future__ import annotations

import subprocess
import sys

import pytest

from twostage.common.attention import SPEED_ORDER, candidates, choose, padded_head_dim, resolve
from twostage.common.errors import UserError

ALL = frozenset({"sdpa", "flash", "te"})


@pytest.mark.parametrize(
    ("head_dim", "available", "backend"),
    [
        (80, ALL, "te"),
        (80, {"sdpa", "flash"}, "flash"),
        (80, {"sdpa", "te"}, "te"),
        (80, {"sdpa"}, "sdpa"),
        (60, ALL, "flash"),  # the paper's 44M
        (70, ALL, "flash"),  # 0.5B
        (94, ALL, "flash"),  # 1B
        (94, {"sdpa", "te"}, "sdpa"),
        (256, ALL, "te"),
        (264, ALL, "sdpa"),
    ],
)
def test_auto_takes_the_first_that_fits(head_dim, available, backend):
    assert resolve("auto", head_dim, "cuda", available).backend == backend


def test_auto_explains_every_backend_it_passes_over():
    choice = resolve("auto", 94, "cuda", {"sdpa", "te"})
    assert choice.backend == "sdpa"
    for words in (
        "not te: head_dim 94 is not a multiple of 8",
        "not flash: flash-attn is not usable",
        "padded to 96",
    ):
        assert words in choice.reason
    # The first backend of the order needs no explanation.
    assert "not " not in resolve("auto", 80, "cuda", ALL).reason


@pytest.mark.parametrize("backend", ["flash", "te"])
@pytest.mark.parametrize(("device", "precision"), [("cpu", "bf16"), ("cuda", "fp32")])
def test_gpu_kernels_are_not_for_the_cpu_nor_for_fp32(backend, device, precision):
    assert resolve("auto", 80, device, ALL, precision=precision).backend == "sdpa"
    with pytest.raises(UserError, match=f"{backend}.*use 'sdpa'"):
        resolve(backend, 80, device, ALL, precision=precision)


@pytest.mark.parametrize(
    ("requested", "head_dim", "available", "words"),
    [
        ("te", 60, ALL, "head_dim 60 is not a multiple of 8"),
        ("te", 80, {"sdpa"}, "transformer-engine is not usable"),
        ("flash", 80, {"sdpa"}, "flash-attn is not usable"),
        ("flash", 264, ALL, "above 256"),
        ("sdpa", 80, set(), "PyTorch is not importable"),
        ("xformers", 80, ALL, "is unknown"),
    ],
)
def test_an_impossible_request_is_refused(requested, head_dim, available, words):
    with pytest.raises(UserError, match=words):
        resolve(requested, head_dim, "cuda", available)


def test_a_possible_request_is_granted_even_where_auto_would_choose_otherwise():
    for backend in SPEED_ORDER:
        assert resolve(backend, 80, "cuda", ALL).backend == backend
    assert "60 padded to 64" in resolve("flash", 60, "cuda", ALL).reason


def test_nothing_usable_is_an_error():
    with pytest.raises(UserError, match="no attention backend"):
        resolve("auto", 80, "cpu", set())


def test_padding_goes_to_the_next_multiple_of_eight():
    assert [padded_head_dim(d) for d in (60, 64, 70, 94)] == [64, 64, 72, 96]


def test_the_module_needs_no_torch():
    code = "import sys, twostage.common.attention, twostage.doctor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# One backend for a study


@pytest.mark.parametrize(
    ("requested", "head_dims", "expected"),
    [
        ("sdpa", (80, 60), ("sdpa",)),
        ("te", (80,), ("te",)),
        ("auto", (80, 64), ("te", "flash", "sdpa")),
        ("auto", (80, 60, 70, 94), ("flash", "sdpa")),  # the paper's models
        ("auto", (80, 264), ("sdpa",)),
    ],
)
def test_a_backend_that_fails_one_model_of_a_study_serves_none(requested, head_dims, expected):
    assert candidates(requested, head_dims) == expected


def test_all_models_of_an_auto_study_get_the_same_backend_on_one_machine():
    allowed = candidates("auto", (80, 60))
    for available, backend in ((ALL, "flash"), ({"sdpa", "te"}, "sdpa")):
        found = {choose(allowed, dim, "cuda", available, "bf16").backend for dim in (80, 60)}
        assert found == {backend}
    assert "not flash: flash-attn is not usable" in choose(allowed, 80, "cuda", {"sdpa"}, "bf16").reason


def test_a_job_on_a_cpu_uses_pytorchs_and_explains_why():
    choice = choose(candidates("auto", (80,)), 80, "cpu", ALL, "fp32")
    assert choice.backend == "sdpa"
    assert "it needs CUDA" in choice.reason
    with pytest.raises(UserError, match=r"'te'.*it needs CUDA"):
        choose(("te",), 80, "cpu", ALL, "fp32")
    with pytest.raises(UserError, match="no attention backend"):
        choose(("te", "flash"), 80, "cpu", ALL, "fp32")


def test_what_is_installed_is_found_without_importing_it():
    code = "import sys; from twostage.common import attention; print(sorted(attention.installed()), 'torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.startswith("['")
    assert "'sdpa'" in found
    assert found.strip().endswith("False")
