"""A study that is small enough for a Slurm on two cores, as tests drive it: submit, disturb, compare."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cluster import MARK, Cluster
from working_copy import SMALL_STUDY, Workflow, copy_workflow, write_corpora

NAME = "small"
RESULTS = Path("results") / NAME
ROLLING = Path("rolling") / NAME
RUN = "stage1/generic/8k/seed-0"
TOKENS_PER_STEP = 8 * 64

#: A site as a user would describe this cluster. GPUs are asked for and counted, but nothing computes on them.
SITE = {
    "partition": "gpu",
    "device": "cpu",
    "gpus_per_node": 2,
    "cpus_per_gpu": 1,
    "mem_gb_per_gpu": 2,
    "max_walltime_min": 60,
    "grace_s": 30,
    "save_every_min": 10,
}
#: What a user would leave as it is; here nobody wants to wait.
IMPATIENT = (
    "--jobs", "6", "--latency-wait", "20", "--slurm-init-seconds-before-status-checks", "1",
    "--seconds-between-status-checks", "1",
)  # fmt: skip


@dataclass
class Study:
    """One working copy with the small study, and the heads started in it."""

    workflow: Workflow
    cluster: Cluster | None = None
    heads: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.workflow.root

    @property
    def results(self) -> Path:
        return self.root / RESULTS

    def copy(self, target: Path, cluster: Cluster) -> Study:
        """Return a copy that runs on `cluster`, with all modification times kept."""
        shutil.copytree(self.root, target)
        return Study(Workflow(target), cluster)

    def site(self, **changes: Any) -> None:
        """Write the site file with `changes`."""
        (self.root / "site.yaml").write_text(yaml.safe_dump({"site": SITE | changes}))

    def edit(self, change) -> None:
        self.workflow.edit_study(f"config/{NAME}.yaml", change)

    # Heads ------------------------------------------------------------------------------------------------------------

    def start(self, *targets: str, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start `snakemake --profile profiles/slurm` on targets; its output goes to head-<n>.log."""
        assert self.cluster is not None
        environment = {
            **self.cluster.environment,
            "PYTHONPATH": str(self.root / "src"),
            "OMP_NUM_THREADS": "1",
        }
        words = [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", *IMPATIENT, *options]
        words += ["--configfile", "site.yaml", "--config", f"study=config/{NAME}.yaml", "--", *targets]
        with (self.root / f"head-{len(self.heads)}.log").open("w") as log:
            head = subprocess.Popen(
                words, cwd=self.root, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True
            )
        self.heads.append(head)
        return head

    def head_log(self, number: int = -1) -> str:
        return (self.root / f"head-{range(len(self.heads))[number]}.log").read_text()

    def run(self, *targets: str, options: tuple[str, ...] = (), code: int = 0) -> str:
        """Run a head to its end; return its output."""
        head = self.start(*targets, options=options)
        assert head.wait(1200) == code, self.head_log() + self.logs()
        return self.head_log()

    def stop(self) -> None:
        """End the heads that still live."""
        for head in self.heads:
            if head.poll() is None:
                head.send_signal(signal.SIGKILL)
                head.wait()

    # What happened ----------------------------------------------------------------------------------------------------

    def log(self, target: str) -> Path:
        """The log of a training job, from its manifest's path."""
        run, kind, what = target.removeprefix(f"{RESULTS}/").removesuffix("/checkpoint/manifest.json").rsplit("/", 2)
        return self.results / f"logs/{run}/{kind}-{what}.log"

    def logs(self) -> str:
        """All logs of jobs, for a failure's message."""
        files = sorted(self.results.glob("logs/**/*.log"), key=lambda path: path.stat().st_mtime)
        return "\n".join(f"--- {file.name}\n{file.read_text()[-1500:]}" for file in files[-6:])

    def submissions(self) -> list[str]:
        """Slurm job ids in the heads' logs, in order."""
        found = []
        for number in range(len(self.heads)):
            for line in self.head_log(number).splitlines():
                if "has been submitted with SLURM jobid" in line:
                    found.append(line.split("SLURM jobid ")[1].split()[0])
        return found


def trunk(steps: int, run: str = RUN) -> str:
    """Target: the manifest of a trunk segment."""
    return f"{RESULTS}/{run}/trunk/{steps * TOKENS_PER_STEP}/checkpoint/manifest.json"


def decay(steps: int, run: str = RUN) -> str:
    """Target: the manifest of the branch that leaves the trunk after `steps`."""
    return f"{RESULTS}/{run}/decay/D1-{steps * 11 // 10 * TOKENS_PER_STEP}/checkpoint/manifest.json"


def identity(root: Path, target: str) -> tuple[str, str]:
    """What an undisturbed training and a disturbed one must agree on."""
    manifest = root / target
    return manifest.read_text(), (manifest.parents[1] / "steps.jsonl").read_text()


def metrics(root: Path, target: str) -> dict[str, Any]:
    return json.loads(((root / target).parents[1] / "metrics.json").read_text())


def progress(log: Path) -> int:
    """Last step that a training job has told of; 0 before the first."""
    lines = log.read_text().splitlines() if log.is_file() else []
    steps = [json.loads(line)["progress"]["step"] for line in lines if line.startswith('{"progress"')]
    return steps[-1] if steps else 0


def prepare_study(root: Path) -> Study:
    """Copy the workflow, write the study and make its tokens, without Slurm."""
    workflow = copy_workflow(root)
    write_corpora(workflow)
    fields = {
        **SMALL_STUDY,
        "description": "One small run and its continuation on code, for the tests on a Slurm.",
        "corpora": {name: SMALL_STUDY["corpora"][name] for name in ("generic", "code")},
        "methods": {"cpt-code": {"kind": "cpt", "corpus": "code"}},
    }
    (root / f"config/{NAME}.yaml").write_text(yaml.safe_dump(fields, sort_keys=False))
    study = Study(workflow)
    study.site()
    tokens = [f"{RESULTS}/tokens/{corpus}/manifest.json" for corpus in ("generic", "code")]
    workflow.snakemake("--cores", "2", "--config", f"study=config/{NAME}.yaml", "--", *tokens)
    return study
