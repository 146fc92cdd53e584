"""Converts a model's architecture to Hugging Face's `config.json`, and back. Needs neither torch nor transformers.

Models are written as LLaMA where possible. `LlamaConfig` rejects a width that is not a multiple of the number of heads, which
occurs after width expansion. Such models are written as Mistral without a sliding window, which is the same network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twostage.common.architecture import Architecture
from twostage.common.errors import UserError

_CLASSES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM"}

# Keys whose value is fixed for our models. For each key, the equivalent values; the first is the one in error messages.
_FIXED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", None),
    "tie_word_embeddings": (False,),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "partial_rotary_factor": (1.0, None),
    "quantization_config": (None,),
}
_SHAPE = {
    "n_layer": "num_hidden_layers",
    "d_model": "hidden_size",
    "n_head": "num_attention_heads",
    "d_mlp": "intermediate_size",
    "vocab_size": "vocab_size",
}


def layout(architecture: Architecture) -> str:
    """Return the Hugging Face model type for an architecture: `llama`, or `mistral` if LLaMA's config rejects the width."""
    return "mistral" if architecture.d_model % architecture.n_head else "llama"


def to_hf_config(architecture: Architecture, *, end_id: int) -> dict[str, Any]:
    """Return the content of `config.json`. `end_id` is the id of the token that begins and ends a document."""
    a = architecture
    kind = layout(a)
    own = {"sliding_window": None} if kind == "mistral" else {"attention_bias": False, "mlp_bias": False}
    return {
        "architectures": [_CLASSES[kind]],
        "model_type": kind,
        **{theirs: getattr(a, ours) for ours, theirs in _SHAPE.items()},
        "num_key_value_heads": a.n_head,
        "head_dim": a.head_dim,
        "max_position_embeddings": a.context,
        "rms_norm_eps": a.norm_eps,
        # transformers 5 reads the first of these two keys, transformers 4 the second.
        "rope_parameters": {"rope_type": "default", "rope_theta": float(a.rope_base)},
        "rope_theta": float(a.rope_base),
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "attention_dropout": 0.0,
        "bos_token_id": end_id,
        "eos_token_id": end_id,
        "dtype": "float32",
        **own,
    }


def from_hf_config(config: Mapping[str, Any], *, where: str, context: int | None = None) -> Architecture:
    """Return the architecture of a `config.json`.

    Args:
        config: content of the file.
        where: name of the file, for error messages.
        context: tokens per training sample; None: `max_position_embeddings`.

    Raises:
        UserError: the model is not supported; the message has the key and its value.
    """

    def refuse(key: str, value: Any, needed: str) -> UserError:
        return UserError(
            f"{where}: {key} is {value!r}, {needed} is needed; only LLaMA or Mistral models with full multi-head "
            "attention, untied embeddings, no biases and plain rotary positions can be imported"
        )

    if config.get("model_type") not in _CLASSES:
        raise refuse("model_type", config.get("model_type"), "'llama' or 'mistral'")
    for key in (*_SHAPE.values(), "rms_norm_eps", "max_position_embeddings"):
        if key not in config:
            raise UserError(f"{where}: {key} is missing; use the complete config.json of the model")
    for key, same in _FIXED.items():
        value = config.get(key, same[0])
        if value not in same:
            raise refuse(key, value, repr(same[0]))
    heads, key_values = config["num_attention_heads"], config.get("num_key_value_heads")
    if config["model_type"] == "mistral" and "num_key_value_heads" not in config:
        key_values = 8  # the default of MistralConfig
    if key_values not in (None, heads):
        raise refuse("num_key_value_heads", key_values, f"num_attention_heads = {heads}")
    length = config["max_position_embeddings"] if context is None else context
    window = config.get("sliding_window", 4096 if config["model_type"] == "mistral" else None)
    if window is not None and window < length:
        raise refuse("sliding_window", window, f"null or at least the context of {length}")
    return Architecture(
        **{ours: config[theirs] for ours, theirs in _SHAPE.items()},
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        context=length,
        norm_eps=float(config["rms_norm_eps"]),
        rope_base=_rope_base(config, refuse),
    )


def _rope_base(config: Mapping[str, Any], refuse: Any) -> int:
    for key in ("rope_parameters", "rope_scaling"):
        rope = config.get(key) or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise refuse(f"{key}.rope_type", kind, "'default'")
        if rope.get("partial_rotary_factor", 1.0) != 1.0:
            raise refuse(f"{key}.partial_rotary_factor", rope["partial_rotary_factor"], "1.0")
    base = (config.get("rope_parameters") or {}).get("rope_theta", config.get("rope_theta", 10_000.0))
    if base != int(base):
        raise refuse("rope_theta", base, "an integer")
    return int(base)
