"""The CPU shim, pinned to the Megatron release it was written for."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from twostage.model import megatron_cpu
from twostage.model.build import start_process_group

_FRESH_PROCESS = """
import sys
import tempfile
import torch
stock = torch.compile
from pathlib import Path
from tiny_training import run, steps, train_spec
out = run(train_spec(stop_step=1), Path(tempfile.mkdtemp()), Path(sys.argv[1]))
[line] = steps(out)
assert 5 < line["loss"] < 7 and 0 < line["grad_norm"] < 100, line
assert torch.compile is stock
print(sorted(name for name in ("torch._inductor.lowering", "triton", "transformers", "matplotlib") if name in sys.modules))
"""


def test_the_shim_is_for_the_installed_release():
    assert version("megatron-core") == "0.16.1", (
        "check every function that megatron_cpu.py replaces, then move the pin"
    )


def test_a_fresh_process_trains_without_loading_a_compiler(corpus_folder):
    done = subprocess.run(
        [sys.executable, "-c", _FRESH_PROCESS, str(corpus_folder)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_clipping_equals_torch(scale):
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (
        [torch.nn.Parameter(torch.zeros(5, 3)), torch.nn.Parameter(torch.zeros(7))] for _ in range(2)
    )
    for one, two in zip(ours, theirs, strict=True):
        one.grad = scale * torch.randn(one.shape, generator=generator)
        two.grad = one.grad.clone()
    before = [parameter.grad.clone() for parameter in ours]
    norm = torch.nn.utils.clip_grad_norm_(theirs, 1.0).item()
    megatron_cpu.clip_grad_by_total_norm(ours, 1.0, norm)
    assert all(torch.allclose(a.grad, b.grad, rtol=1e-6, atol=0) for a, b in zip(ours, theirs, strict=True))
    unchanged = all(torch.equal(a.grad, b) for a, b in zip(ours, before, strict=True))
    assert unchanged == (scale == 1e-3)


def test_clipping_leaves_parameters_without_gradient_alone():
    without, with_gradient = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    with_gradient.grad = torch.tensor([6.0, 8.0])
    megatron_cpu.clip_grad_by_total_norm([without, with_gradient], 1.0, 10.0)
    assert without.grad is None
    assert with_gradient.grad.tolist() == pytest.approx([0.6, 0.8])


def test_clipping_refuses_what_needs_cuda():
    with pytest.raises(ValueError, match="use_decoupled_grad"):
        megatron_cpu.clip_grad_by_total_norm([], 1.0, 2.0, use_decoupled_grad=True)


def test_one_process_serves_one_device():
    start_process_group("cpu")
    with pytest.raises(RuntimeError, match="runs Megatron on cpu; use another process for cuda"):
        megatron_cpu.prepare("cuda")


def test_only_cuda_is_redirected():
    megatron_cpu.prepare("cpu")
    assert torch.zeros(2, device="cuda").device.type == "cpu"
    assert torch.empty(2, device=torch.device("cuda", 0)).device.type == "cpu"
    assert torch.ones(2, device="meta").device.type == "meta"
    assert torch.tensor([1.5]).tolist() == [1.5]
