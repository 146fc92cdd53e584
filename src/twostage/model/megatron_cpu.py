"""Patches that make megatron-core 0.16.1 train on a CPU. They are not applied if the chosen device is CUDA.

Import Megatron only after `prepare(device)`. The patches depend on the *chosen* device, not on whether CUDA is available.
`tests/training/test_megatron_cpu.py` fails for other versions of megatron-core.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch

_prepared: str | None = None


def prepare(device: str) -> None:
    """Prepare Megatron for `device` ("cpu" or "cuda"). A process can use only one device.

    Raises:
        RuntimeError: the process is already prepared for the other device.
    """
    global _prepared
    if _prepared == device:
        return
    if _prepared is not None:
        raise RuntimeError(f"this process runs Megatron on {_prepared}; use another process for {device}")
    warnings.filterwarnings("ignore", module="megatron")
    if device == "cpu":
        _import_without_compiler()
        _redirect_cuda()
    _prepared = device


def _import_without_compiler() -> None:
    """Import Megatron with `torch.compile` replaced by a decorator that does nothing.

    Megatron compiles its fused kernels at import time. This loads TorchInductor, which takes about 1.5 CPU-seconds, for kernels
    that are not used on a CPU.
    """
    stock = torch.compile

    def identity(model: Callable[..., Any] | None = None, **_: Any) -> Any:
        return model if model is not None else (lambda function: function)

    torch.compile = identity
    try:
        import megatron.core
        import megatron.core.models.gpt  # noqa: F401
    finally:
        torch.compile = stock


def _redirect_cuda() -> None:
    cpu = torch.device("cpu")
    torch.cuda.current_device = lambda: cpu  # type: ignore[assignment,return-value]
    torch.cuda.synchronize = lambda device=None: None
    # `with torch.device(...)` makes a set of torch's functions at its first use. This must happen before they are replaced;
    # otherwise transformers would load models with wrong rotary frequencies.
    with cpu:
        torch.empty(0)
    for name in ("zeros", "ones", "tensor", "empty"):
        setattr(torch, name, _on_cpu(getattr(torch, name)))

    from megatron.core.optimizer import clip_grads, optimizer

    for module in (clip_grads, optimizer):
        module.clip_grad_by_total_norm_fp32 = clip_grad_by_total_norm


def _on_cpu(create: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    @functools.wraps(create)
    def wrapper(*args: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
        if device is not None and str(device).startswith("cuda"):
            device = "cpu"
        return create(*args, device=device, **kwargs)

    return wrapper


def clip_grad_by_total_norm(
    parameters: list[torch.nn.Parameter], max_norm: float, total_norm: float, use_decoupled_grad: bool = False
) -> None:
    """Scale gradients in place by min(1, max_norm / (total_norm + 1e-6)).

    Replaces Megatron's `clip_grad_by_total_norm_fp32`, which requires CUDA tensors.
    """
    if use_decoupled_grad:
        raise ValueError(
            "use_decoupled_grad: the precision-aware optimizer runs on CUDA only; set it to False"
        )
    scale = max_norm / (total_norm + 1.0e-6)
    if scale < 1.0:
        torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], scale)
