"""Estimates how many samples fit into one forward and backward pass on a GPU, from the model's shape.

The estimate is conservative. It is used if no micro-batch is given; a CPU takes all samples of the rank in one pass. The
micro-batch affects only rounding, and metrics.json records it.
"""

from __future__ import annotations

from twostage.common.architecture import Architecture

#: Fraction of the free memory to use. The rest is for fragmentation, workspaces and the rounding of the allocator.
USABLE = 0.8
#: Bytes per parameter: bfloat16 weight and fp32 gradient, fp32 master weight, two fp32 moments.
STATE_BYTES = 2 + 4 + 4 + 8


def activation_bytes(architecture: Architecture, value_bytes: int = 2) -> int:
    """Return the bytes that one sample keeps for the backward pass, with attention that stores no score matrix.

    Per token and layer: input and output of both norms (4 d), q, k, v and the attention's output (4 n_head head_dim), gate,
    up, the activated gate and their product (4 d_mlp). Per token: the logits, their fp32 copy and its gradient.
    """
    a = architecture
    layer = 4 * (a.d_model + a.n_head * a.head_dim + a.d_mlp)
    logits = a.vocab_size * (value_bytes + 4 + 4)
    return a.context * (a.n_layer * layer * value_bytes + logits)


def fitting_micro_batch(architecture: Architecture, share: int, free_bytes: int) -> int:
    """Return the largest divisor of `share` (samples of the batch per rank) that fits into `free_bytes`.

    The result is at least 1, even if the estimate says that a single sample does not fit.
    """
    state = STATE_BYTES * (architecture.n_params + architecture.n_embedding_params)
    room = USABLE * free_bytes - state
    fits = int(room // activation_bytes(architecture))
    return max(n for n in range(1, share + 1) if share % n == 0 and (n == 1 or n <= fits))
