"""Runs a command on a share of a GPU: `python -m twostage.cluster.gpu_slots ... -- command`.

For one machine with GPUs and no scheduler. Each GPU is divided into units. A unit is a lock file (flock). The command replaces
this process and inherits the locks, so they are released when it ends, for any reason. The total number of units is
Snakemake's resource `gpu_units`; this module chooses the GPU. Does not import torch.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from twostage.common.errors import UserError

POLL_S = 0.2
#: Environment variable with the command's share of its GPU (0.25: a quarter). `train.py` chooses its micro-batch by it.
GPU_SHARE = "TWOSTAGE_GPU_SHARE"


class Grant(NamedTuple):
    """Units of one GPU; they are released when the file descriptors are closed in all processes."""

    gpu: str
    descriptors: list[int]


def acquire(
    locks: str | Path, gpus: Sequence[str], *, capacity: int, units: int, poll_s: float = POLL_S
) -> Grant:
    """Wait for `units` free units of one GPU; take them on the GPU with most free units.

    One process at a time looks for units, and the others wait for it. So a job that needs a full GPU is not delayed without
    limit by smaller jobs that come later.

    Args:
        locks: folder of the lock files, on a local disk; created if missing.
        gpus: names of GPUs as in CUDA_VISIBLE_DEVICES.
        capacity: units per GPU.
        units: units to take, all on the same GPU.
        poll_s: seconds between attempts.

    Raises:
        UserError: no GPU, a GPU is listed twice, or more units than one GPU has.
    """
    if not gpus or len(set(gpus)) != len(gpus):
        raise UserError(f"--gpus: {list(gpus)} must list at least one GPU, each once")
    if not 1 <= units <= capacity:
        raise UserError(f"--units: {units} is not in 1 .. {capacity}, the units of one GPU (--capacity)")
    folder = Path(locks)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "turnstile.lock"):
        while True:
            free = {gpu: _free_units(folder, gpu, capacity) for gpu in gpus}
            chosen = max(gpus, key=lambda gpu: len(free[gpu]))
            enough = len(free[chosen]) >= units
            kept = free[chosen][:units] if enough else []
            for descriptor in set().union(*free.values()) - set(kept):
                os.close(descriptor)
            if enough:
                return Grant(chosen, kept)
            time.sleep(poll_s)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _free_units(folder: Path, gpu: str, capacity: int) -> list[int]:
    """Lock all free units of a GPU; return their descriptors. The caller must have the lock `turnstile.lock`."""
    locked = []
    for unit in range(capacity):
        descriptor = os.open(folder / f"gpu-{gpu}-unit-{unit}.lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        locked.append(descriptor)
    return locked


def visible_gpus() -> list[str]:
    """Return the GPUs of this machine: CUDA_VISIBLE_DEVICES if it is set, else those that nvidia-smi lists.

    Raises:
        UserError: there is none.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        found = [name.strip() for name in named.split(",") if name.strip()]
    else:
        query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        try:
            found = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
        except (OSError, subprocess.CalledProcessError):
            found = []
    if not found:
        raise UserError(
            "no GPU found by CUDA_VISIBLE_DEVICES or nvidia-smi; list GPUs with --gpus, for example --gpus 0,1"
        )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Wait for a share of a GPU, then replace this process by the command, which sees only that GPU."""
    parser = argparse.ArgumentParser(prog="python -m twostage.cluster.gpu_slots", description=__doc__)
    parser.add_argument(
        "--locks", type=Path, default=Path("rolling/gpu-slots"), help="folder of the lock files"
    )
    parser.add_argument("--gpus", help="comma-separated; default: all visible GPUs")
    parser.add_argument("--capacity", type=int, default=4, help="units per GPU")
    parser.add_argument("--units", type=int, default=1, help="units that the command needs")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="after --")
    args = parser.parse_args(arguments)
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        parser.error("a command is needed, after --")
    try:
        gpus = args.gpus.split(",") if args.gpus else visible_gpus()
        grant = acquire(args.locks, gpus, capacity=args.capacity, units=args.units)
    except UserError as error:
        sys.exit(f"error: {error}")
    for descriptor in grant.descriptors:
        os.set_inheritable(descriptor, True)
    os.environ["CUDA_VISIBLE_DEVICES"] = grant.gpu
    if args.units < args.capacity:
        os.environ[GPU_SHARE] = str(args.units / args.capacity)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
