"""The growth job: read a base checkpoint, grow it with the operator of its spec's method, write the result. Needs no GPU.

Weights become weights. Where the optimizer is carried, a trunk's training state becomes one of the grown model.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from twostage.common.architecture import Architecture
from twostage.common.errors import UserError
from twostage.common.storage import canonical_json, json_digest, read_manifest, write_atomic
from twostage.design.paths import GROWTH_RECORD
from twostage.design.specs import GrowSpec
from twostage.model.checkpoint import load_weights, save_weights
from twostage.model.optimizer_state import load_adam_state, save_adam_state


def grow_checkpoint(spec: GrowSpec, *, base: Path, out: Path) -> None:
    """Write the grown checkpoint of `base` (a manifest) to the folder `out`.

    Raises:
        UserError: the base checkpoint is damaged, or has another shape or kind than the spec says; or the spec carries
            the optimizer's state, for which its kind of growth has no rule.
    """
    growth = spec.growth
    grow = partial(
        growth.grow, source=spec.source, target=spec.target, seed=spec.seed, init_std=spec.init_std
    )
    origin = spec.model_dump(mode="json", exclude={"source", "target"})
    if not spec.carries_optimizer:
        state, architecture = load_weights(base)
        _check_shape(base, architecture, spec)
        grown = grow(state)
        _write_record(spec, base, out)
        save_weights(out, grown, spec.target, origin)
        return
    if not growth.carries_optimizer:
        raise UserError(f"carries_optimizer: {spec.kind!r} has no rule for the optimizer's state")
    training, architecture = load_adam_state(base)
    _check_shape(base, architecture, spec)
    # Adam's step count is common to all weights, so it stays.
    grown_state = training.map_tensors(grow)
    _write_record(spec, base, out)
    save_adam_state(out, grown_state, spec.target, origin)


def _write_record(spec: GrowSpec, base: Path, out: Path) -> None:
    """Write the spec and the key in a file next to the manifest.

    The manifest is part of the key of the jobs that start from it, so it keeps the fields of version 0.1, which had no key.
    """
    key = json_digest(spec=spec.canonical(), parent=read_manifest(base), data=[])
    write_atomic(out / GROWTH_RECORD, canonical_json({"spec": spec.model_dump(mode="json"), "key": key}))


def _check_shape(base: Path, found: Architecture, spec: GrowSpec) -> None:
    if found != spec.source:
        raise UserError(f"{base}: this model has shape {found}, but the growth starts from {spec.source}")
