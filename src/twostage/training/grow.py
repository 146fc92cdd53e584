"""The growth job: read a base checkpoint, apply an operator of `growth.py`, write the grown one. Needs no GPU.

Weights become weights. A stack that carries the optimizer turns a trunk's training state into one of the deeper model.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from twostage.common.errors import UserError
from twostage.design.specs import GrowSpec
from twostage.model.checkpoint import load_weights, save_weights
from twostage.model.growth import expand_width, stack_depth
from twostage.model.optimizer_state import load_adam_state, save_adam_state
from twostage.study.architecture import Architecture


def grow_checkpoint(spec: GrowSpec, *, base: Path, out: Path) -> None:
    """Write the grown checkpoint of `base` (a manifest) to the folder `out`.

    Raises:
        UserError: the base checkpoint is damaged, or of another shape or kind than the spec says.
    """
    origin = spec.model_dump(mode="json", exclude={"source", "target"})
    if spec.carries_optimizer:
        if spec.kind != "stack":
            raise UserError(
                f"carries_optimizer: {spec.kind!r} has no rule for the optimizer's state; only 'stack' has"
            )
        assert spec.factor is not None
        training, architecture = load_adam_state(base)
        _check_shape(base, architecture, spec)
        # A copied layer takes its original's moments; Adam's step count is common to all weights.
        stacked = training.map_tensors(partial(stack_depth, factor=spec.factor))
        save_adam_state(out, stacked, spec.target, origin)
        return
    state, architecture = load_weights(base)
    _check_shape(base, architecture, spec)
    if spec.kind == "stack":
        assert spec.factor is not None
        grown = stack_depth(state, spec.factor)
    else:
        assert spec.split is not None
        assert spec.init is not None
        grown = expand_width(
            state,
            spec.source,
            spec.target,
            seed=spec.seed,
            split=spec.split,
            init=spec.init,
            init_std=spec.init_std,
        )
    save_weights(out, grown, spec.target, origin)


def _check_shape(base: Path, found: Architecture, spec: GrowSpec) -> None:
    if found != spec.source:
        raise UserError(f"{base}: a model of shape {found}, the growth starts from {spec.source}")
