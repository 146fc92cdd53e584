"""Model, optimizer and one update, on Megatron-core (model, DDP, optimizer, pipeline schedule), the same on CPU and GPU.

Knows nothing of files, of where a run begins or of when it ends: `train.py` is the job, `loop.py` repeats the
update. What an update computes follows from the `TrainSpec`; an `Execution` changes its rounding and speed only.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from twostage.common import provenance
from twostage.common.errors import UserError
from twostage.design.specs import TrainSpec
from twostage.model.build import build_model
from twostage.model.master_weights import MasterWeights
from twostage.study import attention
from twostage.training.clipping import step_on_device


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a job runs; affects rounding and speed only.

    Attributes:
        device: "cpu" or "cuda".
        threads: of the CPU.
        micro_batch: samples per forward pass; None: the whole batch.
        save_every_s: seconds between rolling states.
        pipelined: the host works beside the device: batches are read ahead, losses fetched every `fetch_every` updates,
            rolling states written in the background. None: on CUDA only.
        fetch_every: updates between two looks at the losses where `pipelined`.
        compile: let torch.compile fuse each layer; costs minutes at the start.
        deterministic: on CUDA, the same bits for the same job again, at some cost in speed; a CPU is so anyway.
    """

    device: str = "cpu"
    threads: int = 1
    micro_batch: int | None = None
    save_every_s: float = 600.0
    pipelined: bool | None = None
    fetch_every: int = 20
    compile: bool = False
    deterministic: bool = False

    @property
    def overlaps(self) -> bool:
        """Whether the host works beside the device."""
        return self.device == "cuda" if self.pipelined is None else self.pipelined


class Outcome(NamedTuple):
    """What an update gives, perhaps still on its way: mean loss, and gradient norm before clipping."""

    loss: torch.Tensor
    grad_norm: torch.Tensor | float


