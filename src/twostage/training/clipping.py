"""One optimizer step that never waits for the GPU: the gradient's norm is computed, used and kept on the device.

Megatron's own `step` reads the norm on the host, which drains the GPU's queue at every update. The steps are the same
(prepare, norm, clip, update); the norm differs in the last bits, so a CPU run keeps Megatron's.
"""

from __future__ import annotations

from typing import Any

import torch


@torch.no_grad()
def step_on_device(optimizer: Any, max_norm: float) -> torch.Tensor:
    """Clip the gradients to `max_norm`, update the weights; return the norm before clipping, a 0-dimensional tensor.

    Args:
        optimizer: Megatron's, with gradients in place; no loss scale (bf16 and fp32 need none).
        max_norm: in the units of the gradient; positive.
    """
    optimizer.prepare_grads()
    grads = [grad for part in optimizer.chained_optimizers for grad in part.get_main_grads_for_grad_norm()]
    norm = _norm(grads, optimizer.get_grad_stats_parallel_group())
    # Megatron's clip_grad_by_total_norm_fp32, with its epsilon.
    torch._foreach_mul_(grads, (max_norm / (norm + 1.0e-6)).clamp(max=1.0))
    optimizer.step_with_ready_grads()
    return norm


def _norm(grads: list[torch.Tensor], group: Any) -> torch.Tensor:
    """Return the Euclidean norm of gradients of which each rank of `group` has its own share."""
    total = torch.stack(torch._foreach_norm(grads)).square().sum()
    if torch.distributed.get_world_size(group) > 1:
        torch.distributed.all_reduce(total, group=group)
    return total.sqrt()
