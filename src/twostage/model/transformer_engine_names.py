"""Converts names of weights between Megatron's local layer spec and its transformer-engine spec.

transformer-engine fuses each RMSNorm into the linear layer after it, and stores scaling factors as `_extra_state`, which is
empty for bf16. Only names change, not weights. Checkpoints never use these names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

# Name in the local spec -> name in get_gpt_layer_with_transformer_engine_spec (megatron-core 0.16.1; its
# sharded_state_dict_keys_map has the same pairs).
_FUSED = {
    "input_layernorm.weight": "self_attention.linear_qkv.layer_norm_weight",
    "pre_mlp_layernorm.weight": "mlp.linear_fc1.layer_norm_weight",
}
_STEMS = {fused: local for local, fused in _FUSED.items()}
_LAYER = re.compile(r"(decoder\.layers\.\d+\.)(.+)")


def is_fused(names: Iterable[str]) -> bool:
    """Return whether these are the names of a model with transformer-engine's layers."""
    return any(name.endswith(tuple(_STEMS)) for name in names)


def from_local(state: Mapping[str, Any]) -> dict[str, Any]:
    """Rename a state dict of the local spec for a model with transformer-engine's layers; the inverse of `to_local`.

    `_extra_state` entries are left out: the model keeps its own.
    """
    return {_renamed(name, _FUSED): value for name, value in state.items() if not _is_extra(name)}


def to_local(state: Mapping[str, Any]) -> dict[str, Any]:
    """Rename a state dict of either spec to the local spec, without `_extra_state` entries."""
    return {_renamed(name, _STEMS): value for name, value in state.items() if not _is_extra(name)}


def _renamed(name: str, stems: Mapping[str, str]) -> str:
    match = _LAYER.fullmatch(name)
    return match[1] + stems.get(match[2], match[2]) if match else name


def _is_extra(name: str) -> bool:
    return name.rpartition(".")[2].startswith("_extra_state")
