"""Reads and writes a trainer's state: weights and moments in fp32, for every precision and layer spec.

An fp32 trainer uses Megatron's own optimizer state. A bf16 trainer writes its master weights and moments under the same keys, so
that growth, export and jobs with another number of ranks can read both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from twostage.common.canonical import StateDict
from twostage.common.storage import read_manifest
from twostage.model import checkpoint
from twostage.model import transformer_engine_names as te_names
from twostage.model.checkpoint import Parts
from twostage.model.master_weights import MOMENTS
from twostage.training.trainer import Trainer


def sharded_state(trainer: Trainer) -> dict[str, Any]:
    """Return a trainer's state as Megatron's sharded tensors. Collective: all ranks must call it.

    For an fp32 trainer, these are the tensors that training updates, not copies; see `snapshot_of`.
    """
    model = trainer.core.sharded_state_dict()
    if trainer.masters is None:
        return {"model": model, "optimizer": trainer.optimizer.sharded_state_dict(model)}
    masters = trainer.masters
    optimizer = {
        "state": {"common_step": torch.tensor(float(masters.adam_step))},
        "param_groups": [_settings(group) for group in trainer.optimizer.param_groups],
    }
    return _mixed(model, masters.weights(), masters.moments()) | {"optimizer": optimizer}


def save_training_state(trainer: Trainer, folder: str | Path, origin: Mapping[str, Any]) -> None:
    """Write the trainer's state and then its manifest to `folder`. Collective: all ranks must call it."""
    checkpoint.save_sharded(folder, sharded_state(trainer), trainer.spec.architecture, origin)


def load_training_state(trainer: Trainer, manifest: str | Path) -> dict[str, Any]:
    """Verify a training state and load it into `trainer`; return the manifest's origin.

    Raises:
        UserError: a file is missing, truncated or altered, or the checkpoint is of another kind.
    """
    if trainer.masters is None:
        return checkpoint.load_training_state(manifest, trainer.core, trainer.optimizer)
    checkpoint.verify_training_state(manifest)
    shapes = {name: parameter.shape for name, parameter in trainer.core.named_parameters()}
    empty = [{name: torch.empty(shape) for name, shape in shapes.items()} for _ in range(1 + len(MOMENTS))]
    template = _mixed(trainer.core.sharded_state_dict(), empty[0], dict(zip(MOMENTS, empty[1:], strict=True)))
    state = checkpoint.load_sharded(manifest, template)
    trainer.masters.write_weights(state["model"])
    trainer.masters.write_moments(state["moments"], int(state["optimizer"]["state"]["common_step"]))
    origin: dict[str, Any] = read_manifest(manifest)["origin"]
    return origin


def canonical_weights(trainer: Trainer) -> StateDict:
    """Return the fp32 weights under canonical names. Collective: all ranks must call it."""
    named = trainer.core.state_dict() if trainer.masters is None else trainer.masters.weights()
    return checkpoint.to_canonical(named, trainer.spec.architecture)


def load_canonical(trainer: Trainer, state: StateDict) -> None:
    """Load canonical float32 weights into `trainer`."""
    if trainer.masters is None:
        checkpoint.load_into(trainer.core, state, trainer.spec.architecture)
        return
    named = checkpoint.from_canonical(state, trainer.spec.architecture)
    if te_names.is_fused(trainer.core.state_dict()):
        named = te_names.from_local(named)
    trainer.masters.write_weights(named)


def parts_of(trainer: Trainer) -> Parts:
    """Return this rank's parts of the state; tensors may be those that training updates. Collective."""
    return checkpoint.parts_of(sharded_state(trainer))


def snapshot_of(trainer: Trainer) -> Parts:
    """Return a copy of this rank's parts of the state on the CPU, which further training does not change. Collective."""
    parts = parts_of(trainer)
    if trainer.masters is None:
        # Copied after the division among ranks, so that a tensor that all ranks have is copied by one of them.
        return Parts(_snapshot(parts.shards), _snapshot(parts.common))
    return parts  # already copies of master weights and moments


def _snapshot(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _snapshot(value) for key, value in state.items()}
    if isinstance(state, list):
        return [_snapshot(value) for value in state]
    if isinstance(state, torch.Tensor):
        return _copied(state)
    data = getattr(state, "data", None)
    return replace(state, data=_copied(data)) if isinstance(data, torch.Tensor) else state


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach()
    # Page-locked memory makes the copy fast.
    target = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
    return target.copy_(tensor)


def _mixed(
    model: dict[str, Any], weights: dict[str, torch.Tensor], moments: dict[str, dict[str, torch.Tensor]]
) -> dict[str, Any]:
    """Return fp32 tensors with the sharding of a bf16 model's parameters, without transformer-engine's extra states."""
    from megatron.core.dist_checkpointing.mapping import ShardedTensor
    from megatron.core.dist_checkpointing.optimizer import make_sharded_optimizer_tensor

    def weight(name: str, data: torch.Tensor) -> Any:
        if isinstance(model[name], ShardedTensor):
            return replace(model[name], data=data, dtype=data.dtype)
        return replace(model[name], data=data)  # linear_fc1 is a factory of two sharded tensors

    return {
        "model": {name: weight(name, data) for name, data in weights.items()},
        "moments": {
            moment: {
                name: make_sharded_optimizer_tensor(model[name], data, f"optimizer.state.{moment}")
                for name, data in tensors.items()
            }
            for moment, tensors in moments.items()
        },
    }


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    """Return a parameter group without its parameters. The trainer does not use it: it takes all settings from its spec."""
    return {key: value for key, value in group.items() if key not in ("params", "step")} | {"params": []}
