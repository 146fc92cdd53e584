"""Time that Snakemake takes with `profiles/slurm` to plan a study, and to find that all outputs exist.

Nothing is trained. In a copy of the workflow every declared output is written: those of costly jobs with the specs and keys that
their jobs would write, tables and figures as placeholders. `snakemake --touch` records them with the parameters of their jobs.
Then the real command is timed, and again without Snakemake's records (`.snakemake`), which are made again from the outputs. Data
files that no rule declares are missing, because Snakemake does not check them.

python benchmarks/no_op.py [--study config/paper.yaml] [--runs 3]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from finished_outputs import finish  # noqa: E402

from twostage.design.design import Design  # noqa: E402
from twostage.planning.recorded import outdated  # noqa: E402
from twostage.study import load_study  # noqa: E402

PARTS = ("Snakefile", "config", "envs", "profiles", "report", "results/published", "rules", "src", "workflow")
TARGETS = ("all_figures", "all_tables")
# Each touched job pauses for 0.1 s, for file systems with coarse time stamps; this benchmark skips the pause.
TOUCH = "import snakemake.executors.touch as t; t.Executor.SLEEPING_TIME = 0; from snakemake.cli import main; main()"
PLACEHOLDER = json.dumps({"ranks": 1, "tokens_per_s": None})


def snakemake(root: Path, *words: str, by: tuple[str, ...] = ("-m", "snakemake")) -> tuple[str, float, float]:
    """Run snakemake in `root`; return its output, wall seconds and CPU seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *by, *words],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"snakemake {' '.join(words)} failed:\n{done.stdout[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def fill(root: Path, study: str) -> int:
    """Write and record a placeholder for every declared output; return their number."""
    words = ("--config", f"study={study}", "--", *TARGETS)
    summary, _, _ = snakemake(root, "--summary", *words)
    rows = summary[summary.index("output_file\t") :].splitlines()[1:]
    outputs = [row.split("\t")[0] for row in rows if "\t" in row]
    for output in outputs:
        file = root / output
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(PLACEHOLDER)
    loaded = load_study(ROOT / study)
    finish(Design(loaded), root / f"results/{loaded.name}")
    snakemake(root, "--cores", "1", "--touch", "--forceall", "--quiet", "all", *words, by=("-c", TOUCH))
    return len(outputs)


def show(what: str, timings: list[tuple[float, float]]) -> None:
    wall, cpu = (statistics.median(timing[index] for timing in timings) for index in (0, 1))
    print(f"{what}: {wall:.1f} s wall, {cpu:.1f} s CPU (median of {len(timings)})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", default="config/paper.yaml")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    command = ("--profile", "profiles/slurm", "--config", f"study={args.study}", "--", *TARGETS)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for part in PARTS:
            source, target = ROOT / part, root / part
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        planned = [snakemake(root, "-n", *command) for _ in range(args.runs)]
        show("dry-run", [timing[1:] for timing in planned])
        print(f"{fill(root, args.study)} declared outputs written and recorded", flush=True)
        found = [snakemake(root, *command) for _ in range(args.runs)]
        assert all("Nothing to be done" in text for text, _, _ in found), found[0][0][-3000:]
        show("no-op run", [timing[1:] for timing in found])
        copied = []
        for _ in range(args.runs):
            shutil.rmtree(root / ".snakemake")
            copied.append(snakemake(root, "-n", *command))
        assert not any("train_trunk" in text or "train_decay" in text for text, _, _ in copied), copied[0][0][
            -3000:
        ]
        show("dry-run of results that were copied without .snakemake", [timing[1:] for timing in copied])
        checks = []
        for _ in range(args.runs):
            start, cpu = time.perf_counter(), time.process_time()
            assert not outdated(
                Design(load_study(ROOT / args.study)), root / f"results/{load_study(ROOT / args.study).name}"
            )
            checks.append((time.perf_counter() - start, time.process_time() - cpu))
        show("comparison of all specs and keys alone", checks)


if __name__ == "__main__":
    main()
