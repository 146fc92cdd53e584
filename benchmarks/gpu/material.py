"""Model sizes, tokens, specs and reference training loops of the GPU benchmark."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import train as cpu_benchmark  # benchmarks/train.py: its plain model and its token files
from torch import nn

from twostage.common.architecture import Architecture
from twostage.design.specs import TrainSpec
from twostage.study import OptimizerRecipe

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "workflow/scripts"


@dataclass(frozen=True)
class Size:
    """A model with its batch: samples per update of one GPU, and samples per forward pass."""

    architecture: Architecture
    batch: int
    micro_batch: int
    packs: bool = False  # too small to fill a GPU


def _size(
    n_layer: int, d_model: int, n_head: int, batch: int, micro_batch: int, *, packs: bool = False
) -> Size:
    shape = cpu_benchmark.shape(n_layer, d_model, n_head, 32_000, 1024)
    return Size(shape, batch, micro_batch, packs)


#: The paper's six sizes (Table 3, context and vocabulary of Table 4). Batch: as in Table 5, but at most 128 samples per GPU,
#: as in data-parallel training. Micro-batches are our choice for 80 GB.
SIZES = {
    "tiny": Size(cpu_benchmark.shape(2, 32, 2, 512, 64), 8, 4, packs=True),
    "15M": _size(9, 320, 4, 128, 64, packs=True),
    "44M": _size(12, 480, 8, 128, 64, packs=True),
    "0.1B": _size(15, 640, 8, 128, 32),
    "0.2B": _size(21, 832, 8, 128, 32),
    "0.5B": _size(26, 1120, 16, 128, 16),
    "1B": _size(26, 1504, 16, 128, 16),
}


@dataclass(frozen=True)
class Setting:
    """Where and how long the benchmark runs."""

    device: str
    quick: bool

    @property
    def precision(self) -> str:
        """Precision of complete jobs; a CPU trains in fp32 only."""
        return "bf16" if self.device == "cuda" else "fp32"


def spec(
    size: Size, *, precision: str, attention: str = "sdpa", mixture: str = "zipf", **changes: Any
) -> TrainSpec:
    recipe = OptimizerRecipe(precision=precision)
    return cpu_benchmark.train_spec(
        size.architecture,
        size.batch,
        recipe=recipe,
        attention=(attention,),
        mixture=((mixture, 1),),
        **changes,
    )


def tokens(folder: Path, size: Size) -> Path:
    """Write Zipf-distributed tokens, enough for a few batches without repetition; return their folder."""
    target = folder / "tokens"
    if not target.is_dir():
        n_tokens = max(200_000, 4 * size.batch * size.architecture.context)
        cpu_benchmark.write_tokens(target, size.architecture.vocab_size, n_tokens - n_tokens % 100)
    return target


def batches(size: Size, device: str, seed: int = 0) -> Iterator[torch.Tensor]:
    """Yield batches [samples, context + 1] without end. A token is often followed by its successor, so models can learn."""
    a, draw = size.architecture, np.random.default_rng(seed)
    while True:
        start = draw.integers(a.vocab_size, size=(size.batch, 1))
        jumps = np.where(
            draw.random((size.batch, a.context)) < 0.75, 1, draw.integers(17, size=(size.batch, a.context))
        )
        ids = np.concatenate([start, start + jumps.cumsum(1)], axis=1) % a.vocab_size
        yield torch.from_numpy(ids).to(device)


@contextlib.contextmanager
def mixed_precision_allowed(device: str) -> Iterator[None]:
    """Let Megatron's mixed-precision optimizer use CPU tensors in a dry run; no effect on CUDA."""
    if device == "cuda":
        yield
        return
    from gpu_classes import on_cpu

    with on_cpu():
        yield


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


Update = Callable[[torch.Tensor], Any]


def plain_loop(size: Size, device: str) -> Update:
    """Return the update of a compiled plain PyTorch loop: fp32 weights, bf16 autocast, SDPA, fused AdamW."""
    torch.manual_seed(0)
    model = cpu_benchmark.Llama(size.architecture).to(device)
    # A dry run does not compile for the CPU, which would take most of its time.
    compiled = torch.compile(model, backend="inductor" if device == "cuda" else "eager")

    def loss_of(part: torch.Tensor) -> torch.Tensor:
        logits = compiled(part[:, :-1])
        return nn.functional.cross_entropy(logits.flatten(0, 1).float(), part[:, 1:].flatten())

    return _update(model, loss_of, size, device)


def transformers_loop(size: Size, device: str) -> Update:
    """Return the update of Hugging Face's LlamaForCausalLM of the same shape, not compiled."""
    from transformers import LlamaConfig, LlamaForCausalLM

    a = size.architecture
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=a.vocab_size,
        hidden_size=a.d_model,
        intermediate_size=a.d_mlp,
        num_hidden_layers=a.n_layer,
        num_attention_heads=a.n_head,
        head_dim=a.head_dim,
        max_position_embeddings=a.context,
        rms_norm_eps=a.norm_eps,
        tie_word_embeddings=False,
        attn_implementation="sdpa",
        use_cache=False,
    )
    model = LlamaForCausalLM(config).to(device)

    def loss_of(part: torch.Tensor) -> torch.Tensor:
        logits = model(part[:, :-1]).logits
        return nn.functional.cross_entropy(logits.flatten(0, 1).float(), part[:, 1:].flatten())

    return _update(model, loss_of, size, device)


def _update(model: nn.Module, loss_of: Update, size: Size, device: str) -> Update:
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=device == "cuda"
    )

    def update(batch: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        parts = batch.split(size.micro_batch)
        losses = []
        for part in parts:
            with torch.autocast(device, torch.bfloat16):
                loss = loss_of(part) / len(parts)
            loss.backward()
            losses.append(loss.detach())
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return torch.stack(losses).sum()

    return update
