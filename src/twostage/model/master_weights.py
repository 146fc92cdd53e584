"""The fp32 state of a model that computes in bf16: its master weights and Adam's moments, by parameter name.

Megatron's mixed-precision optimizers keep this state outside the model: Float16Optimizer as complete tensors,
DistributedOptimizer as shards of the ranks. Checkpoints hold this state, never bf16 weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch

MOMENTS = ("exp_avg", "exp_avg_sq")


class _Shard(NamedTuple):
    """This rank's part of one parameter: elements start .. stop - 1 of the flattened tensor."""

    main: torch.Tensor
    start: int
    stop: int


class MasterWeights:
    """Reads and writes the fp32 state of a bf16 model. Every call is collective: all ranks must make it.

    Args:
        core: the Megatron model without its data-parallel wrapper, in bf16.
        optimizer: Megatron's optimizer of this model.
    """

    def __init__(self, core: torch.nn.Module, optimizer: Any) -> None:
        # Megatron stores optimizer data as attributes of the parameters.
        self._parameters: dict[str, Any] = dict(core.named_parameters())
        (self._outer,) = optimizer.chained_optimizers
        self._inner = self._outer.optimizer

    def weights(self) -> dict[str, torch.Tensor]:
        """Return all master weights, complete on every rank, on the CPU in float32."""
        return {name: self._full(name, lambda shard: shard.main) for name in self._parameters}

    def moments(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return `exp_avg` and `exp_avg_sq` of all parameters, on the CPU in float32; zero before the first update."""
        return {
            moment: {name: self._full(name, partial(self._moment, moment)) for name in self._parameters}
            for moment in MOMENTS
        }

    def _moment(self, moment: str, shard: _Shard) -> torch.Tensor:
        found: torch.Tensor | None = self._inner.state.get(shard.main, {}).get(moment)
        return torch.zeros_like(shard.main) if found is None else found

    @property
    def adam_step(self) -> int:
        """Number of updates in the moments."""
        for state in self._inner.state.values():
            if "step" in state:
                return int(state["step"])
        # Adam of transformer-engine and Apex counts per group.
        return max((int(group.get("step", 0)) for group in self._inner.param_groups), default=0)

    @torch.no_grad()
    def write_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Set the master weights and the model's bf16 copies of them. `weights`: float32, on any device."""
        for name, parameter in self._parameters.items():
            full = weights[name]
            if shard := self._shard(name):
                shard.main.copy_(full.reshape(-1)[shard.start : shard.stop].view_as(shard.main))
            parameter.copy_(full)

    @torch.no_grad()
    def write_moments(self, moments: Mapping[str, Mapping[str, torch.Tensor]], adam_step: int) -> None:
        """Set both moments of all parameters, and the number of updates in them."""
        counts_per_weight = isinstance(self._inner, torch.optim.AdamW)
        for name in self._parameters:
            shard = self._shard(name)
            if shard is None:
                continue
            state = {
                moment: moments[moment][name]
                .reshape(-1)[shard.start : shard.stop]
                .view_as(shard.main)
                .to(shard.main.device, torch.float32, copy=True)
                for moment in MOMENTS
            }
            if counts_per_weight:
                # One tensor per weight, not shared: Adam increments each of them.
                fused = self._inner.param_groups[0]["fused"]
                state["step"] = torch.tensor(
                    float(adam_step), device=shard.main.device if fused else torch.device("cpu")
                )
            self._inner.state[shard.main] = state
        if not counts_per_weight:
            for group in self._inner.param_groups:
                group["step"] = adam_step

    def _shard(self, name: str) -> _Shard | None:
        """Return this rank's shard of a parameter; None if it has none."""
        parameter = self._parameters[name]
        main = getattr(parameter, "main_param", None)
        if main is None:
            return None
        if not getattr(parameter, "main_param_sharded", False):
            return _Shard(main, 0, parameter.numel())
        share = self._outer._get_model_param_range_map(parameter)["param"]
        return _Shard(main, share.start, share.end)

    def _full(self, name: str, of: Callable[[_Shard], torch.Tensor]) -> torch.Tensor:
        parameter = self._parameters[name]
        device = parameter.device
        # Sum the bit patterns, not the numbers: all ranks but one have zero, and -0.0 stays -0.0.
        bits = torch.zeros(parameter.numel(), dtype=torch.int32, device=device)
        if shard := self._shard(name):
            bits[shard.start : shard.stop] = of(shard).detach().reshape(-1).float().view(torch.int32)
        if torch.distributed.get_world_size() > 1:
            torch.distributed.all_reduce(bits)
        # Page-locked memory makes the copy fast.
        host = torch.empty(parameter.shape, pin_memory=bits.is_cuda)
        return host.copy_(bits.view(torch.float32).view(parameter.shape))
