"""Several jobs on one GPU, and never more than it was divided for: `python -m twostage.cluster.gpu_slots ... -- command`.

For one machine with GPUs and no scheduler. Each GPU is divided into units, each a file that its user holds locked
(flock); the command replaces this process and inherits the locks, so that they end with it, however it ends. The count
of all units is Snakemake's resource `gpu_units`; which GPU has them is decided here. Without torch.
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

from twostage.common.errors import UserError

POLL_S = 0.2
#: Tells the command which share of its GPU it has, 0.25 for a quarter; `train.py` sizes its micro-batch by it.
GPU_SHARE = "TWOSTAGE_GPU_SHARE"


class Grant:
    """Units of one GPU, held while this object (or a process that inherits its descriptors) lives."""

    def __init__(self, gpu: str, descriptors: list[int]) -> None:
        self.gpu, self.descriptors = gpu, descriptors

    def release(self) -> None:
        """Give the units back."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = []

    def inherit(self) -> None:
        """Let the program that replaces this process keep the units."""
        for descriptor in self.descriptors:
            os.set_inheritable(descriptor, True)


def acquire(
    locks: str | Path, gpus: Sequence[str], *, capacity: int, units: int, poll_s: float = POLL_S
) -> Grant:
    """Wait for `units` free units of one GPU, the emptiest first.

    Who waits is served before those that come later, so a job that needs a whole GPU is not passed by small ones for ever.

    Args:
        locks: folder of the lock files, on this machine's own disk; created if missing.
        gpus: names that CUDA_VISIBLE_DEVICES takes, each once.
        capacity: units of each GPU.
        units: needed, on the same GPU.
        poll_s: seconds between two looks.

    Raises:
        UserError: no GPU, or more units than one has.
    """
    if not gpus or len(set(gpus)) != len(gpus):
        raise UserError(f"--gpus: {list(gpus)} must name at least one GPU, and each once")
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
    """Lock all free units of a GPU; return their descriptors. Only the holder of the turnstile looks."""
    held = []
    for unit in range(capacity):
        descriptor = os.open(folder / f"gpu-{gpu}-unit-{unit}.lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        held.append(descriptor)
    return held


def visible_gpus() -> list[str]:
    """Return the GPUs of this machine: CUDA_VISIBLE_DEVICES where it is set, else as nvidia-smi counts them.

    Raises:
        UserError: neither names one.
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
            "no GPU found: CUDA_VISIBLE_DEVICES names none and nvidia-smi lists none; name them by --gpus 0,1"
        )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Wait for a share of a GPU, then become the command, which sees that GPU alone."""
    parser = argparse.ArgumentParser(prog="python -m twostage.cluster.gpu_slots", description=__doc__)
    parser.add_argument(
        "--locks", type=Path, default=Path("rolling/gpu-slots"), help="folder of the lock files"
    )
    parser.add_argument("--gpus", help="comma-separated; default: all that are visible")
    parser.add_argument("--capacity", type=int, default=4, help="units that each GPU is divided into")
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
    grant.inherit()
    os.environ["CUDA_VISIBLE_DEVICES"] = grant.gpu
    if args.units < args.capacity:
        os.environ[GPU_SHARE] = str(args.units / args.capacity)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
