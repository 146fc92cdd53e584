"""Speed measurements of the GPU benchmark: tokens per second, utilisation, memory, parts of an update, packing, checkpoints."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from material import (
    SIZES,
    Setting,
    Size,
    Update,
    batches,
    mixed_precision_allowed,
    plain_loop,
    spec,
    synchronize,
    transformers_loop,
)

from twostage.common import attention
from twostage.common.errors import UserError
from twostage.design.flops import flops_per_token
from twostage.model import checkpoint
from twostage.model.build import start_process_group
from twostage.training import state as training_state
from twostage.training.trainer import Execution, Trainer, fetch

DEFAULT_INTERVAL_S = Execution().save_every_s


def ours(
    size: Size, setting: Setting, *, backend: str = "sdpa", compile: bool = False
) -> tuple[Trainer, Update]:
    """Return our trainer in bf16, and its update, which does not wait for the loss."""
    execution = Execution(device=setting.device, micro_batch=size.micro_batch, compile=compile)
    trainer = Trainer(spec(size, precision="bf16", attention=backend), execution)
    step = iter(range(1, 10**9))
    return trainer, lambda batch: trainer.launch(next(step), batch).loss


def timed(update: Update, data: list[torch.Tensor], steps: int, device: str) -> float:
    """Return seconds per update; the device is synchronized before and after."""
    synchronize(device)
    started = time.perf_counter()
    for index in range(steps):
        update(data[index % len(data)])
    synchronize(device)
    return (time.perf_counter() - started) / steps


def peak_bytes(device: str) -> int | None:
    return torch.cuda.max_memory_allocated() if device == "cuda" else None


def one_size(name: str, setting: Setting, peak_tflops: float | None) -> dict[str, Any]:
    """Measure one size: our loop and the others, in alternating blocks in this process."""
    size, device = SIZES[name], setting.device
    start_process_group(device)
    data = [batch for batch, _ in zip(batches(size, device), range(4), strict=False)]
    tokens = size.batch * size.architecture.context
    steps, blocks = (2, 3) if device == "cpu" else (5, 5) if setting.quick else (10, 11)
    row: dict[str, Any] = {
        "size": name,
        "n_params": size.architecture.n_params,
        "batch_samples": size.batch,
        "micro_batch_samples": size.micro_batch,
        "flops_per_token": flops_per_token(size.architecture),
        "variants": {},
    }

    def measure(key: str, make: Callable[[], Update]) -> Update | None:
        """Warm up a loop and record its memory; for a variant that this machine cannot run, record the error."""
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() if device == "cuda" else 0
        try:
            update = make()
            started = time.perf_counter()
            loss = update(data[0])
            synchronize(device)
            first = time.perf_counter() - started
            timed(update, data, steps, device)
        except (UserError, ImportError, RuntimeError, torch.cuda.OutOfMemoryError) as error:
            row["variants"][key] = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
            return None
        peak = peak_bytes(device)
        row["variants"][key] = {
            "first_update_s": first,
            "first_loss": float(loss),
            "peak_memory_bytes": None if peak is None else peak - before,
            "seconds": [],
        }
        return update

    def compiled_ours() -> Update:
        return ours(size, setting, compile=True)[1]

    others = [backend for backend in ("flash", "te") if backend in attention.installed()]
    with mixed_precision_allowed(device):
        trainer, default = ours(size, setting)
        loops: dict[str, Update | None] = {"ours": measure("ours", lambda: default)}
        row["split"] = split(trainer, data, steps, device) if loops["ours"] else None
        loops["plain compiled PyTorch"] = measure("plain compiled PyTorch", lambda: plain_loop(size, device))
        for backend in others:
            loops[f"ours, {backend}"] = measure(
                f"ours, {backend}", lambda backend=backend: ours(size, setting, backend=backend)[1]
            )
        if device == "cuda":
            loops["ours, layers compiled"] = measure("ours, layers compiled", compiled_ours)
        loops["transformers"] = measure("transformers", lambda: transformers_loop(size, device))
        running = {key: update for key, update in loops.items() if update}
        for index in range(blocks):
            for key in list(running) if index % 2 == 0 else list(running)[::-1]:
                row["variants"][key]["seconds"].append(timed(running[key], data, steps, device))
    for key in running:
        found = row["variants"][key]
        seconds = statistics.median(found["seconds"])
        found["tokens_per_s"] = tokens / seconds
        found["tflops"] = row["flops_per_token"] * tokens / seconds / 1e12
        found["mfu"] = found["tflops"] / peak_tflops if peak_tflops else None
        if key != "ours" and "ours" in running:
            pairs = zip(row["variants"]["ours"]["seconds"], found["seconds"], strict=True)
            found["ours_is_faster_by"] = statistics.median(theirs / mine for mine, theirs in pairs)
    return row


def split(trainer: Trainer, data: list[torch.Tensor], steps: int, device: str) -> dict[str, float]:
    """Return the seconds of forward pass, backward pass (with its reduction) and optimizer, from updates without some parts."""

    def forward(batch: torch.Tensor) -> None:
        with torch.no_grad():
            trainer.passes(batch, forward_only=True)

    def forward_backward(batch: torch.Tensor) -> None:
        trainer.model.zero_grad_buffer()
        trainer.optimizer.zero_grad()
        trainer.passes(batch)

    count = iter(range(10_000, 10**9))
    total = timed(lambda batch: trainer.launch(next(count), batch), data, steps, device)
    first, both = timed(forward, data, steps, device), timed(forward_backward, data, steps, device)
    waiting = timed(lambda batch: fetch([trainer.launch(next(count), batch)]), data, steps, device)
    return {
        "update_s": total,
        "forward_s": first,
        "backward_s": both - first,
        "optimizer_s": total - both,
        "waiting_for_each_loss_s": waiting - total,
    }


# Packing -------------------------------------------------------------------------------------------------------------


def solo(name: str, setting: Setting, barrier: Path, jobs: int) -> dict[str, float]:
    """Run one of several concurrent jobs; return its tokens per second after a common start."""
    size, device = SIZES[name], setting.device
    start_process_group(device)
    data = [batch for batch, _ in zip(batches(size, device), range(4), strict=False)]
    with mixed_precision_allowed(device):
        _, update = ours(size, setting)
        timed(update, data, 2 if device == "cpu" else 10, device)
        (barrier / f"ready-{os.getpid()}").touch()
        while len(list(barrier.glob("ready-*"))) < jobs:
            time.sleep(0.01)
        seconds, steps = (2.0 if device == "cpu" else 10.0 if setting.quick else 20.0), 0
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            timed(update, data, 1 if device == "cpu" else 5, device)
            steps += 1 if device == "cpu" else 5
        elapsed = time.perf_counter() - started
    return {"tokens_per_s": steps * size.batch * size.architecture.context / elapsed}


def packing(name: str, setting: Setting, run: list[str]) -> dict[str, Any]:
    """Run 1, 2, 4 and 8 concurrent jobs of a size on one GPU; `run`: command of this script with the common options."""
    found: dict[str, Any] = {
        "size": name,
        "mps": Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")).exists(),
        "jobs": {},
    }
    for jobs in (1, 2) if setting.device == "cpu" else (1, 2, 4, 8):
        with tempfile.TemporaryDirectory() as folder:
            words = [*run, "--part", f"solo:{name}:{folder}:{jobs}"]
            outs = [Path(folder, f"out-{index}.json") for index in range(jobs)]
            processes = [
                subprocess.Popen(
                    [*words, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
                )
                for out in outs
            ]
            errors = [process.communicate()[1] for process in processes]
            if any(process.returncode for process in processes):
                last = next(error for error in errors if error).strip().splitlines()[-1:]
                found["jobs"][jobs] = {"failed": " ".join(last)}
                break
            each = [json.loads(out.read_text())["tokens_per_s"] for out in outs]
        found["jobs"][jobs] = {"tokens_per_s": sum(each), "each": each}
    speeds = {jobs: row["tokens_per_s"] for jobs, row in found["jobs"].items() if "tokens_per_s" in row}
    if 1 in speeds:
        found["best_jobs_per_gpu"] = max(speeds, key=lambda jobs: speeds[jobs])
        found["gain"] = max(speeds.values()) / speeds[1]
    return found


# Checkpoints ---------------------------------------------------------------------------------------------------------


def checkpoint_cost(name: str, setting: Setting) -> dict[str, Any]:
    """Return the time that training pauses for the copy of a rolling state, and the time to write it in the background."""
    size, device = SIZES[name], setting.device
    start_process_group(device)
    with mixed_precision_allowed(device), tempfile.TemporaryDirectory() as folder:
        trainer, update = ours(size, setting)
        update(next(batches(size, device)))
        synchronize(device)
        copies, writes = [], []
        for index in range(3):
            started = time.perf_counter()
            state = training_state.snapshot_of(trainer)
            copied = time.perf_counter()
            checkpoint.write_parts(Path(folder, str(index)), state, size.architecture, {"step": 1})
            copies.append(copied - started)
            writes.append(time.perf_counter() - copied)
        written = sum(path.stat().st_size for path in Path(folder, "0").rglob("*") if path.is_file())
    stall = statistics.median(copies)
    return {
        "size": name,
        "bytes": written,
        "stall_s": stall,
        "write_s": statistics.median(writes),
        "interval_s": DEFAULT_INTERVAL_S,
        "stall_share": stall / DEFAULT_INTERVAL_S,
    }
