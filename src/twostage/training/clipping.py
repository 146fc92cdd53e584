"""An optimizer step that does not wait for the GPU: the gradient norm is computed and used on the device.

Megatron's `step` reads the norm on the host, so it waits for the GPU at every update. This function takes the same steps
(prepare, norm, clip, update). Its norm can differ in the last bits, so CPU runs use Megatron's `step`.
"""

from __future__ import annotations

from typing import Any

import torch


@torch.no_grad()
def step_on_device(optimizer: Any, max_norm: float) -> torch.Tensor:
    """Clip the gradients to `max_norm` and update the weights; return the norm before clipping, a 0-dimensional tensor.

    Args:
        optimizer: Megatron's optimizer after the backward pass, without loss scaling (bf16 and fp32 need none).
        max_norm: largest gradient norm; positive.
    """
    optimizer.prepare_grads()
    grads = [grad for part in optimizer.chained_optimizers for grad in part.get_main_grads_for_grad_norm()]
    norm = _norm(grads, optimizer.get_grad_stats_parallel_group())
    # As in Megatron's clip_grad_by_total_norm_fp32, with the same epsilon.
    torch._foreach_mul_(grads, (max_norm / (norm + 1.0e-6)).clamp(max=1.0))
    optimizer.step_with_ready_grads()
    return norm


def _norm(grads: list[torch.Tensor], group: Any) -> torch.Tensor:
    """Return the Euclidean norm of gradients that are divided among the ranks of `group`."""
    total = torch.stack(torch._foreach_norm(grads)).square().sum()
    if torch.distributed.get_world_size(group) > 1:
        torch.distributed.all_reduce(total, group=group)
    return total.sqrt()
