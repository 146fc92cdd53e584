"""Depth growth: the layers of the base model are repeated (C.5 of arXiv 2510.06548). Needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from twostage.common.architecture import Architecture
from twostage.common.canonical import LAYER_AXES, canonical_axes, check_names, layer_name, parse_name
from twostage.methods.base import Growth

if TYPE_CHECKING:
    from twostage.common.canonical import StateDict


class Stack(Growth):
    """Depth growth: the layers are repeated `factor` times."""

    heading: ClassVar = "Model growth\nby stacking layers"
    sketch: ClassVar = ((1.0, 0.0),) * 4 + ((0.0, 1.0),) * 4
    carries_optimizer: ClassVar = True  # the moments of a layer are copied with it

    kind: Literal["stack"]
    factor: int = Field(2, ge=2, le=16)

    @property
    def operator(self) -> str:
        """The operator in a few words."""
        return f"stacking ×{self.factor}"

    def architecture(self, base: Architecture, model: str) -> Architecture:
        """Return the shape with `factor` times the layers."""
        return stacked_architecture(base, self.factor)

    def spec_options(self, init_std: float) -> dict[str, Any]:
        """Return the factor."""
        return {"factor": self.factor}

    def grow(
        self,
        state: StateDict,
        source: Architecture,
        target: Architecture,
        *,
        seed: int,
        init_std: float | None,
    ) -> StateDict:
        """Return the stacked weights or moments; see `stack_depth`."""
        return stack_depth(state, self.factor)


def stacked_architecture(arch: Architecture, factor: int) -> Architecture:
    """Return the shape of `arch` with its layers stacked `factor` times.

    Raises:
        ValueError: `factor` is not a positive integer.
    """
    _check_factor(factor)
    return arch.with_shape(n_layer=arch.n_layer * factor)


def stack_depth(state: StateDict, factor: int) -> StateDict:
    """Stack the layers `factor` times, M' = M o M o ... o M: layer i of the result is layer i mod n_layer.

    Embedding, final norm and head are copied once. Does not preserve the function.

    This only relabels tensors, so it serves every dict of per-parameter tensors under the canonical names alike:
    Adam's `exp_avg` and `exp_avg_sq` are carried over layer by layer with the same call (method `stack-stable`).

    Args:
        state: tensors under canonical names; any dtype, and any shape that all layers share.
        factor: how many times the layers are repeated, >= 1.

    Returns:
        New tensors that share no memory with `state` or with each other.

    Raises:
        ValueError: `factor` is not a positive integer, a key is missing or unknown, or layers differ in shape.
    """
    _check_factor(factor)
    layers = [layer for layer, _ in map(parse_name, state) if layer is not None]
    n_layer = 1 + max(layers, default=0)
    check_names(state, n_layer)
    for stem in LAYER_AXES:
        first = state[layer_name(0, stem)].shape
        for layer in range(1, n_layer):
            if state[layer_name(layer, stem)].shape != first:
                raise ValueError(
                    f"{layer_name(layer, stem)}: shape {list(state[layer_name(layer, stem)].shape)} differs from "
                    f"layer 0's {list(first)}; stacking needs layers of one shape"
                )
    stacked = {}
    for name in canonical_axes(n_layer * factor):
        layer_or_none, stem = parse_name(name)
        source = name if layer_or_none is None else layer_name(layer_or_none % n_layer, stem)
        stacked[name] = state[source].detach().clone()
    return stacked


def _check_factor(factor: int) -> None:
    """Raise `ValueError` unless `factor` is a positive integer."""
    if not isinstance(factor, int) or isinstance(factor, bool) or factor < 1:
        raise ValueError(
            f"factor: {factor!r} must be a positive integer, the number of times the layers are stacked"
        )
