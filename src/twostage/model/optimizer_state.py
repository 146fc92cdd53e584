"""A whole training state under canonical names: weights, and Adam's two moments of each.

A moment is a tensor of its weight's shape, so it has the weight's name and is fused and unfused like it. What an
optimizer is and does is Megatron's; nothing here trains, or needs a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from twostage.common.architecture import Architecture
from twostage.common.canonical import StateDict, check_state
from twostage.model import checkpoint
from twostage.model.build import build_model, start_process_group

if TYPE_CHECKING:
    from megatron.core.models.gpt import GPTModel

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, kw_only=True)
class AdamState:
    """Weights and optimizer state of one training run at one step; tensors on the CPU.

    Attributes:
        weights: under canonical names.
        exp_avg: Adam's mean of the gradient of each weight.
        exp_avg_sq: Adam's mean of its square.
        adam_step: how many updates the moments have seen (0-dimensional).
        settings: Megatron's parameter groups without their parameters; the trainer takes rates, decay, betas and
            epsilon from its spec instead.
    """

    weights: StateDict
    exp_avg: StateDict
    exp_avg_sq: StateDict
    adam_step: torch.Tensor
    settings: list[dict[str, Any]]

    def map_tensors(self, function: Callable[[StateDict], StateDict]) -> AdamState:
        """Return the state with `function` applied to the weights and to either moment."""
        return replace(
            self,
            weights=function(self.weights),
            exp_avg=function(self.exp_avg),
            exp_avg_sq=function(self.exp_avg_sq),
        )


def load_adam_state(manifest: str | Path) -> tuple[AdamState, Architecture]:
    """Verify and read a training state; on the CPU, wherever it was trained.

    Raises:
        UserError: the payload is missing, truncated or altered, or the checkpoint is of another kind.
    """
    architecture = checkpoint.verify_training_state(manifest)
    model = _empty_model(architecture)
    # Megatron reads into these tensors, so each moment has its own.
    empty = {
        moment: {name: torch.empty_like(parameter) for name, parameter in model.named_parameters()}
        for moment in _MOMENTS
    }
    template = _sharded(model, empty)
    # Weights only: states of bf16 training lack the (empty) extra states of the layers.
    template["model"] = {name: template["model"][name] for name, _ in model.named_parameters()}
    state = checkpoint.load_sharded(manifest, template)
    optimizer = state["optimizer"]
    tensors = {
        name: checkpoint.to_canonical(found, architecture)
        for name, found in {"weights": state["model"], **state["moments"]}.items()
    }
    step = torch.as_tensor(optimizer["state"]["common_step"]).cpu()
    return AdamState(**tensors, adam_step=step, settings=optimizer["param_groups"]), architecture


def save_adam_state(
    folder: str | Path, state: AdamState, architecture: Architecture, origin: Mapping[str, Any]
) -> None:
    """Write a training state that a job with origin "carried" goes on from; equal states give equal bytes.

    Raises:
        ValueError: a weight or moment is missing, unknown or of another shape; names it.
    """
    for tensors in (state.weights, state.exp_avg, state.exp_avg_sq):
        check_state(tensors, architecture)
    model = _empty_model(architecture)
    checkpoint.load_into(model, state.weights, architecture)
    moments = {moment: checkpoint.from_canonical(getattr(state, moment), architecture) for moment in _MOMENTS}
    optimizer = {"state": {"common_step": state.adam_step}, "param_groups": state.settings}
    checkpoint.save_sharded(folder, _sharded(model, moments) | {"optimizer": optimizer}, architecture, origin)


def _empty_model(architecture: Architecture) -> GPTModel:
    start_process_group("cpu")
    return build_model(architecture, init_std=1.0, scaled_output_init=False, seed=0, device="cpu")


def _sharded(model: GPTModel, moments: Mapping[str, StateDict]) -> dict[str, Any]:
    """Return weights and moments as Megatron's sharded tensors, under the keys that its own optimizer gives them.

    Megatron finds tensors in a checkpoint by those keys; how the dictionary nests is free.
    """
    from megatron.core.dist_checkpointing.optimizer import make_sharded_optimizer_tensor

    weights = model.sharded_state_dict()
    return {
        "model": weights,
        "moments": {
            moment: {
                name: make_sharded_optimizer_tensor(weights[name], tensor, f"optimizer.state.{moment}")
                for name, tensor in tensors.items()
            }
            for moment, tensors in moments.items()
        },
    }
