"""Model, optimizer and one update, on Megatron-core (model, DDP, optimizer, pipeline schedule), the same on CPU and GPU.

Knows nothing of files, of where a run begins or of when it ends: `train.py` is the job, `training_loop.py` repeats the
update. What an update computes follows from the `TrainSpec`; an `Execution` changes its rounding and speed only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from twostage import provenance
from twostage.errors import UserError
from twostage.model import build_model
from twostage.specs import TrainSpec


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a job runs; affects rounding and speed only."""

    device: str = "cpu"
    threads: int = 1
    micro_batch: int | None = None  # samples per forward pass; None: the whole batch
    save_every_s: float = 600.0  # rolling state


class Trainer:
    """A freshly drawn model and its optimizer; call `start_process_group` first.

    Attributes:
        core: the bare Megatron model.
        optimizer: Megatron's optimizer over it.
        schedule: the learning rates; the spec's.
        micro_batch: samples per forward pass of this rank.
    """

    def __init__(self, spec: TrainSpec, execution: Execution) -> None:
        from megatron.core.distributed import (
            DistributedDataParallel,
            DistributedDataParallelConfig,
            finalize_model_grads,
        )
        from megatron.core.optimizer import (
            OptimizerConfig,
            get_megatron_optimizer,
            get_standard_config_overrides,
        )
        from megatron.core.pipeline_parallel import get_forward_backward_func

        self.spec, self.device = spec, execution.device
        self.schedule = spec.schedule
        ranks = provenance.world_size()
        self.micro_batch = execution.micro_batch or max(1, spec.batch_size // ranks)
        if spec.batch_size % (self.micro_batch * ranks):
            raise UserError(
                f"--micro-batch: {self.micro_batch} samples on {ranks} ranks do not divide the batch of {spec.batch_size}"
            )
        self.core = build_model(
            spec.architecture,
            init_std=spec.init_std,
            scaled_output_init=spec.recipe.scaled_output_init,
            seed=spec.seed,
            device=execution.device,
        )
        self.core.config.finalize_model_grads_func = finalize_model_grads
        self.model = DistributedDataParallel(self.core.config, DistributedDataParallelConfig(), self.core)
        config = OptimizerConfig(
            optimizer="adam",
            lr=spec.schedule.peak_lr,
            weight_decay=spec.recipe.weight_decay,
            adam_beta1=spec.recipe.adam_beta1,
            adam_beta2=spec.recipe.adam_beta2,
            adam_eps=spec.recipe.adam_eps,
            clip_grad=spec.recipe.grad_clip,
        )
        self.optimizer = get_megatron_optimizer(
            config, [self.model], config_overrides=get_standard_config_overrides(config)
        )
        self.forward_backward = get_forward_backward_func()

    def update(self, step: int, batch: torch.Tensor) -> tuple[float, float]:
        """Do update `step` (from 1) on a batch [samples, context + 1] of this rank; return loss and gradient norm."""
        rate, recipe = self.schedule.rate(step), self.spec.recipe
        for group in self.optimizer.param_groups:
            # The groups' own settings, saved with the optimizer, would otherwise win over the spec.
            group["lr"] = rate * group["lr_mult"]
            group["weight_decay"] = recipe.weight_decay * group["wd_mult"]
            group["betas"], group["eps"] = (recipe.adam_beta1, recipe.adam_beta2), recipe.adam_eps
        self.model.zero_grad_buffer()
        self.optimizer.zero_grad()
        reduced = self.forward_backward(
            forward_step_func=_forward,
            data_iterator=iter(torch.split(batch, self.micro_batch)),
            model=self.model,
            num_microbatches=len(batch) // self.micro_batch,
            seq_length=self.spec.architecture.context,
            micro_batch_size=self.micro_batch,
            forward_only=False,
        )
        loss = torch.stack([part["loss"] for part in reduced]).mean()
        if provenance.world_size() > 1:
            torch.distributed.all_reduce(loss, op=torch.distributed.ReduceOp.SUM)
        _, grad_norm, _ = self.optimizer.step()
        return loss.item() / provenance.world_size(), float(grad_norm)


def _forward(samples: Iterator[torch.Tensor], model: Any) -> tuple[torch.Tensor, Any]:
    batch = next(samples)
    positions = torch.arange(batch.shape[1] - 1, device=batch.device).expand(len(batch), -1)
    losses = model(batch[:, :-1], positions, None, labels=batch[:, 1:].contiguous())
    return losses, _mean_loss


def _mean_loss(losses: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    loss = losses.mean()
    # A copy: Megatron divides the loss itself by the number of micro-batches, in place.
    return loss, {"loss": loss.detach().clone()}
