"""Builds a Megatron `GPTModel`.

The model is LLaMA-like: RMSNorm, SwiGLU, rotary positions, no biases, untied embeddings (paper, B.2). It uses Megatron's local
layer spec with the core attention of a backend, or transformer-engine's layers. `common/attention.py` chooses the backend.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

from twostage.common.architecture import Architecture
from twostage.common.attention import Backend, padded_head_dim
from twostage.model import megatron_cpu
from twostage.model import transformer_engine_names as te_names

if TYPE_CHECKING:
    from megatron.core.models.gpt import GPTModel


def start_process_group(device: str) -> None:
    """Prepare Megatron for `device` and join the process group (of one process if RANK and WORLD_SIZE are not set)."""
    megatron_cpu.prepare(device)
    from megatron.core import parallel_state

    if not torch.distributed.is_initialized():
        backend = "gloo"
        if device == "cuda":
            # Every rank sees all GPUs of its node.
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            # gloo sends Python objects (checkpoint plans, decisions) without use of the GPU's queue.
            backend = "cpu:gloo,cuda:nccl"
        if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
            torch.distributed.init_process_group(backend)
        else:
            # A store in memory: concurrent jobs on one machine would need the same TCP port.
            store = torch.distributed.HashStore()
            torch.distributed.init_process_group(backend, store=store, rank=0, world_size=1)
    if not parallel_state.model_parallel_is_initialized():
        parallel_state.initialize_model_parallel()


def build_model(
    architecture: Architecture,
    *,
    init_std: float,
    scaled_output_init: bool,
    seed: int,
    device: str,
    backend: Backend = "sdpa",
    fused_activation: bool = False,
    fused_loss: bool = False,
) -> GPTModel:
    """Build a model with random initial weights, in float32.

    Weights are always initialised on the CPU, so that they are equal on CPU and GPU. Call `start_process_group` first.

    Args:
        architecture: shape.
        init_std, scaled_output_init, seed: initialisation, see `OptimizerRecipe`.
        device: "cpu" or "cuda".
        backend: attention backend; "te" uses transformer-engine for all layers.
        fused_activation: compute SwiGLU in one kernel, which torch.compile compiles at its first use.
        fused_loss: the same for cross-entropy. Megatron rounds its gradient to bf16, so only for models in bf16.
    """
    config = _transformer_config(architecture, init_std, scaled_output_init)
    config.bias_activation_fusion, config.cross_entropy_loss_fusion = fused_activation, fused_loss
    torch.manual_seed(seed)
    initial = _gpt_model(architecture, config, _local_spec(backend if backend != "te" else "sdpa"))
    if backend != "te":
        return initial.to(device)
    # Initialised by the local spec, so that every backend starts from the same weights.
    model = _gpt_model(architecture, config, _transformer_engine_spec())
    model.load_state_dict(te_names.from_local(initial.state_dict()), strict=False)
    return model.to(device)


def _gpt_model(a: Architecture, config: Any, spec: Any) -> GPTModel:
    from megatron.core.models.gpt import GPTModel

    model: GPTModel = GPTModel(
        config=config,
        transformer_layer_spec=spec,
        vocab_size=a.vocab_size,
        max_sequence_length=a.context,
        share_embeddings_and_output_weights=False,
        position_embedding_type="rope",
        rotary_base=a.rope_base,
    )
    return model


def _transformer_config(a: Architecture, init_std: float, scaled_output_init: bool) -> Any:
    from megatron.core.transformer import TransformerConfig
    from megatron.core.utils import init_method_normal

    return TransformerConfig(
        num_layers=a.n_layer,
        hidden_size=a.d_model,
        num_attention_heads=a.n_head,
        kv_channels=a.head_dim,
        ffn_hidden_size=a.d_mlp,
        normalization="RMSNorm",
        layernorm_epsilon=a.norm_eps,
        gated_linear_unit=True,
        activation_func=torch.nn.functional.silu,
        add_bias_linear=False,
        bias_activation_fusion=False,
        bias_dropout_fusion=False,
        masked_softmax_fusion=False,
        apply_rope_fusion=False,
        cross_entropy_fusion_impl="native",
        gradient_accumulation_fusion=False,
        persist_layer_norm=False,
        attention_dropout=0.0,
        hidden_dropout=0.0,
        init_method_std=init_std,
        output_layer_init_method=None if scaled_output_init else init_method_normal(init_std),
        use_cpu_initialization=True,
        params_dtype=torch.float32,
    )


def _local_spec(backend: Backend) -> Any:
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec

    spec = get_gpt_layer_local_spec(normalization="RMSNorm")
    core = {"sdpa": SdpaCoreAttention, "flash": FlashCoreAttention}[backend]
    spec.submodules.self_attention.submodules.core_attention = core
    return spec


def _transformer_engine_spec() -> Any:
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_with_transformer_engine_spec

    return get_gpt_layer_with_transformer_engine_spec()


class SdpaCoreAttention(torch.nn.Module):
    """Megatron core attention: causal `torch.nn.functional.scaled_dot_product_attention`."""

    def __init__(
        self, config: Any, layer_number: int, attn_mask_type: Any, attention_type: str, **_: Any
    ) -> None:
        super().__init__()

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: Any,
        *_: Any,
        **__: Any,
    ) -> torch.Tensor:
        """Return attention of query, key, value [s, b, h, d] as [s, b, h * d]."""
        q, k, v = (x.permute(1, 2, 0, 3) for x in (query, key, value))
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return out.permute(2, 0, 1, 3).reshape(query.shape[0], query.shape[1], -1)


class FlashCoreAttention(torch.nn.Module):
    """Megatron core attention: causal, by flash-attn's kernels; CUDA and half precision only."""

    def __init__(
        self, config: Any, layer_number: int, attn_mask_type: Any, attention_type: str, **_: Any
    ) -> None:
        super().__init__()
        from flash_attn import flash_attn_func

        self._attend = flash_attn_func

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: Any,
        *_: Any,
        **__: Any,
    ) -> torch.Tensor:
        """Return attention of query, key, value [s, b, h, d] as [s, b, h * d]."""
        head_dim = query.shape[-1]
        # Zero padding of q and k does not change their products, that of v is cut off; the scale uses the real head_dim.
        extra = padded_head_dim(head_dim) - head_dim
        q, k, v = (
            torch.nn.functional.pad(x.transpose(0, 1), (0, extra)) if extra else x.transpose(0, 1)
            for x in (query, key, value)
        )
        out: torch.Tensor = self._attend(
            q,
            k,
            v,
            softmax_scale=head_dim**-0.5,
            causal=True,
            deterministic=torch.are_deterministic_algorithms_enabled(),
        )
        out = out[..., :head_dim]
        return out.transpose(0, 1).reshape(query.shape[0], query.shape[1], -1)
