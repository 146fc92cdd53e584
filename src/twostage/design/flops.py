"""The cost of a model and its training: parameters, FLOPs, GPU-hours and bytes.

Arithmetic without torch. `planning.plan` adds up the jobs of a study. A multiplication and an addition count as two
FLOPs. Norms, activations, rotary position embeddings, softmax and the optimizer are not counted, as is usual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from twostage.common.architecture import Architecture

Attention = Literal["causal", "full"]

# A backward pass needs two products per matrix: one for the gradient of its input, one for that of its weight.
_BACKWARD = 2
SECONDS_PER_HOUR = 3600
#: Bytes per parameter of a training state: weights and the optimizer's two moments, float32 (`model.checkpoint`).
STATE_BYTES_PER_PARAMETER = 12
WEIGHT_BYTES_PER_PARAMETER = 4
# Overhead of the file formats per tensor, measured on files of this library. safetensors: name, shape and offsets in
# the header. Training state: a zip archive and an entry in the metadata.
_SAFETENSORS_HEADER_BYTES = 105
_STATE_TENSOR_BYTES = 2340
#: Megatron stores token ids in two bytes for vocabularies below this size (`tokens.token_dtype`).
_TWO_BYTE_VOCAB = 65_500

#: Assumed bytes of text per token before a corpus is tokenised. Our choice: between a small byte-level BPE on code and
#: a vocabulary of 32,000 on prose. `twostage plan --bytes-per-token` overrides it.
ASSUMED_BYTES_PER_TOKEN = 4.0


def total_parameters(architecture: Architecture) -> int:
    """Return the number of all parameters, including the embedding and the output head."""
    return architecture.n_params + architecture.n_embedding_params


def forward_flops_per_token(architecture: Architecture, *, attention: Attention = "causal") -> int:
    """Return the FLOPs of one token's forward pass, including attention scores and the output layer.

    Args:
        attention: "causal" counts the (context + 1) / 2 positions that a token attends to on average, as a causal
            kernel computes. "full" counts all `context` positions, including masked ones, as most published
            utilisations do.
    """
    a = architecture
    width = a.n_head * a.head_dim
    projections = 2 * 4 * a.d_model * width
    mlp = 2 * 3 * a.d_model * a.d_mlp
    # Scores and weighted values: 2 FLOPs each per element of `width` and position. Doubled, so that it is an integer.
    positions_doubled = a.context + 1 if attention == "causal" else 2 * a.context
    scores = 2 * width * positions_doubled
    return a.n_layer * (projections + mlp + scores) + 2 * a.vocab_size * a.d_model


def flops_per_token(architecture: Architecture, *, attention: Attention = "causal") -> int:
    """Return the FLOPs of training on one token: forward and backward pass, without activation recomputation."""
    return (1 + _BACKWARD) * forward_flops_per_token(architecture, attention=attention)


def flops_6nd(n_params: float, tokens: float) -> float:
    """Return 6 N D, with the paper's non-embedding N (appendix B.4)."""
    return 6 * n_params * tokens


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Speed and price of a GPU.

    Attributes:
        peak_tflops: dense peak in the training precision, TFLOP/s.
        utilisation: model FLOPs utilisation, as a fraction of the peak.
        price: USD per GPU-hour.
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
                f"utilisation: {self.utilisation} is a fraction of the peak; it must be above 0 and at most 1, e.g. 0.4"
            )

    @property
    def tflops(self) -> float:
        """Model TFLOP/s that a GPU reaches."""
        return self.peak_tflops * self.utilisation

    def gpu_hours(self, flops: float) -> float:
        """Return the GPU-hours that `flops` model FLOPs take."""
        return flops / (self.tflops * 1e12) / SECONDS_PER_HOUR


def weights_bytes(architecture: Architecture) -> int:
    """Return the bytes of a weights-only checkpoint (decay branches, grown models): float32 safetensors."""
    tensors = 3 + 9 * architecture.n_layer  # q, k, v, o, gate, up, down and two norms in each layer
    return WEIGHT_BYTES_PER_PARAMETER * total_parameters(architecture) + _SAFETENSORS_HEADER_BYTES * tensors


def training_state_bytes(architecture: Architecture) -> int:
    """Return the bytes of a training state (trunk segments, rolling state): weights and two moments, float32."""
    tensors = 3 * (3 + 6 * architecture.n_layer)  # q, k, v are one tensor here, and so are gate and up
    return STATE_BYTES_PER_PARAMETER * total_parameters(architecture) + _STATE_TENSOR_BYTES * tensors


def bytes_per_token(vocab_size: int) -> int:
    """Return the bytes of one token on disk."""
    return 2 if vocab_size < _TWO_BYTE_VOCAB else 4
