"""The fp32 truth behind a model that computes in bf16: its master weights and Adam's moments, by parameter name.

Megatron's mixed-precision optimizers keep them out of the model, Float16Optimizer whole, DistributedOptimizer in pieces
spread over the ranks. Checkpoints hold these values only, never a bf16 weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch

MOMENTS = ("exp_avg", "exp_avg_sq")


class _Piece(NamedTuple):
    """What this rank holds of one parameter: elements start .. stop - 1 of its flattened self."""

    main: torch.Tensor
    start: int
    stop: int


class MasterWeights:
    """Reads and writes the fp32 state of a bf16 model; every call is collective over the ranks.

    Args:
        core: the bare Megatron model, in bf16.
        optimizer: Megatron's optimizer over it.
    """

    def __init__(self, core: torch.nn.Module, optimizer: Any) -> None:
        # Megatron hangs its bookkeeping on the parameters as attributes.
        self._parameters: dict[str, Any] = dict(core.named_parameters())
        (self._outer,) = optimizer.chained_optimizers
        self._inner = self._outer.optimizer

    def weights(self) -> dict[str, torch.Tensor]:
        """Return all master weights on the CPU, float32, as on every rank."""
        return {name: self._whole(name, lambda piece: piece.main) for name in self._parameters}

    def moments(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return `exp_avg` and `exp_avg_sq` of all parameters on the CPU, float32; zero before the first update."""
        return {
            moment: {name: self._whole(name, partial(self._moment, moment)) for name in self._parameters}
            for moment in MOMENTS
        }

    def _moment(self, moment: str, piece: _Piece) -> torch.Tensor:
        found: torch.Tensor | None = self._inner.state.get(piece.main, {}).get(moment)
        return torch.zeros_like(piece.main) if found is None else found

    @property
    def adam_step(self) -> int:
        """How many updates the moments have seen."""
        for state in self._inner.state.values():
            if "step" in state:
                return int(state["step"])
        # transformer-engine's and Apex's Adam count per group.
        return max((int(group.get("step", 0)) for group in self._inner.param_groups), default=0)

    @torch.no_grad()
    def write_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Set master weights, and the model's bf16 copies of them; `weights` is float32, on any device."""
        for name, parameter in self._parameters.items():
            whole = weights[name]
            if piece := self._piece(name):
                piece.main.copy_(whole.reshape(-1)[piece.start : piece.stop].view_as(piece.main))
            parameter.copy_(whole)

    @torch.no_grad()
    def write_moments(self, moments: Mapping[str, Mapping[str, torch.Tensor]], adam_step: int) -> None:
        """Set both moments of all parameters, and the count of updates they have seen."""
        counts_per_weight = isinstance(self._inner, torch.optim.AdamW)
        for name in self._parameters:
            piece = self._piece(name)
            if piece is None:
                continue
            state = {
                moment: moments[moment][name]
                .reshape(-1)[piece.start : piece.stop]
                .view_as(piece.main)
                .to(piece.main.device, torch.float32, copy=True)
                for moment in MOMENTS
            }
            if counts_per_weight:
                # Each has a count of its own: Adam adds one to every entry of the list of counts.
                fused = self._inner.param_groups[0]["fused"]
                state["step"] = torch.tensor(
                    float(adam_step), device=piece.main.device if fused else torch.device("cpu")
                )
            self._inner.state[piece.main] = state
        if not counts_per_weight:
            for group in self._inner.param_groups:
                group["step"] = adam_step

    def _piece(self, name: str) -> _Piece | None:
        """Return this rank's share of a parameter; None where it has none."""
        parameter = self._parameters[name]
        main = getattr(parameter, "main_param", None)
        if main is None:
            return None
        if not getattr(parameter, "main_param_sharded", False):
            return _Piece(main, 0, parameter.numel())
        share = self._outer._get_model_param_range_map(parameter)["param"]
        return _Piece(main, share.start, share.end)

    def _whole(self, name: str, of: Callable[[_Piece], torch.Tensor]) -> torch.Tensor:
        parameter = self._parameters[name]
        device = parameter.device
        # Bits, not numbers, are added up: where one rank has a value all others have zero, and -0.0 stays -0.0.
        bits = torch.zeros(parameter.numel(), dtype=torch.int32, device=device)
        if piece := self._piece(name):
            bits[piece.start : piece.stop] = of(piece).detach().reshape(-1).float().view(torch.int32)
        if torch.distributed.get_world_size() > 1:
            torch.distributed.all_reduce(bits)
        # Page-locked, so that the copy runs at the bus's full speed; the memory is kept for the next time.
        host = torch.empty(parameter.shape, pin_memory=bits.is_cuda)
        return host.copy_(bits.view(torch.float32).view(parameter.shape))
