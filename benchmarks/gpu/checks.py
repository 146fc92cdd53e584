"""Correctness checks of the GPU benchmark. Each returns a value, the largest value that passes, and whether it passed."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from material import SCRIPTS, SIZES, Setting, Size, batches, mixed_precision_allowed, spec, tokens

from twostage.design.specs import GrowSpec, TrainSpec
from twostage.methods.expand import expanded_architecture
from twostage.methods.stack import stacked_architecture
from twostage.model.build import build_model, start_process_group
from twostage.model.checkpoint import load_weights
from twostage.training import state as training_state
from twostage.training.trainer import Execution, Trainer

FORWARD_BAND = 1e-4  # of the largest logit, fp32
FINAL_LOSS_BAND = 2e-3  # bf16 over fp32, relative, mean of the last tenth
CURVE_BAND = 1e-2  # the same at every step after the warmup
RESUME_BAND = 0.0


def result(name: str, value: float, band: float, **more: Any) -> dict[str, Any]:
    # NaN fails the comparison.
    return {"check": name, "value": value, "band": band, "ok": bool(value <= band), **more}


def _check_size(setting: Setting) -> Size:
    return SIZES["tiny" if setting.device == "cpu" else "15M"]


# Forward pass: this device against a CPU process without access to the GPU --------------------------------------------


def logits(device: str, size: Size) -> torch.Tensor:
    """Return fp32 logits [4, context, vocabulary] of a fixed model on fixed tokens."""
    torch.backends.cuda.matmul.allow_tf32 = False
    start_process_group(device)
    model = build_model(
        size.architecture, init_std=0.05, scaled_output_init=True, seed=1, device=device
    ).eval()
    batch = next(batches(size, device))[:4, :-1]
    positions = torch.arange(batch.shape[1], device=device).expand(len(batch), -1)
    with torch.no_grad():
        return model(batch, positions, None).float().cpu()


def write_cpu_logits(path: str) -> None:
    torch.save(logits("cpu", SIZES[os.environ["TWOSTAGE_SIZE"]]), path)


def forward(setting: Setting, folder: Path) -> dict[str, Any]:
    name = "tiny" if setting.device == "cpu" else "15M"
    path = folder / "cpu-logits.pt"
    code = f"import checks; checks.write_cpu_logits({str(path)!r})"
    hidden = {"CUDA_VISIBLE_DEVICES": "", "TWOSTAGE_SIZE": name}
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | hidden)
    expected, found = torch.load(path), logits(setting.device, SIZES[name])
    error = float((found - expected).abs().max() / expected.abs().max())
    return result("forward in fp32, against the CPU", error, FORWARD_BAND, size=name)


# Loss curves ---------------------------------------------------------------------------------------------------------


def curve(setting: Setting, folder: Path) -> dict[str, Any]:
    """Train on the same batches in fp32 and bf16; compare the mean loss of the last 10 % and the worst step after warmup."""
    size = _check_size(setting)
    small = Size(size.architecture, 16, 8)
    steps = 40 if setting.device == "cpu" else 100 if setting.quick else 300
    start_process_group(setting.device)
    losses = {}
    for precision in ("fp32", "bf16"):
        with mixed_precision_allowed(setting.device):
            this = Trainer(
                spec(small, precision=precision),
                Execution(device=setting.device, micro_batch=small.micro_batch),
            )
            stream = batches(small, setting.device)
            losses[precision] = np.array([this.update(step, next(stream))[0] for step in range(1, steps + 1)])
        del this
    ratio = np.abs(losses["bf16"] / losses["fp32"] - 1)
    last = max(1, steps // 10)
    final = abs(losses["bf16"][-last:].mean() / losses["fp32"][-last:].mean() - 1)
    worst = float(ratio[steps // 10 :].max())
    found = result(
        "bf16 loss against fp32, end", float(final), FINAL_LOSS_BAND, steps=steps, worst_step=worst
    )
    found["ok"] = found["ok"] and worst <= CURVE_BAND
    found["learned"] = float(losses["fp32"][0] - losses["fp32"][-1])
    return found


def optimizer_state(setting: Setting, folder: Path) -> dict[str, Any]:
    """Save and load the distributed optimizer; the next updates must equal those of the trainer that was saved."""
    size = _check_size(setting)
    small = Size(size.architecture, 16, 8)
    torch.use_deterministic_algorithms(True)
    start_process_group(setting.device)
    stream = batches(small, setting.device)
    data = [next(stream) for _ in range(8)]
    with mixed_precision_allowed(setting.device):

        def fresh(seed: int) -> Trainer:
            return Trainer(
                spec(small, precision="bf16", seed=seed),
                Execution(device=setting.device, micro_batch=small.micro_batch),
            )

        first, second = fresh(0), fresh(1)
        for step in range(1, 6):
            first.update(step, data[step - 1])
        training_state.save_training_state(first, folder / "state", {"step": 5})
        training_state.load_training_state(second, folder / "state/manifest.json")
        pairs = [
            (first.update(step, data[step - 1]), second.update(step, data[step - 1])) for step in range(6, 9)
        ]
    worst = max(abs(left - right) for ours, theirs in pairs for left, right in zip(ours, theirs, strict=True))
    kind = type(first.optimizer.chained_optimizers[0]).__name__
    return result("optimizer state saved and loaded", worst, RESUME_BAND, optimizer=kind)


# Complete jobs, with the workflow's scripts --------------------------------------------------------------------------


def _job(
    this: TrainSpec,
    data: Path,
    out: Path,
    setting: Setting,
    size: Size,
    parent: Path | None = None,
    **options: Any,
) -> list[str]:
    words = [sys.executable, str(SCRIPTS / "train.py"), "--spec", this.canonical()]
    words += ["--data", str(data / "manifest.json"), "--out", str(out / "checkpoint/manifest.json")]
    words += ["--rolling", str(out / "rolling"), "--device", setting.device, "--deterministic"]
    words += ["--micro-batch", str(size.micro_batch), "--pipelined"]
    if parent:
        words += ["--parent", str(parent)]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def _run(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{words[1]} failed with code {done.returncode}:\n{done.stderr[-3000:]}")


def resume(setting: Setting, folder: Path) -> dict[str, Any]:
    """Kill a job with SIGKILL after it has saved, and start it again; its files must equal those of an uninterrupted job."""
    size = _check_size(setting)
    small = Size(size.architecture, 16, 8)
    this = spec(small, precision=setting.precision, stop_step=60 if setting.device == "cpu" else 300)
    data = tokens(folder, small)
    left_alone, killed = folder / "left-alone", folder / "killed"
    _run(_job(this, data, left_alone, setting, small))
    words = _job(this, data, killed, setting, small, save_every_s=0)
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 500
    while not (saved := list(killed.glob("rolling/state/*/step-*"))):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"no rolling state was saved:\n{process.communicate()[1][-3000:]}")
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if (killed / "metrics.json").exists():
        raise RuntimeError("the job had ended before it could be killed")
    _run(_job(this, data, killed, setting, small))
    files = ("checkpoint/manifest.json", "steps.jsonl")
    different = sum((left_alone / name).read_bytes() != (killed / name).read_bytes() for name in files)
    metrics = json.loads((killed / "metrics.json").read_text())
    found = result(
        "files that differ after SIGKILL and resume",
        different,
        RESUME_BAND,
        resumed_from=metrics["resumed_from_step"],
        seen_saved=len(saved),
    )
    found["ok"] = found["ok"] and bool(metrics["resumed_from_step"])
    return found


def growth(setting: Setting, folder: Path) -> dict[str, Any]:
    """Grow checkpoints that this device has trained, and train the grown models on it."""
    size = _check_size(setting)
    small = Size(size.architecture, 16, 8)
    data, kind = tokens(folder, small), setting.precision
    base = spec(small, precision=kind, stop_step=30)
    _run(_job(base, data, folder / "trunk", setting, small))
    trunk = folder / "trunk/checkpoint/manifest.json"
    schedule = base.schedule.model_copy(update={"decay_start": 30, "total_steps": 33})
    changes = {"schedule": schedule, "start_step": 30, "stop_step": 33, "origin": "state"}
    _run(_job(base.model_copy(update=changes), data, folder / "decay", setting, small, parent=trunk))
    decayed = folder / "decay/checkpoint/manifest.json"
    wide = {
        "kind": "expand",
        "target": expanded_architecture(small.architecture),
        "split": "random",
        "init": "duplicate",
    }
    deep = {"kind": "stack", "target": stacked_architecture(small.architecture, 2), "factor": 2}
    origins = {"expand": (wide, decayed, "weights"), "stack, optimizer carried": (deep, trunk, "carried")}
    losses = {}
    for name, (how, parent, origin) in origins.items():
        grown = folder / name.split(",")[0]
        job = GrowSpec(source=small.architecture, seed=0, carries_optimizer=origin == "carried", **how)
        words = [sys.executable, str(SCRIPTS / "grow_checkpoint.py"), "--spec", job.canonical()]
        _run([*words, "--base", str(parent), "--out", str(grown / "init/manifest.json")])
        bigger = Size(job.target, small.batch, small.micro_batch)
        after = spec(bigger, precision=kind, stop_step=5, origin=origin)
        _run(_job(after, data, grown, setting, bigger, parent=grown / "init/manifest.json"))
        losses[name] = [json.loads(line)["loss"] for line in (grown / "steps.jsonl").read_text().splitlines()]
    # Width expansion preserves the function: on the same batches, the base model's own continuation has the same loss.
    again = spec(small, precision=kind, stop_step=1, origin="weights")
    _run(_job(again, data, folder / "again", setting, small, parent=decayed))
    first = json.loads((folder / "again/steps.jsonl").read_text().splitlines()[0])["loss"]
    error = abs(losses["expand"][0] - first) / first
    found = result(
        "expanded checkpoint of this device: first loss against the base's", error, 2e-3, losses=losses
    )
    found["ok"] = found["ok"] and all(math.isfinite(loss) for each in losses.values() for loss in each)
    state, _ = load_weights(decayed)
    lossy = [name for name, t in state.items() if not torch.equal(t, t.bfloat16().float())]
    found["decay_weights_beyond_bf16"] = len(lossy)
    return found


CHECKS = {
    "forward": forward,
    "optimizer-state": optimizer_state,
    "resume": resume,
    "growth": growth,
    "curve": curve,
}
