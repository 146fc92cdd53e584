"""What a model and a training cost: parameters, FLOPs, GPU-hours and bytes, before anything runs.

Pure arithmetic without torch. What a study's jobs add up to is `plan.py`'s job. FLOPs count a multiply and an add as
two; norms, activations, rotary positions, softmax and the optimizer are left out, as is usual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from twostage.common.architecture import Architecture

Attention = Literal["causal", "full"]

# A backward pass multiplies each matrix twice: for the gradient of its input and for that of its weight.
_BACKWARD = 2
SECONDS_PER_HOUR = 3600
#: Bytes per parameter of a training state: weights and the optimizer's two moments, float32 (`checkpoint.py`).
STATE_BYTES_PER_PARAMETER = 12
WEIGHT_BYTES_PER_PARAMETER = 4
# What formats add, measured on this library's own files: a name, shape and offsets in the header of a safetensors
# file; a zip archive and an entry of the metadata for every stored tensor of a training state.
_SAFETENSORS_HEADER_BYTES = 105
_STATE_TENSOR_BYTES = 2340
#: Megatron stores ids of vocabularies below this in two bytes (`tokens.token_dtype`).
_TWO_BYTE_VOCAB = 65_500

#: Bytes of text per token where nothing was tokenised yet. Our choice: between a small byte-level BPE on code and a
#: vocabulary of 32,000 on prose; `twostage plan --bytes-per-token` replaces it.
ASSUMED_BYTES_PER_TOKEN = 4.0


def total_parameters(architecture: Architecture) -> int:
    """Return all parameters, embedding and output head included."""
    return architecture.n_params + architecture.n_embedding_params


def forward_flops_per_token(architecture: Architecture, *, attention: Attention = "causal") -> int:
    """Return the FLOPs of one token's forward pass: every matrix product, attention scores and output layer included.

    `attention`: "causal" counts the (context + 1) / 2 positions that a token sees on average, which is what the
    mathematics needs and a causal kernel does; "full" counts all `context` positions, masked ones included, the
    convention of most published utilisations.
    """
    a = architecture
    width = a.n_head * a.head_dim
    projections = 2 * 4 * a.d_model * width
    mlp = 2 * 3 * a.d_model * a.d_mlp
    # Scores and weighted values, 2 FLOPs for each of `width` numbers and position seen; 2 (context + 1) / 2 is whole.
    positions_doubled = a.context + 1 if attention == "causal" else 2 * a.context
    scores = 2 * width * positions_doubled
    return a.n_layer * (projections + mlp + scores) + 2 * a.vocab_size * a.d_model


def flops_per_token(architecture: Architecture, *, attention: Attention = "causal") -> int:
    """Return the FLOPs of training on one token: forward and backward, nothing recomputed."""
    return (1 + _BACKWARD) * forward_flops_per_token(architecture, attention=attention)


def flops_6nd(n_params: float, tokens: float) -> float:
    """Return 6 N D, with the paper's non-embedding N (appendix B.4)."""
    return 6 * n_params * tokens


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A GPU as the bill sees it.

    Attributes:
        peak_tflops: dense peak in the training precision, TFLOP/s.
        utilisation: share of it that the model's own FLOPs reach.
        price: per GPU-hour, USD.
    """

    peak_tflops: float
    utilisation: float
    price: float

    def __post_init__(self) -> None:
        for key in ("peak_tflops", "price"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key}: {getattr(self, key)} must be positive")
        if not 0 < self.utilisation <= 1:
            raise ValueError(
                f"utilisation: {self.utilisation} is a share of the peak, above 0 and at most 1, e.g. 0.4"
            )

    @property
    def tflops(self) -> float:
        """Model TFLOP/s that a GPU delivers."""
        return self.peak_tflops * self.utilisation

    def gpu_hours(self, flops: float) -> float:
        """Return the GPU-hours of so many model FLOPs."""
        return flops / (self.tflops * 1e12) / SECONDS_PER_HOUR

    def cost(self, flops: float) -> float:
        """Return their price in USD."""
        return self.gpu_hours(flops) * self.price


def weights_bytes(architecture: Architecture) -> int:
    """Return the size of a weights-only checkpoint (decay branches, grown models): float32 safetensors."""
    tensors = 3 + 9 * architecture.n_layer  # q, k, v, o, gate, up, down and two norms in each layer
    return WEIGHT_BYTES_PER_PARAMETER * total_parameters(architecture) + _SAFETENSORS_HEADER_BYTES * tensors


def training_state_bytes(architecture: Architecture) -> int:
    """Return the size of a training state (trunk segments, rolling state): weights and two moments, float32."""
    tensors = 3 * (3 + 6 * architecture.n_layer)  # q, k, v and gate, up are fused here
    return STATE_BYTES_PER_PARAMETER * total_parameters(architecture) + _STATE_TENSOR_BYTES * tensors


def bytes_per_token(vocab_size: int) -> int:
    """Return how many bytes a token takes on disk."""
    return 2 if vocab_size < _TWO_BYTE_VOCAB else 4
