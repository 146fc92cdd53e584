"""Small models to grow, with Hugging Face's LLaMA on the canonical weights as an independent reference."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from drawn_weights import llama, token_ids

from twostage.common.architecture import Architecture
from twostage.common.canonical import StateDict

# d', h', f' of the six sizes of the paper (1.4 d, 1.5 h, 4 d' on multiples of 16), in the order of Table 3
PAPER_WIDTHS = [
    (448, 6, 1792),
    (672, 12, 2688),
    (896, 12, 3584),
    (1168, 12, 4656),
    (1568, 24, 6272),
    (2112, 24, 8416),
]


def tiny(**changes: object) -> Architecture:
    arch = Architecture(n_layer=2, d_model=32, n_head=2, head_dim=16, d_mlp=128, vocab_size=61, context=16)
    return arch.with_shape(**changes)


def logits(state: StateDict, arch: Architecture) -> torch.Tensor:
    with torch.no_grad():
        return llama(state, arch)(token_ids(arch)).logits


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max())


def train(
    state: StateDict, arch: Architecture, batches: Iterator[torch.Tensor], *, lr: float = 1e-3
) -> StateDict:
    model = llama({name: tensor.clone() for name, tensor in state.items()}, arch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.1)
    for tokens in batches:
        optimizer.zero_grad()
        model(tokens, labels=tokens).loss.backward()
        optimizer.step()
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def random_batches(arch: Architecture, n: int) -> Iterator[torch.Tensor]:
    return (token_ids(arch, batch=8, seed=100 + i) for i in range(n))


def assert_no_shared_memory(tensors: list[torch.Tensor]) -> None:
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == len(tensors)
