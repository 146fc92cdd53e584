"""CPU seconds of the Snakemake head while jobs run, as it is and as this workflow runs it (`head.remove_rate_limit`).

python benchmarks/head.py [--jobs 200] [--seconds 2]

The jobs only sleep, two at a time, so that almost all CPU time is that of the main process.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

SNAKEFILE = """
from twostage.cluster.head import remove_rate_limit

onstart:
    {onstart}

rule all:
    input: expand("{{i}}.txt", i=range({jobs}))

rule one:
    output: "{{i}}.txt"
    shell: "sleep {seconds}; touch {{output}}"
"""
VARIANTS = {"Snakemake as it is": "pass", "with remove_rate_limit": "remove_rate_limit(workflow.scheduler)"}


def cpu_seconds(onstart: str, jobs: int, seconds: float) -> float:
    """Run the jobs; return the CPU time of the main process and its jobs."""
    with tempfile.TemporaryDirectory() as folder:
        text = SNAKEFILE.format(onstart=onstart, jobs=jobs, seconds=seconds)
        Path(folder, "Snakefile").write_text(text, encoding="utf-8")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--quiet", "all"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long a job sleeps")
    args = parser.parse_args()
    used = {name: cpu_seconds(onstart, args.jobs, args.seconds) for name, onstart in VARIANTS.items()}
    for name, seconds in used.items():
        print(f"{name}: {seconds:.1f} CPU-s for {args.jobs} jobs that sleep {args.seconds:g} s")
    before, after = used.values()
    print(f"ratio {before / after:.2f}")


if __name__ == "__main__":
    main()
