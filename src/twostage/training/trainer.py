"""Model, optimizer and one update, on Megatron-core (model, DDP, optimizer, pipeline schedule), for CPU and GPU.

`loop.py` repeats the update, and `train.py` reads and writes files. The `TrainSpec` determines what an update computes; an
`Execution` affects only rounding and speed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from twostage.common import attention, provenance
from twostage.common.errors import UserError
from twostage.design.specs import TrainSpec
from twostage.model.build import build_model
from twostage.model.master_weights import MasterWeights
from twostage.training.clipping import step_on_device


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a job runs; affects rounding and speed only.

    Attributes:
        device: "cpu" or "cuda".
        threads: CPU threads.
        micro_batch: samples per forward pass of a rank; None: all samples of the rank (on a GPU, as many as fit).
        save_every_s: seconds between rolling states.
        pipelined: overlap the work of host and device: batches are read ahead, losses are fetched every `fetch_every` updates,
            rolling states are written in the background. None: on CUDA only.
        fetch_every: updates between fetches of the losses if `pipelined`.
        compile: fuse each layer with torch.compile; takes minutes at the start.
        deterministic: on CUDA, use deterministic algorithms, which are slower. A CPU is always deterministic.
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
        """Whether the work of host and device overlaps."""
        return self.device == "cuda" if self.pipelined is None else self.pipelined


class Outcome(NamedTuple):
    """Mean loss of an update, and gradient norm before clipping. The device may not have computed them yet."""

    loss: torch.Tensor
    grad_norm: torch.Tensor | float


class Trainer:
    """A model with random initial weights and its optimizer. Call `start_process_group` first.

    Attributes:
        core: the Megatron model without its data-parallel wrapper.
        optimizer: Megatron's optimizer.
        masters: the fp32 state of a bf16 model; None for a model in fp32.
        attention: the attention backend and the reason for its choice.
        schedule: the learning-rate schedule of the spec.
        micro_batch: samples per forward pass of this rank.

    Raises:
        UserError: micro-batch times ranks does not divide the batch.
    """

    def __init__(self, spec: TrainSpec, execution: Execution) -> None:
        from megatron.core.pipeline_parallel import get_forward_backward_func

        self.spec, self.device = spec, execution.device
        self.schedule = spec.schedule
        ranks = provenance.world_size()
        self.micro_batch = execution.micro_batch or max(1, spec.batch_size // ranks)
        if spec.batch_size % (self.micro_batch * ranks):
            raise UserError(
                f"--micro-batch: {self.micro_batch} samples on {ranks} ranks do not divide the batch of {spec.batch_size}; "
                "choose a divisor"
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
        # The initial master weights; the bf16 model has a rounded copy of them.
        initial = {name: weight.detach().clone() for name, weight in self.core.named_parameters() if mixed}
        if mixed:
            self.core.to(torch.bfloat16)
            self.core.config.bf16, self.core.config.params_dtype = True, torch.bfloat16
        self.model = _data_parallel(self.core, mixed=mixed, device=execution.device)
        self.optimizer = _optimizer(self.model, spec, mixed=mixed)
        if execution.device == "cuda":
            _fuse_adam(self.optimizer)
        self.masters = MasterWeights(self.core, self.optimizer) if mixed else None
        if self.masters:
            self.masters.write_weights(initial)
        if execution.compile:
            _compile_layers(self.core)
        self._on_device = mixed or execution.device == "cuda"
        self._forward_backward = get_forward_backward_func()

    def update(self, step: int, batch: torch.Tensor) -> tuple[float, float]:
        """Make update `step` like `launch` and wait for it; return loss and gradient norm."""
        return fetch([self.launch(step, batch)])[0]

    def launch(self, step: int, batch: torch.Tensor) -> Outcome:
        """Start update `step` (from 1) on this rank's samples of the batch, [samples, context + 1]; see `fetch` for its result.

        Collective. Does not wait for a GPU.
        """
        rate, recipe = self.schedule.rate(step), self.spec.recipe
        for group in self.optimizer.param_groups:
            # Settings that a loaded optimizer state contains must not override the spec.
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
        """Run the forward pass, and the backward pass unless `forward_only`, on a batch [samples, context + 1].

        Returns:
            {"loss": mean loss} of each micro-batch.
        """
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
        """Update the weights on all ranks, for use of `core` outside an update. Collective."""
        if self.model.ddp_config.overlap_param_gather:
            # Otherwise they are gathered during the forward pass of the next update.
            self.model.start_param_sync(force_sync=True)


def fetch(outcomes: list[Outcome]) -> list[tuple[float, float]]:
    """Wait for updates; return (loss, gradient norm) of each. One transfer from the device for all of them."""
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
        # Gradients are reduced only during the backward pass of the last micro-batch.
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
    """Compile each layer as one graph. Names of weights do not change."""
    import torch._dynamo

    # Megatron's linear layers call warnings.warn in every pass, which would split a layer into nine graphs.
    ignored: set[Any] = getattr(torch._dynamo.config, "ignore_logging_functions", set())
    ignored.add(warnings.warn)
    for layer in core.decoder.layers:
        layer.compile()


def _fuse_adam(optimizer: Any) -> None:
    """Make PyTorch's Adam update all weights in one kernel. Megatron has no setting for this."""
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
    # A copy, because Megatron divides `loss` by the number of micro-batches in place.
    return loss, {"loss": loss.detach().clone()}