class Trainer:
    """A freshly drawn model and its optimizer; call `start_process_group` first.

    Attributes:
        core: the bare Megatron model.
        optimizer: Megatron's optimizer over it.
        masters: the fp32 state behind a bf16 model; None where the model itself is fp32.
        attention: the backend of the attention, and why.
        schedule: the learning rates; the spec's.
        micro_batch: samples per forward pass of this rank.
    """

    def __init__(self, spec: TrainSpec, execution: Execution) -> None:
        from megatron.core.pipeline_parallel import get_forward_backward_func

        self.spec, self.device = spec, execution.device
        self.schedule = spec.schedule
        ranks = provenance.world_size()
        self.micro_batch = execution.micro_batch or max(1, spec.batch_size // ranks)
        if spec.batch_size % (self.micro_batch * ranks):
            raise UserError(
                f"--micro-batch: {self.micro_batch} samples on {ranks} ranks do not divide the batch of {spec.batch_size}"
            )
        self.attention = attention.choose(
            spec.attention,
            spec.architecture.head_dim,
            execution.device,
            attention.installed(),
            spec.recipe.precision,
        )
        mixed = spec.recipe.precision == "bf16"
        self.core = build_model(
            spec.architecture,
            init_std=spec.init_std,
            scaled_output_init=spec.recipe.scaled_output_init,
            seed=spec.seed,
            device=execution.device,
            backend=self.attention.backend,
            fused_activation=execution.device == "cuda",
            fused_loss=execution.device == "cuda" and mixed,
        )
        # The draw is the master weights' start; the bf16 model holds a rounded copy of it.
        drawn = {name: weight.detach().clone() for name, weight in self.core.named_parameters() if mixed}
        if mixed:
            self.core.to(torch.bfloat16)
            self.core.config.bf16, self.core.config.params_dtype = True, torch.bfloat16
        self.model = _data_parallel(self.core, mixed=mixed, device=execution.device)
        self.optimizer = _optimizer(self.model, spec, mixed=mixed)
        if execution.device == "cuda":
            _fuse_adam(self.optimizer)
        self.masters = MasterWeights(self.core, self.optimizer) if mixed else None
        if self.masters:
            self.masters.write_weights(drawn)
        if execution.compile:
            _compile_layers(self.core)
        self._on_device = mixed or execution.device == "cuda"
        self._forward_backward = get_forward_backward_func()

    def update(self, step: int, batch: torch.Tensor) -> tuple[float, float]:
        """Do update `step` (from 1) on a batch [samples, context + 1] of this rank; return loss and gradient norm."""
        (pair,) = fetch([self.launch(step, batch)])
        return pair

    def launch(self, step: int, batch: torch.Tensor) -> Outcome:
        """Do update `step` like `update`, without waiting for the device to have done it; see `fetch`."""
        rate, recipe = self.schedule.rate(step), self.spec.recipe
        for group in self.optimizer.param_groups:
            # The groups' own settings, saved with the optimizer, would otherwise win over the spec.
            group["lr"] = rate * group["lr_mult"]
            group["weight_decay"] = recipe.weight_decay * group["wd_mult"]
            group["betas"], group["eps"] = (recipe.adam_beta1, recipe.adam_beta2), recipe.adam_eps
        self.model.zero_grad_buffer()
        self.optimizer.zero_grad()
        loss = torch.stack([part["loss"] for part in self.passes(batch)]).mean()
        if provenance.world_size() > 1:
            torch.distributed.all_reduce(loss, op=torch.distributed.ReduceOp.SUM)
        if self._on_device:
            return Outcome(loss, step_on_device(self.optimizer, recipe.grad_clip))
        _, grad_norm, _ = self.optimizer.step()
        return Outcome(loss, grad_norm)

    def passes(self, batch: torch.Tensor, *, forward_only: bool = False) -> list[dict[str, torch.Tensor]]:
        """Forward and, unless `forward_only`, backward over a batch (sample, token); the loss of each micro-batch."""
        reduced: list[dict[str, torch.Tensor]] = self._forward_backward(
            forward_step_func=_forward,
            data_iterator=iter(torch.split(batch, self.micro_batch)),
            model=self.model,
            num_microbatches=len(batch) // self.micro_batch,
            seq_length=self.spec.architecture.context,
            micro_batch_size=self.micro_batch,
            forward_only=forward_only,
        )
        return reduced

    def gather_parameters(self) -> None:
        """Bring the weights up to date on all ranks, for a use of `core` outside of an update."""
        if self.model.ddp_config.overlap_param_gather:
            # Otherwise they arrive during the next update's forward pass.
            self.model.start_param_sync(force_sync=True)


def fetch(outcomes: list[Outcome]) -> list[tuple[float, float]]:
    """Wait for updates; return loss and gradient norm of each. Costs one transfer, however many there are."""
    if not outcomes:
        return []
    ranks = provenance.world_size()
    losses = torch.stack([outcome.loss for outcome in outcomes])
    if isinstance(outcomes[0].grad_norm, torch.Tensor):
        norms = torch.stack([torch.as_tensor(outcome.grad_norm) for outcome in outcomes])
        both = torch.stack((losses.float(), norms.float())).tolist()
        return [(loss / ranks, norm) for loss, norm in zip(*both, strict=True)]
    return [
        (loss / ranks, float(outcome.grad_norm))
        for loss, outcome in zip(losses.tolist(), outcomes, strict=True)
    ]


def _data_parallel(core: Any, *, mixed: bool, device: str) -> Any:
    from megatron.core.distributed import (
        DistributedDataParallel,
        DistributedDataParallelConfig,
        finalize_model_grads,
    )

    overlap = provenance.world_size() > 1 and (mixed or device == "cuda")
    settings = DistributedDataParallelConfig(
        grad_reduce_in_fp32=mixed,
        use_distributed_optimizer=mixed,
        overlap_grad_reduce=overlap,
        overlap_param_gather=overlap and mixed,
    )
    model = DistributedDataParallel(core.config, settings, core)
    core.config.finalize_model_grads_func = finalize_model_grads
    if overlap:
        # Gradients travel during the backward pass of the last micro-batch only.
        core.config.no_sync_func = model.no_sync
    return model


def _optimizer(model: Any, spec: TrainSpec, *, mixed: bool) -> Any:
    from megatron.core.optimizer import (
        OptimizerConfig,
        get_megatron_optimizer,
        get_standard_config_overrides,
    )

    config = OptimizerConfig(
        optimizer="adam",
        lr=spec.schedule.peak_lr,
        weight_decay=spec.recipe.weight_decay,
        adam_beta1=spec.recipe.adam_beta1,
        adam_beta2=spec.recipe.adam_beta2,
        adam_eps=spec.recipe.adam_eps,
        clip_grad=spec.recipe.grad_clip,
        bf16=mixed,
        params_dtype=torch.bfloat16 if mixed else torch.float32,
        use_distributed_optimizer=mixed,
        overlap_param_gather=model.ddp_config.overlap_param_gather,
    )
    return get_megatron_optimizer(config, [model], config_overrides=get_standard_config_overrides(config))


def _compile_layers(core: Any) -> None:
    """Compile each layer as one graph; names of weights stay."""
    import torch._dynamo

    # Megatron's linear layers warn of a default in every pass, which would cut a layer into nine graphs.
    ignored: set[Any] = getattr(torch._dynamo.config, "ignore_logging_functions", set())
    ignored.add(warnings.warn)
    for layer in core.decoder.layers:
        layer.compile()


def _fuse_adam(optimizer: Any) -> None:
    """Let PyTorch's Adam update all weights in one kernel; Megatron does not pass the setting on."""
    for part in optimizer.chained_optimizers:
        if isinstance(part.optimizer, torch.optim.AdamW):
            for group in part.optimizer.param_groups:
                group["fused"] = True


def _forward(samples: Iterator[torch.Tensor], model: Any) -> tuple[torch.Tensor, Any]:
    batch = next(samples)
    positions = torch.arange(batch.shape[1] - 1, device=batch.device).expand(len(batch), -1)
    losses = model(batch[:, :-1], positions, None, labels=batch[:, 1:].contiguous())
    return losses, _mean_loss


def _mean_loss(losses: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    loss = losses.mean()
    # A copy: Megatron divides the loss itself by the number of micro-batches, in place.
    return loss, {"loss": loss.detach().clone()}
