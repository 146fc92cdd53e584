"""Depth growth in which each layer is followed by its own copies. The example of the recipe for a new kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from twostage.common.architecture import Architecture
from twostage.common.canonical import canonical_axes, check_state, layer_name, parse_name
from twostage.methods.base import Growth

if TYPE_CHECKING:
    from twostage.common.canonical import StateDict


class Interleave(Growth):
    """Depth growth: each layer is followed by `factor` - 1 copies of itself."""

    heading: ClassVar = "Model growth\nby interleaving layers"
    sketch: ClassVar = ((1.0, 0.0), (0.0, 1.0)) * 4
    carries_optimizer: ClassVar = True

    kind: Literal["interleave"]
    factor: int = Field(2, ge=2, le=16)

    @property
    def operator(self) -> str:
        """The operator in a few words."""
        return f"interleaving ×{self.factor}"

    def architecture(self, base: Architecture, model: str) -> Architecture:
        """Return the shape with `factor` times the layers."""
        return base.with_shape(n_layer=base.n_layer * self.factor)

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
        """Return the grown weights or moments: layer i of the result is layer i // factor."""
        check_state(state, source)
        grown = {}
        for name in canonical_axes(target.n_layer):
            layer, stem = parse_name(name)
            origin = name if layer is None else layer_name(layer // self.factor, stem)
            grown[name] = state[origin].detach().clone()
        return grown
