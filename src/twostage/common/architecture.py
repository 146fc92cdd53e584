"""The shape of one LLaMA-like model: all that is needed to rebuild the network of a checkpoint.

Does not import torch, so that the workflow can compute model sizes while it builds the DAG. `model.build` builds the
network; `design.flops` counts FLOPs and bytes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A decoder-only transformer with RMSNorm, SwiGLU, rotary positions, untied embeddings and no biases.

    Attributes:
        n_layer, d_model, n_head, head_dim, d_mlp: shape; `n_head * head_dim` can differ from `d_model`
            (width expansion keeps `head_dim`).
        vocab_size: rows of the embedding and of the output head, without padding.
        context: tokens per training sample.
        norm_eps: epsilon of every RMSNorm (width expansion rescales it).
        rope_base: base of the rotary frequencies.
    """

    n_layer: int
    d_model: int
    n_head: int
    head_dim: int
    d_mlp: int
    vocab_size: int
    context: int
    norm_eps: float = 1e-5
    rope_base: int = 10_000

    def __post_init__(self) -> None:
        for key in ("n_layer", "d_model", "n_head", "head_dim", "d_mlp", "vocab_size", "context"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key}: {getattr(self, key)} must be a positive integer")
        if self.head_dim % 2:
            raise ValueError(
                f"head_dim: {self.head_dim} must be even (rotary position embeddings rotate pairs of dimensions)"
            )

    @property
    def n_params(self) -> int:
        """Non-embedding parameters N (equal to Table 3 of the paper for d_mlp = 4 d_model)."""
        attention = 4 * self.d_model * self.n_head * self.head_dim
        mlp = 3 * self.d_model * self.d_mlp
        norms = 2 * self.d_model
        return self.n_layer * (attention + mlp + norms) + self.d_model

    @property
    def n_embedding_params(self) -> int:
        """Parameters of the (untied) embedding and output head."""
        return 2 * self.vocab_size * self.d_model

    def with_shape(self, **changes: Any) -> Architecture:
        """Return a copy with some fields changed."""
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Architecture:
        """Create from the fields of `to_json`. Unknown or missing keys raise `TypeError`."""
        return cls(**fields)
