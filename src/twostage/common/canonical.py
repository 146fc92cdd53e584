"""Canonical names and shapes of a model's weights: those of Hugging Face's LLaMA, one tensor per projection.

Growth and export use this form only. `checkpoint.py` converts it to and from Megatron's layout, in which some projections are
fused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from twostage.common.architecture import Architecture

if TYPE_CHECKING:
    import torch

StateDict = dict[str, "torch.Tensor"]
"""Tensors by canonical name, see `canonical_shapes`."""

EMBEDDING = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"
HEAD = "lm_head.weight"

LAYER_AXES: dict[str, tuple[str, ...]] = {
    "input_layernorm.weight": ("residual",),
    "self_attn.q_proj.weight": ("heads", "residual"),
    "self_attn.k_proj.weight": ("heads", "residual"),
    "self_attn.v_proj.weight": ("heads", "residual"),
    "self_attn.o_proj.weight": ("residual", "heads"),
    "post_attention_layernorm.weight": ("residual",),
    "mlp.gate_proj.weight": ("neurons", "residual"),
    "mlp.up_proj.weight": ("neurons", "residual"),
    "mlp.down_proj.weight": ("residual", "neurons"),
}
"""Axes (rows, columns) of the tensors of one layer. The axis `heads` has n_head * head_dim entries."""

_LAYER_KEY = re.compile(r"model\.layers\.(0|[1-9]\d*)\.(.+)")


def layer_name(layer: int, stem: str) -> str:
    """Return the canonical name of tensor `stem` (a key of `LAYER_AXES`) of layer `layer`."""
    return f"model.layers.{layer}.{stem}"


def parse_name(name: str) -> tuple[int | None, str]:
    """Split a canonical name into (layer, stem). The layer is None for embedding, final norm and head."""
    match = _LAYER_KEY.fullmatch(name)
    return (int(match[1]), match[2]) if match else (None, name)


def canonical_axes(n_layer: int) -> dict[str, tuple[str, ...]]:
    """Return the axes of every tensor by canonical name, in the order of the forward pass."""
    return {
        EMBEDDING: ("vocabulary", "residual"),
        **{layer_name(i, stem): axes for i in range(n_layer) for stem, axes in LAYER_AXES.items()},
        FINAL_NORM: ("residual",),
        HEAD: ("vocabulary", "residual"),
    }


def canonical_shapes(arch: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor by canonical name, in the order of the forward pass."""
    size = {
        "vocabulary": arch.vocab_size,
        "residual": arch.d_model,
        "heads": arch.n_head * arch.head_dim,
        "neurons": arch.d_mlp,
    }
    return {name: tuple(size[axis] for axis in axes) for name, axes in canonical_axes(arch.n_layer).items()}


def check_names(state: Mapping[str, torch.Tensor], n_layer: int) -> None:
    """Check that the keys of `state` are those of a model with `n_layer` layers.

    Raises:
        ValueError: a key is missing or unknown; the message has the first one.
    """
    expected = canonical_axes(n_layer)
    missing = [name for name in expected if name not in state]
    if missing:
        raise ValueError(
            f"{missing[0]}: missing from the state dict ({len(missing)} missing for n_layer {n_layer}); pass all "
            "weights under their canonical names (not fused, embedding and head not tied)"
        )
    unknown = [name for name in state if name not in expected]
    if unknown:
        raise ValueError(
            f"{unknown[0]}: not a weight of a model with n_layer {n_layer} ({len(unknown)} unknown in total); remove "
            "it, or pass the architecture of the checkpoint"
        )


def check_state(state: Mapping[str, torch.Tensor], arch: Architecture) -> None:
    """Check that `state` has exactly the weights of `arch`.

    Raises:
        ValueError: a key is missing or unknown, a shape differs, or a tensor is not of a floating-point type; the
            message has the key.
    """
    check_names(state, arch.n_layer)
    for name, shape in canonical_shapes(arch).items():
        if tuple(state[name].shape) != shape:
            raise ValueError(
                f"{name}: shape {list(state[name].shape)} but the architecture has {list(shape)}; pass the "
                "architecture of the checkpoint"
            )
        if not state[name].is_floating_point():
            raise ValueError(
                f"{name}: {state[name].dtype} is not a floating-point type; convert the weights first"
            )
