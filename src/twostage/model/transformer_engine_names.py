"""Names of a model's weights under transformer-engine's layer spec, to and from Megatron's local spec.

transformer-engine fuses each RMSNorm into the linear layer behind it and keeps scaling factors as `_extra_state`, of
which bf16 has none. Pure functions on state dicts: no weight changes, and checkpoints on disk know one naming only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

# Stem under the local spec, and under get_gpt_layer_with_transformer_engine_spec (megatron-core 0.16.1, whose own
# sharded_state_dict_keys_map of the local spec pairs the same names).
_FUSED = {
    "input_layernorm.weight": "self_attention.linear_qkv.layer_norm_weight",
    "pre_mlp_layernorm.weight": "mlp.linear_fc1.layer_norm_weight",
}
_STEMS = {fused: local for local, fused in _FUSED.items()}
_LAYER = re.compile(r"(decoder\.layers\.\d+\.)(.+)")


def is_fused(names: Iterable[str]) -> bool:
    """Tell whether these are the names of a model with transformer-engine's layers."""
    return any(name.endswith(tuple(_STEMS)) for name in names)


def local_name(name: str) -> str:
    """Return the local spec's name of a weight; names that both specs share are returned as they are."""
    return _renamed(name, _STEMS)


def from_local(state: Mapping[str, Any]) -> dict[str, Any]:
    """Rename a local-spec state dict for a model with transformer-engine's layers; the inverse of `to_local`.

    `_extra_state` entries are left out: the model keeps its own, which hold nothing in bf16.
    """
    return {_renamed(name, _FUSED): value for name, value in state.items() if not _is_extra(name)}


def to_local(state: Mapping[str, Any]) -> dict[str, Any]:
    """Rename a state dict of either spec to the local one, without `_extra_state` entries."""
    return {local_name(name): value for name, value in state.items() if not _is_extra(name)}


def _renamed(name: str, stems: Mapping[str, str]) -> str:
    match = _LAYER.fullmatch(name)
    return match[1] + stems.get(match[2], match[2]) if match else name


def _is_extra(name: str) -> bool:
    return name.rpartition(".")[2].startswith("_extra_state")
