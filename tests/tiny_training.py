"""Helpers of the training tests: a tiny model, its jobs, and the real script as a process.

These are plain functions; the corpus is a fixture in `conftest.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from twostage.common.architecture import Architecture
from twostage.common.canonical import StateDict
from twostage.design.schedule import Schedule
from twostage.design.specs import TrainSpec
from twostage.model import checkpoint
from twostage.model.build import start_process_group
from twostage.study import OptimizerRecipe
from twostage.training.train import TrainJob, train
from twostage.training.trainer import Execution, Trainer

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "workflow/scripts/train.py"
TINY = Architecture(n_layer=2, d_model=32, n_head=2, head_dim=16, d_mlp=64, vocab_size=300, context=16)
#: Batches of `train_spec`'s size for a trainer without a corpus: step, sample, token.
BATCHES = torch.randint(300, (20, 8, 17), generator=torch.Generator().manual_seed(0))


def train_spec(**changes: Any) -> TrainSpec:
    """Twenty steps of a trunk from random weights, with `changes`."""
    fields: dict[str, Any] = {
        "architecture": TINY,
        "init_std": 0.1,
        "recipe": OptimizerRecipe(),
        "peak_lr": 5e-3,
        "warmup_steps": 4,
        "batch_size": 8,
        "mixture": (("words", 1),),
        "seed": 3,
        "start_step": 0,
        "stop_step": 20,
        "origin": "init",
    }
    fields |= changes
    # The schedule's own keys may be given with the others.
    own = {key: fields.pop(key) for key in ("peak_lr", "warmup_steps", "decay_start") if key in fields}
    if own.get("decay_start") is not None:
        own["total_steps"] = fields["stop_step"]
    return TrainSpec(**{"schedule": Schedule(**own)} | fields)


def trainer(micro_batch: int | None = None, **changes: Any) -> Trainer:
    """The trainer of `train_spec(**changes)`, before its first update."""
    start_process_group("cpu")
    return Trainer(train_spec(**changes), Execution(micro_batch=micro_batch))


def weights(this: Trainer) -> StateDict:
    """The trainer's weights under canonical names."""
    return checkpoint.to_canonical(this.core.state_dict(), this.spec.architecture)


def job(
    spec: TrainSpec,
    folder: Path,
    tokens: Path,
    *,
    parent: Path | None = None,
    rolling: Path | None = None,
    **execution: Any,
) -> TrainJob:
    """The job that trains `spec` into `folder`/out, with its rolling state in `folder`/rolling by default."""
    return TrainJob(
        spec=spec,
        parent=parent,
        tokens=(tokens,) * len(spec.mixture),
        out=folder / "out",
        rolling=rolling or folder / "rolling",
        execution=Execution(**execution),
    )


def run(spec: TrainSpec, folder: Path, tokens: Path, **options: Any) -> Path:
    """Train `spec` in this process; return the job's output folder."""
    this = job(spec, folder, tokens, **options)
    train(this)
    return this.out


def manifest(out: Path) -> Path:
    return out / "checkpoint/manifest.json"


def steps(out: Path) -> list[dict[str, float]]:
    """The lines of steps.jsonl."""
    return [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in steps(out)]


def metrics(out: Path) -> dict[str, Any]:
    return json.loads((out / "metrics.json").read_text())


def identity(out: Path) -> tuple[str, str]:
    """Files that must agree after equal training: the checkpoint's manifest (checksums of all weights) and all losses."""
    return manifest(out).read_text(), (out / "steps.jsonl").read_text()


def arguments(this: TrainJob) -> list[str]:
    """The command line of workflow/scripts/train.py for a job."""
    execution = this.execution
    words = [
        str(SCRIPT),
        "--spec",
        this.spec.canonical(),
        "--out",
        str(this.out / "checkpoint/manifest.json"),
        "--rolling",
        str(this.rolling),
    ]
    words += ["--data", *(str(folder / "manifest.json") for folder in this.tokens)]
    words += ["--threads", str(execution.threads), "--save-every-s", str(execution.save_every_s)]
    if execution.pipelined is not None:
        words += ["--pipelined" if execution.pipelined else "--no-pipelined"]
    if this.parent:
        words += ["--parent", str(this.parent)]
    if execution.micro_batch:
        words += ["--micro-batch", str(execution.micro_batch)]
    return words


def start(this: TrainJob, **environment: str) -> subprocess.Popen[str]:
    """Start the real script; its output goes to files next to `out`, see `log_of`."""
    folder = this.out.parent
    folder.mkdir(parents=True, exist_ok=True)
    name = environment.get("RANK", "0")
    with (folder / f"stdout-{name}").open("w") as stdout, (folder / f"stderr-{name}").open("w") as stderr:
        return subprocess.Popen(
            [sys.executable, *arguments(this)],
            stdout=stdout,
            stderr=stderr,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        )


def log_of(this: TrainJob, rank: int = 0) -> str:
    return (this.out.parent / f"stderr-{rank}").read_text()


def progress_of(this: TrainJob) -> str:
    return (this.out.parent / "stdout-0").read_text()


def wait_until(condition: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 120) -> Any:
    """Wait for a condition that `process` brings about; fail if the process ends or it takes too long."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert process.poll() is None, f"the process ended first, with code {process.returncode}"
        assert time.monotonic() < deadline, "the process took too long"
        time.sleep(0.01)
    return found


def rolling_steps(rolling: Path) -> list[int]:
    """Steps of the complete rolling states below a job's rolling folder, oldest first."""
    return sorted(int(path.name.removeprefix("step-")) for path in rolling.glob("state/*/step-*"))


def copy_tokens(tokens: Path, to: Path) -> Path:
    return Path(shutil.copytree(tokens, to))


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def lose_node_at(step: int, this: TrainJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until update `step`, which fails. The remaining files are those of a job on a lost node."""
    launch = Trainer.launch

    def fail(self: Trainer, number: int, batch: torch.Tensor) -> Any:
        if number == step:
            raise OSError("node lost")
        return launch(self, number, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "launch", fail)
        with pytest.raises(OSError, match="node lost"):
            train(this)
