"""Training tokens per CPU-second of our trainer, compared with a plain PyTorch loop of the same shape in the same process.

    python benchmarks/train.py [--json PATH] [--sizes tiny,d64,15m] [--blocks N] [--profile SIZE]

Blocks of steps alternate (ours, plain, plain, ours ...) on one thread, so that other load slows both equally. The ratio is
the median over pairs of blocks. Both read the same samples from the same `SampleStream`. The start-up time is the CPU time
of a complete training job of one step. `--profile` prints a profile of our step instead.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from twostage.common.architecture import Architecture
from twostage.common.storage import payload_entries, write_manifest
from twostage.corpora.samples import SampleStream, TokenSplit
from twostage.design.schedule import Schedule
from twostage.design.specs import TrainSpec
from twostage.model import megatron_cpu
from twostage.model.build import start_process_group
from twostage.model.checkpoint import to_canonical
from twostage.study import OptimizerRecipe
from twostage.training.trainer import Execution, Trainer

SCRIPT = Path(__file__).parents[1] / "workflow/scripts/train.py"


def shape(n_layer: int, d_model: int, n_head: int, vocab_size: int, context: int) -> Architecture:
    return Architecture(
        n_layer=n_layer,
        d_model=d_model,
        n_head=n_head,
        head_dim=d_model // n_head,
        d_mlp=4 * d_model,
        vocab_size=vocab_size,
        context=context,
    )


#: name: (architecture, samples per step, steps per block)
SIZES = {
    "tiny": (shape(2, 32, 2, 2_048, 128), 8, 20),  # config/tiny.yaml
    "d64": (shape(2, 64, 4, 2_048, 128), 8, 12),
    "15m": (shape(9, 320, 4, 32_000, 256), 2, 1),  # Table 3's smallest model
}


# The plain loop ------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.a, width = a, a.n_head * a.head_dim
        self.qkv = nn.Linear(a.d_model, 3 * width, bias=False)
        self.out = nn.Linear(width, a.d_model, bias=False)
        frequencies = a.rope_base ** (-torch.arange(0, a.head_dim, 2) / a.head_dim)
        angles = torch.arange(a.context)[:, None] * frequencies.repeat(2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def rotate(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, dim=-1)
        return x * self.cos + torch.cat((-right, left), dim=-1) * self.sin

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        heads = self.qkv(x).view(batch, length, 3, self.a.n_head, self.a.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = heads.unbind()
        y = functional.scaled_dot_product_attention(self.rotate(q), self.rotate(k), v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, length, -1))


class Layer(nn.Module):
    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = (nn.RMSNorm(a.d_model, eps=a.norm_eps) for _ in range(2))
        self.attention = Attention(a)
        self.gate_up = nn.Linear(a.d_model, 2 * a.d_mlp, bias=False)
        self.down = nn.Linear(a.d_mlp, a.d_model, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm_1(x))
        gate, up = self.gate_up(self.norm_2(x)).chunk(2, dim=-1)
        return x + self.down(functional.silu(gate) * up)


class Llama(nn.Module):
    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.embedding = nn.Embedding(a.vocab_size, a.d_model)
        self.layers = nn.Sequential(*(Layer(a) for _ in range(a.n_layer)))
        self.norm = nn.RMSNorm(a.d_model, eps=a.norm_eps)
        self.head = nn.Linear(a.d_model, a.vocab_size, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.norm(self.layers(self.embedding(tokens))))
        return logits


def plain_update(state: dict[str, torch.Tensor], spec: TrainSpec) -> Callable[[int, torch.Tensor], float]:
    """Return the update of a model with the same initial weights, written with PyTorch alone."""
    model = Llama(spec.architecture)
    _copy(state, model)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=spec.schedule.peak_lr, betas=(0.9, 0.95), weight_decay=0.1)

    def update(step: int, batch: torch.Tensor) -> float:
        for group in optimizer.param_groups:
            group["lr"] = spec.schedule.rate(step)
        logits = model(batch[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return loss.item()

    return update


@torch.no_grad()
def _copy(state: dict[str, torch.Tensor], model: Llama) -> None:
    model.embedding.weight.copy_(state["model.embed_tokens.weight"])
    model.norm.weight.copy_(state["model.norm.weight"])
    model.head.weight.copy_(state["lm_head.weight"])
    for index, layer in enumerate(model.layers):
        ours = {name.removeprefix(f"model.layers.{index}."): tensor for name, tensor in state.items()}
        layer.attention.qkv.weight.copy_(torch.cat([ours[f"self_attn.{part}_proj.weight"] for part in "qkv"]))
        layer.attention.out.weight.copy_(ours["self_attn.o_proj.weight"])
        layer.gate_up.weight.copy_(torch.cat([ours["mlp.gate_proj.weight"], ours["mlp.up_proj.weight"]]))
        layer.down.weight.copy_(ours["mlp.down_proj.weight"])


# Measuring -----------------------------------------------------------------------------------------------------------


def write_tokens(folder: Path, vocab_size: int, n_tokens: int = 200_000) -> Path:
    """Write Zipf-distributed tokens in Megatron's format, with their manifest; return the folder."""
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    folder.mkdir(parents=True)
    ids = np.minimum(np.random.default_rng(0).zipf(1.3, n_tokens), vocab_size) - 1
    splits = {}
    for split in ("train", "valid"):
        builder = IndexedDatasetBuilder(str(folder / f"{split}.bin"), dtype=np.uint16)
        for document in np.split(ids, 100):
            builder.add_document(document, [len(document)])
        builder.finalize(str(folder / f"{split}.idx"))
        splits[split] = {"documents": 100, "tokens": n_tokens, "bytes": 4 * n_tokens}
    names = [f"{split}.{kind}" for split, kind in itertools.product(splits, ("bin", "idx"))]
    manifest = {"corpus": "zipf", "revision": 1, "vocab_size": vocab_size, "splits": splits}
    write_manifest(folder / "manifest.json", manifest | {"payload": payload_entries(folder, names)})
    return folder


