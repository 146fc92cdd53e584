"""A training state under canonical names: weights, and Adam's two moments of each weight.

A moment has the shape of its weight, so it has the same canonical name and is converted like the weight. Nothing here trains or
needs a GPU.
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
from twostage.model.master_weights import MOMENTS

if TYPE_CHECKING:
    from megatron.core.models.gpt import GPTModel


@dataclass(frozen=True, kw_only=True)
class AdamState:
    """Weights and optimizer state of one training run at one step; tensors on the CPU.

    Attributes:
        weights: by canonical name.
        exp_avg: Adam's running mean of the gradient, by canonical name.
        exp_avg_sq: Adam's running mean of the squared gradient, by canonical name.
        adam_step: number of updates in the moments (0-dimensional).
        settings: Megatron's parameter groups without their parameters. The trainer does not use them: it takes learning
            rate, weight decay, betas and epsilon from its spec.
    """

    weights: StateDict
    exp_avg: StateDict
    exp_avg_sq: StateDict
    adam_step: torch.Tensor
    settings: list[dict[str, Any]]

    def map_tensors(self, function: Callable[[StateDict], StateDict]) -> AdamState:
        """Return a state with `function` applied to the weights and to both moments."""
        return replace(
            self,
            weights=function(self.weights),
            exp_avg=function(self.exp_avg),
            exp_avg_sq=function(self.exp_avg_sq),
        )


def load_adam_state(manifest: str | Path) -> tuple[AdamState, Architecture]:
    """Verify and load a training state on the CPU, also if it was trained on a GPU.

    Raises:
        UserError: a file is missing, truncated or altered, or the checkpoint is of another kind.
    """
    architecture = checkpoint.verify_training_state(manifest)
    model = _empty_model(architecture)
    # Megatron loads into these tensors.
    empty = {
        moment: {name: torch.empty_like(parameter) for name, parameter in model.named_parameters()}
        for moment in MOMENTS
    }
    template = _sharded(model, empty)
    # Without the layers' (empty) extra states, which states of bf16 training do not have.
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
    """Write a training state, from which a job with origin "carried" starts; equal states give equal bytes.

    Raises:
        ValueError: a weight or moment is missing, unknown or of another shape; the message has its name.
    """
    for tensors in (state.weights, state.exp_avg, state.exp_avg_sq):
        check_state(tensors, architecture)
    model = _empty_model(architecture)
    checkpoint.load_into(model, state.weights, architecture)
    moments = {moment: checkpoint.from_canonical(getattr(state, moment), architecture) for moment in MOMENTS}
    optimizer = {"state": {"common_step": state.adam_step}, "param_groups": state.settings}
    checkpoint.save_sharded(folder, _sharded(model, moments) | {"optimizer": optimizer}, architecture, origin)


def _empty_model(architecture: Architecture) -> GPTModel:
    start_process_group("cpu")
    return build_model(architecture, init_std=1.0, scaled_output_init=False, seed=0, device="cpu")


def _sharded(model: GPTModel, moments: Mapping[str, StateDict]) -> dict[str, Any]:
    """Return weights and moments as Megatron's sharded tensors, with the keys of Megatron's own optimizer.

    Megatron finds tensors in a checkpoint by these keys and not by the nesting of the dictionary.
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
