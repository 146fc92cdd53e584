"""Shapes of grown models: which architecture stacking or width expansion leads to.

Pure arithmetic without torch, so that the workflow can size grown models while it parses the DAG. Growing weights is
`growth.py`'s job.
"""

from __future__ import annotations

import math

from twostage.study.architecture import Architecture

GROWTH_RATIO = 2
"""N'/N that width expansion aims at (the paper, footnote 4: sqrt(2) in width doubles N)."""

RATIO_TOLERANCE = 0.01
"""Accepted relative distance of N'/N from `GROWTH_RATIO`."""

# Our choice: widths are multiples of 16 (GPU tiles) where the model is large enough for that, else of the coarsest
# smaller power of two.
_MULTIPLES = (16, 8, 4, 2, 1)


def stacked_architecture(arch: Architecture, factor: int) -> Architecture:
    """Return the shape of `arch` with its layers stacked `factor` times (C.5 of arXiv 2510.06548).

    Raises:
        ValueError: `factor` is not a positive integer.
    """
    check_factor(factor)
    return arch.with_shape(n_layer=arch.n_layer * factor)


def expanded_architecture(
    arch: Architecture, *, d_model: int | None = None, n_head: int | None = None, d_mlp: int | None = None
) -> Architecture:
    """Return the width-expanded shape of `arch`: N doubles to within 1 %, depth and `head_dim` stay.

    The paper only says that the hidden dimension grows by sqrt(2). Our choice: d' = 1.4 d, h' = 1.5 h (rounded up) and
    f' = 1.4 f, with which N'/N = 1.995 (sqrt(2) instead of 1.4 would give 2.03). d' is the multiple of 16 nearest to
    1.4 d, and f' the multiple of 16 nearest to 1.4 f among those that keep N'/N within 1 % of 2. Where no such shape
    exists, multiples of 8, 4, 2 and 1 are tried in turn. If none fits, as in tiny models, the shape with N' nearest to
    2 N is returned: `n_params` of the two architectures tells the ratio.

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


def check_factor(factor: int) -> None:
    """Raise `ValueError` unless `factor` is a positive integer."""
    if not isinstance(factor, int) or isinstance(factor, bool) or factor < 1:
        raise ValueError(
            f"factor: {factor!r} must be a positive integer, the number of times the layers are stacked"
        )


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
