"""Megatron's GPU-only optimizer classes on a CPU, for tests.

Float16Optimizer and DistributedOptimizer require that a tensor's `type()` begins with `torch.cuda.`; nothing else
in them requires a GPU. Within `on_cpu()` CPU tensors return such a name. Megatron's own code then runs on bf16 and fp32
tensors. Rounding of GPU kernels, streams and nccl are tested in `tests/gpu/`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

_stock = torch.Tensor.type


def _named_as_on_cuda(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    name = _stock(tensor, *args, **kwargs)
    return name.replace("torch.", "torch.cuda.", 1) if isinstance(name, str) else name


@contextmanager
def on_cpu() -> Iterator[None]:
    """Let Megatron build and run its mixed-precision optimizers on CPU tensors."""
    with mock.patch.object(torch.Tensor, "type", _named_as_on_cuda):
        yield