def train_spec(architecture: Architecture, batch_size: int, **changes: Any) -> TrainSpec:
    fields: dict[str, Any] = {
        "architecture": architecture,
        "init_std": (2 / (5 * architecture.d_model)) ** 0.5,
        "recipe": OptimizerRecipe(),
        "schedule": Schedule(peak_lr=1e-3, warmup_steps=10),
        "batch_size": batch_size,
        "mixture": (("zipf", 1),),
        "seed": 0,
        "start_step": 0,
        "stop_step": 10**6,
        "origin": "init",
    }
    return TrainSpec(**fields | changes)


def measure(name: str, folder: Path, blocks: int) -> dict[str, Any]:
    """Return tokens per CPU-second of both loops, and the median ratio over pairs of blocks."""
    architecture, batch_size, steps = SIZES[name]
    spec = train_spec(architecture, batch_size)
    tokens = write_tokens(folder / name, architecture.vocab_size)
    stream = SampleStream([TokenSplit(tokens, "train")], [1], seed=0, context=architecture.context)
    trainer = Trainer(spec, Execution())
    plain = plain_update(to_canonical(trainer.core.state_dict(), architecture), spec)
    done = {"ours": 0, "plain": 0}

    def block(which: str, n_steps: int) -> tuple[float, float]:
        update = trainer.update if which == "ours" else plain
        started, last = time.process_time(), 0.0
        for _ in range(n_steps):
            batch = torch.from_numpy(stream.batch(done[which] * batch_size, batch_size))
            done[which] += 1
            result = update(done[which], batch)
            last = result[0] if isinstance(result, tuple) else result
        return n_steps * batch_size * architecture.context / (time.process_time() - started), last

    first = {which: block(which, 1)[1] for which in ("ours", "plain")}
    if abs(first["ours"] - first["plain"]) > 1e-4:
        raise AssertionError(f"the two loops compute different losses: {first}")
    for which in ("ours", "plain"):
        block(which, steps)  # warm up
    speeds: dict[str, list[float]] = {"ours": [], "plain": []}
    for index in range(blocks):
        for which in ("ours", "plain") if index % 2 == 0 else ("plain", "ours"):
            speeds[which].append(block(which, steps)[0])
    ratios = [ours / other for ours, other in zip(speeds["ours"], speeds["plain"], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return {
        "size": name,
        "ours_tokens_per_cpu_s": statistics.median(speeds["ours"]),
        "plain_tokens_per_cpu_s": statistics.median(speeds["plain"]),
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [low, high],
        "blocks": blocks,
    }


def start_up(folder: Path, repeats: int = 3) -> dict[str, float]:
    """Return CPU-seconds of a complete job of one step (with its checkpoint), and of importing torch alone."""
    architecture, batch_size, _ = SIZES["tiny"]
    spec = train_spec(architecture, batch_size, stop_step=1)
    tokens = write_tokens(folder / "start-up", architecture.vocab_size)

    def cpu_seconds(*command: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    jobs = []
    for index in range(repeats):
        out = ["--out", str(folder / f"out-{index}"), "--rolling", str(folder / f"rolling-{index}")]
        words = [str(SCRIPT), "--spec", spec.canonical(), "--data", str(tokens / "manifest.json"), *out]
        jobs.append(cpu_seconds(*words))
    torch_only = [cpu_seconds("-c", "import torch") for _ in range(repeats)]
    return {
        "one_step_job_cpu_s": statistics.median(jobs),
        "import_torch_cpu_s": statistics.median(torch_only),
    }


def profile(name: str, folder: Path, n_steps: int = 30) -> None:
    """Print the CPU time of our step by PyTorch operator and by Python function."""
    import cProfile
    import pstats

    architecture, batch_size, _ = SIZES[name]
    stream = SampleStream(
        [TokenSplit(write_tokens(folder / name, architecture.vocab_size), "train")],
        [1],
        seed=0,
        context=architecture.context,
    )
    trainer = Trainer(train_spec(architecture, batch_size), Execution())
    steps = itertools.count(1)

    def work() -> None:
        for step in itertools.islice(steps, n_steps):
            trainer.update(step, torch.from_numpy(stream.batch(step * batch_size, batch_size)))

    work()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as operators:
        work()
    print(
        operators.key_averages().table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=45)
    )
    functions = cProfile.Profile()
    functions.runcall(work)
    pstats.Stats(functions).sort_stats("tottime").print_stats(25)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default=",".join(SIZES), help="comma-separated names")
    parser.add_argument("--blocks", type=int, default=21, help="pairs of blocks per size")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--profile", choices=SIZES, help="profile our loop at this size instead")
    args = parser.parse_args()
    torch.set_num_threads(1)
    megatron_cpu.prepare("cpu")
    start_process_group("cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.profile:
            profile(args.profile, folder)
            return
        rows = [measure(size, folder, args.blocks) for size in args.sizes.split(",")]
        start = start_up(folder)
    print(
        f"{'size':6} {'ours':>10} {'plain':>10} {'ratio':>6}  quartiles    (tokens per CPU-second, 1 thread)"
    )
    for row in rows:
        low, high = row["ratio_quartiles"]
        speeds = f"{row['ours_tokens_per_cpu_s']:10.0f} {row['plain_tokens_per_cpu_s']:10.0f}"
        print(f"{row['size']:6} {speeds} {row['ratio']:6.3f}  {low:.3f}-{high:.3f}")
    print(
        f"start-up: a job of one step takes {start['one_step_job_cpu_s']:.2f} CPU-s (target 5), importing torch alone "
        f"{start['import_torch_cpu_s']:.2f}"
    )
    if args.json:
        args.json.write_text(json.dumps({"training": rows, "start_up": start}, indent=1) + "\n")


if __name__ == "__main__":
    main()
