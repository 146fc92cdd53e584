"""The growth job: read a decayed base checkpoint, apply an operator of `growth.py`, write the grown one. Needs no GPU."""

from __future__ import annotations

from pathlib import Path

from twostage.checkpoint import load_weights, save_weights
from twostage.errors import UserError
from twostage.growth import expand_width, stack_depth
from twostage.specs import GrowSpec


def grow_checkpoint(spec: GrowSpec, *, base: Path, out: Path) -> None:
    """Write the grown checkpoint of `base` (a manifest) to the folder `out`.

    Raises:
        UserError: the base checkpoint is damaged, or of another shape than the spec says.
    """
    state, architecture = load_weights(base)
    if architecture != spec.source:
        raise UserError(f"{base}: a model of shape {architecture}, the growth starts from {spec.source}")
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
    save_weights(out, grown, spec.target, origin=spec.model_dump(mode="json", exclude={"source", "target"}))
