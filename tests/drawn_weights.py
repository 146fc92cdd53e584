"""Random weights under canonical names, and Hugging Face's LLaMA, which runs them as an independent reference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding

from twostage.common.architecture import Architecture
from twostage.common.canonical import StateDict, canonical_shapes
from twostage.model.checkpoint import save_weights


def random_state(arch: Architecture, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> StateDict:
    """Random weights and gains; embeddings are so small (x^2 near epsilon) that the epsilon of the norms matters."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in canonical_shapes(arch).items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        if len(shape) == 1:
            tensor = 1 + 0.3 * noise
        elif name == "model.embed_tokens.weight":
            tensor = 3e-3 * noise
        elif "o_proj" in name or "down_proj" in name:
            tensor = 1e-2 * noise / shape[1] ** 0.5
        else:
            tensor = 2 * noise / shape[1] ** 0.5
        state[name] = tensor.to(dtype)
    return state


def llama(state: StateDict, arch: Architecture) -> LlamaForCausalLM:
    """Hugging Face's model on the tensors of `state`; the strict load checks that the names are Hugging Face's."""
    dtype = state["lm_head.weight"].dtype
    config = LlamaConfig(
        vocab_size=arch.vocab_size,
        hidden_size=arch.d_model,
        intermediate_size=arch.d_mlp,
        num_hidden_layers=arch.n_layer,
        num_attention_heads=1,
        head_dim=arch.head_dim,
        rms_norm_eps=arch.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": float(arch.rope_base)},
        tie_word_embeddings=False,
        use_cache=False,
        # eager attention takes its softmax in float32
        attn_implementation="sdpa" if dtype == torch.float64 else "eager",
    )
    # Set afterwards, because the constructor refuses widths that are not a multiple of n_head; the model accepts them.
    config.num_attention_heads = config.num_key_value_heads = arch.n_head
    with torch.device("meta"):  # skips the initialisation, which is overwritten
        model = LlamaForCausalLM(config)
    model.model.rotary_emb = LlamaRotaryEmbedding(config)
    if dtype == torch.float64:  # LlamaRMSNorm always computes in float32
        for name, module in list(model.named_modules()):
            if isinstance(module, LlamaRMSNorm):
                model.set_submodule(name, torch.nn.RMSNorm(arch.d_model, eps=arch.norm_eps, dtype=dtype))
    model.load_state_dict(state, strict=True, assign=True)
    return model


def token_ids(arch: Architecture, *, batch: int = 2, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(arch.vocab_size, (batch, arch.context), generator=generator)


def poisoned(folder: Path, arch: Architecture, poison: Callable[[StateDict], object]) -> Path:
    """Save weights as a stage-2 job reads them, changed by `poison`; return the manifest."""
    state = random_state(arch, dtype=torch.float32)
    poison(state)
    save_weights(folder, state, arch, {})
    return folder / "manifest.json"
