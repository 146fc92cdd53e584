"""Time that the workflow takes to plan a study, compared with Snakemake's start-up (`snakemake --version`).

python benchmarks/dry_run.py [--study config/tiny.yaml] [--runs 5]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def measure(arguments: list[str]) -> tuple[float, float]:
    """Return (wall seconds, CPU seconds) of one snakemake call."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "snakemake", *arguments], cwd=ROOT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", default="config/tiny.yaml")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    dry_run = ["-n", "--forceall", "--quiet", "all", "--config", f"study={args.study}", "--", "all_figures"]
    pairs = [(measure(dry_run), measure(["--version"])) for _ in range(args.runs)]
    for name, index in (("wall", 0), ("CPU", 1)):
        plan = statistics.median(pair[0][index] for pair in pairs)
        start = statistics.median(pair[1][index] for pair in pairs)
        print(f"{name}: dry-run {plan:.2f} s, snakemake --version {start:.2f} s, ratio {plan / start:.1f}")


if __name__ == "__main__":
    main()
