"""Model shapes, compared with Table 3 of arXiv 2510.06548 and with Hugging Face's parameter counts."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
from paper_sizes import SIZES, TABLE_3, paper_size
from transformers import LlamaConfig, LlamaForCausalLM

from twostage.common.architecture import Architecture

TINY = Architecture(n_layer=2, d_model=32, n_head=2, head_dim=16, d_mlp=128, vocab_size=50, context=8)


@pytest.mark.parametrize("index", range(len(SIZES)), ids=SIZES)
def test_n_params_is_table_3(index: int) -> None:
    arch = paper_size(index)
    assert arch.n_params == TABLE_3[index][-1]
    assert arch.n_embedding_params == 2 * 32_000 * arch.d_model


# heads that match the width, wider heads (as after width expansion), narrower heads, another MLP width
@pytest.mark.parametrize(
    ("n_head", "head_dim", "d_mlp"), [(2, 16, 128), (4, 12, 128), (1, 8, 128), (2, 16, 88)]
)
def test_counts_are_those_of_the_built_model(n_head: int, head_dim: int, d_mlp: int) -> None:
    arch = TINY.with_shape(n_head=n_head, head_dim=head_dim, d_mlp=d_mlp)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=arch.vocab_size,
            hidden_size=arch.d_model,
            intermediate_size=arch.d_mlp,
            num_hidden_layers=arch.n_layer,
            num_attention_heads=arch.n_head,
            head_dim=arch.head_dim,
            tie_word_embeddings=False,
        )
    )
    assert sum(p.numel() for p in model.parameters()) == arch.n_params + arch.n_embedding_params
    assert model.model.embed_tokens.weight.numel() + model.lm_head.weight.numel() == arch.n_embedding_params


def test_json_round_trip_keeps_every_field() -> None:
    arch = TINY.with_shape(norm_eps=1e-5 * 32 / 44, rope_base=500_000)
    assert Architecture.from_json(arch.to_json()) == arch
    with pytest.raises(TypeError, match="n_heads"):
        Architecture.from_json({**arch.to_json(), "n_heads": 2})
    with pytest.raises(TypeError, match="head_dim"):
        Architecture.from_json({key: value for key, value in arch.to_json().items() if key != "head_dim"})


@pytest.mark.parametrize(
    "key", ["n_layer", "d_model", "n_head", "head_dim", "d_mlp", "vocab_size", "context"]
)
def test_sizes_must_be_positive(key: str) -> None:
    with pytest.raises(ValueError, match=rf"^{key}: 0 must be a positive integer"):
        TINY.with_shape(**{key: 0})


def test_odd_head_dim_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^head_dim: 15 must be even"):
        TINY.with_shape(head_dim=15)


def test_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TINY.n_layer = 3  # type: ignore[misc]


@pytest.mark.parametrize("module", ["twostage.common.architecture", "twostage.methods"])
def test_sizing_models_does_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
