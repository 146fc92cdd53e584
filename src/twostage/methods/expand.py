"""Width growth that preserves the function: more residual dimensions, heads and MLP neurons.

The section of the study, and the shape of the expanded model. The operator on weights is in `expand_weights`, which
needs torch; importing this module does not, so that the workflow can size expanded models while it parses the DAG.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from twostage.common.architecture import Architecture
from twostage.common.sections import Frozen, Name
from twostage.methods.base import Growth

if TYPE_CHECKING:
    from twostage.common.canonical import StateDict

GROWTH_RATIO = 2
"""N'/N that width expansion aims at (the paper, footnote 4: sqrt(2) in width doubles N)."""

RATIO_TOLERANCE = 0.01
"""Accepted relative distance of N'/N from `GROWTH_RATIO`."""

# Our choice: widths are multiples of 16 (GPU tiles) where the model is large enough for that, else of the coarsest
# smaller power of two.
_MULTIPLES = (16, 8, 4, 2, 1)


class ExpandShape(Frozen):
    """An explicit width to expand to."""

    d_model: int = Field(gt=0)
    n_head: int = Field(gt=0)
    d_mlp: int = Field(gt=0)


class Expand(Growth):
    """Width growth that preserves the function; N doubles within 1 % where a shape allows it.

    There is no exact rule for Adam's moments: copies share their outgoing weights unequally.
    """

    free_keys: ClassVar = frozenset({"shapes"})
    heading: ClassVar = "Model growth\nby width expansion"
    sketch: ClassVar = ((1.0, 0.42),) * 4

    kind: Literal["expand"]
    split: Literal["random", "equal"] = Field("random", description="how copies share their outgoing weights")
    init: Literal["duplicate", "zero"] = Field("duplicate", description="copies of neurons, or zero padding")
    shapes: dict[Name, ExpandShape] = Field(
        {}, description="explicit shapes by base model; default: our rule"
    )

    @property
    def operator(self) -> str:
        """The operator in a few words."""
        return "width expansion"

    def check(self, base_corpus: str, models: Collection[str]) -> None:
        """Refuse shapes of models that the study does not have; see `Method.check`."""
        for name in self.shapes:
            if name not in models:
                raise ValueError(
                    f"shapes: {name!r} is not one of the study's models {sorted(models)}; declare it or correct the name"
                )

    def architecture(self, base: Architecture, model: str) -> Architecture:
        """Return the shape that `shapes` gives for the model, or that of our rule."""
        shape = self.shapes.get(model)
        return expanded_architecture(base, **(shape.model_dump() if shape else {}))

    def spec_options(self, init_std: float) -> dict[str, Any]:
        """Return how copies are made; `init_std` only where new weights are drawn."""
        drawn = {"init_std": init_std} if self.init == "zero" else {}
        return {"split": self.split, "init": self.init, **drawn}

    def grow(
        self,
        state: StateDict,
        source: Architecture,
        target: Architecture,
        *,
        seed: int,
        init_std: float | None,
    ) -> StateDict:
        """Return the widened weights; see `expand_width`."""
        from twostage.methods.expand_weights import expand_width

        return expand_width(
            state, source, target, seed=seed, split=self.split, init=self.init, init_std=init_std
        )


def expanded_architecture(
    arch: Architecture, *, d_model: int | None = None, n_head: int | None = None, d_mlp: int | None = None
) -> Architecture:
    """Return the width-expanded shape of `arch`: N doubles to within 1 %, depth and `head_dim` stay.

    The paper only says that the hidden dimension grows by sqrt(2). Our choice: d' = 1.4 d, h' = 1.5 h (rounded up) and
    f' = 1.4 f, with which N'/N = 1.995 (sqrt(2) instead of 1.4 would give 2.03). d' is the multiple of 16 nearest to
    1.4 d, and f' the multiple of 16 nearest to 1.4 f among those that keep N'/N within 1 % of 2. Where no such shape
    exists, multiples of 8, 4, 2 and 1 are tried in turn. If none fits, as in tiny models, the shape with N' nearest to
    2 N is returned: `n_params` of the two architectures gives the ratio.

    The norm epsilon becomes epsilon d / d', without which expansion does not preserve the function.

    Args:
        arch: shape of the base model.
        d_model, n_head, d_mlp: widths that the study fixes; the others follow by the rule above.

    Raises:
        ValueError: a given width is smaller than that of `arch`; the message names it.
    """
    for key, width in (("d_model", d_model), ("n_head", n_head), ("d_mlp", d_mlp)):
        if width is not None and width < getattr(arch, key):
            raise ValueError(
                f"{key}: {width} is smaller than the base model's {getattr(arch, key)}; width expansion only adds, "
                f"so give at least {getattr(arch, key)}"
            )
    heads = (3 * arch.n_head + 1) // 2 if n_head is None else n_head
    candidates = []
    for multiple in _MULTIPLES:
        width = _nearest_multiple_of_1_4(arch.d_model, multiple) if d_model is None else d_model
        if d_model is None and multiple > 1 and not 1.3 <= width / arch.d_model <= 1.5:
            continue  # too coarse for so narrow a model
        shape = arch.with_shape(d_model=width, n_head=heads, norm_eps=rescaled_norm_eps(arch, width))
        neurons = _mlp_width(arch, shape, multiple) if d_mlp is None else d_mlp
        candidates.append(shape.with_shape(d_mlp=neurons))
    n_wanted = GROWTH_RATIO * arch.n_params
    fitting = [c for c in candidates if abs(c.n_params - n_wanted) <= RATIO_TOLERANCE * n_wanted]
    return fitting[0] if fitting else min(candidates, key=lambda c: abs(c.n_params - n_wanted))


def rescaled_norm_eps(arch: Architecture, d_model: int) -> float:
    """Return epsilon d / d': with it, RMSNorm gives the same after expansion to `d_model` as before."""
    return arch.norm_eps * arch.d_model / d_model


def _nearest_multiple_of_1_4(width: int, multiple: int) -> int:
    """Return the multiple of `multiple` nearest to 1.4 `width`, in integers (halves round up)."""
    return (14 * width + 5 * multiple) // (10 * multiple) * multiple


def _mlp_width(arch: Architecture, shape: Architecture, multiple: int) -> int:
    """Return the d_mlp for `shape` (whose own is ignored): nearest to 1.4 f if N'/N allows it, never below f."""
    # N' = rest + per_neuron * d_mlp
    per_neuron = 3 * shape.n_layer * shape.d_model
    rest = shape.with_shape(d_mlp=1).n_params - per_neuron
    n_wanted = GROWTH_RATIO * arch.n_params
    low, high = ((n_wanted * (1 + sign * RATIO_TOLERANCE) - rest) / per_neuron for sign in (-1, 1))
    wish = 1.4 * arch.d_mlp
    centre = min(max(wish, low), high) / multiple
    around = {max(arch.d_mlp, multiple * steps) for steps in (math.floor(centre), math.ceil(centre))}
    fitting = [width for width in around if low <= width <= high]
    if fitting:
        return min(fitting, key=lambda width: abs(width - wish))
    return min(around, key=lambda width: abs(rest + per_neuron * width - n_wanted))
