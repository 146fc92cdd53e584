"""A study small enough for a Slurm cluster on two cores, with helpers to submit, disturb and compare its jobs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cluster import Cluster, owned
from working_copy import SMALL_STUDY, Workflow, copy_workflow, write_corpora

from twostage.cluster.supervise import earlier_log

NAME = "small"
RESULTS = Path("results") / NAME
ROLLING = Path("rolling") / NAME
RUN = "stage1/generic/8k/seed-0"
TOKENS_PER_STEP = 8 * 64
#: Steps of a trunk segment that takes some seconds.
LONG = 600

#: A site file for this cluster. Jobs request GPUs and Slurm counts them, but nothing computes on them.
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
#: Settings with long default waiting times, shortened for the tests.
IMPATIENT = (
    "--jobs", "6", "--latency-wait", "20", "--slurm-init-seconds-before-status-checks", "10",
    "--seconds-between-status-checks", "1",
)  # fmt: skip


@dataclass
class Study:
    """A working copy with the small study, and the Snakemake processes ("heads") started in it."""

    workflow: Workflow
    cluster: Cluster | None = None
    heads: list[subprocess.Popen[str]] = field(default_factory=list)
    pristine: Path | None = None  # the copy's source

    @property
    def root(self) -> Path:
        return self.workflow.root

    @property
    def results(self) -> Path:
        return self.root / RESULTS

    def copy(self, target: Path, cluster: Cluster | None) -> Study:
        """Return a copy that runs on `cluster`, with all modification times kept."""
        shutil.copytree(self.root, target)
        return Study(Workflow(target), cluster, pristine=self.root)

    def site(self, **changes: Any) -> None:
        """Write the site file with `changes`."""
        (self.root / "site.yaml").write_text(yaml.safe_dump({"site": SITE | changes}))

    def edit(self, change) -> None:
        self.workflow.edit_study(f"config/{NAME}.yaml", change)

    def lengthen(self) -> None:
        """Give the base one trunk segment of LONG steps."""
        self.edit(lambda fields: fields["grid"].update(d1={"trunk_steps": [LONG]}))

    # Heads ------------------------------------------------------------------------------------------------------------

    def start(self, *targets: str, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start `snakemake --profile profiles/slurm` on targets; its output goes to head-<n>.log."""
        assert self.cluster is not None
        environment = {
            **self.cluster.environment,
            "PYTHONPATH": str(self.root / "src"),
            "OMP_NUM_THREADS": "1",
        }
        words = [sys.executable, "-m", "snakemake", *IMPATIENT, *options, *self.words(*targets)]
        with (self.root / f"head-{len(self.heads)}.log").open("w") as log:
            head = subprocess.Popen(
                words, cwd=self.root, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True
            )
        self.heads.append(head)
        return head

    @staticmethod
    def words(*targets: str) -> list[str]:
        """Return the arguments of `snakemake`."""
        options = ["--profile", "profiles/slurm", "--configfile", "site.yaml"]
        return [*options, "--config", f"study=config/{NAME}.yaml", "--", *targets]

    def head_log(self, number: int = -1) -> str:
        return (self.root / f"head-{range(len(self.heads))[number]}.log").read_text()

    def run(self, *targets: str, options: tuple[str, ...] = (), code: int = 0) -> str:
        """Run a head to its end; return its output."""
        head = self.start(*targets, options=options)
        assert head.wait(1200) == code, self.head_log() + self.logs()
        return self.head_log()

    def stop(self) -> None:
        """End the heads that are still running."""
        for head in self.heads:
            if head.poll() is None:
                head.send_signal(signal.SIGKILL)
                head.wait()

    # Trainers ---------------------------------------------------------------------------------------------------------

    def trainer(self, target: str) -> int:
        """Wait until the job of `target` is training; return its process."""
        assert self.cluster is not None
        log = self.log(target)
        self.cluster.wait(lambda: progress(log), f"training of {target}")
        return self.processes("train.py", str(self.rolling_of(target)))[0]

    def hold(self, target: str) -> int:
        """Pause the trainer of `target` in the middle of a segment, so that the fault happens there."""
        pid = self.trainer(target)
        os.kill(pid, signal.SIGSTOP)
        assert 0 < progress(self.log(target)) < LONG
        return pid

    def rolling_steps(self, target: str) -> list[int]:
        """Steps of the complete rolling states of a job."""
        folder = self.root / self.rolling_of(target)
        return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("state/*/step-*"))

    def restarts(self, job: str) -> int:
        """Return how often Slurm has restarted a job under the same id."""
        assert self.cluster is not None
        return int(self.cluster.job(job)["Restarts"])

    def processes(self, script: str, *words: str) -> list[int]:
        """Return the Python processes of this copy's Slurm jobs that run `script` with these words."""
        assert self.cluster is not None
        found = []
        for pid in owned(self.cluster.root):
            command = command_of(pid)
            here = os.path.realpath(f"/proc/{pid}/cwd") == os.path.realpath(self.root)
            if here and command[1:2] and command[1].endswith(script) and set(words) <= set(command):
                found.append(pid)
        return found

    def rolling_of(self, target: str) -> Path:
        """Return a job's rolling folder, relative to the root, as in its command."""
        run, kind, what = parts_of(target)
        return ROLLING / run / f"{kind}-{what}"

    # What happened ----------------------------------------------------------------------------------------------------

    def log(self, target: str) -> Path:
        """Return the log of a training job, given the path of its manifest."""
        run, kind, what = parts_of(target)
        return self.results / f"logs/{run}/{kind}-{what}.log"

    def story(self, target: str) -> str:
        """Return the logs of all starts of a training job, in order."""
        log = self.log(target)
        return "".join(file.read_text() for file in (earlier_log(log), log) if file.exists())

    def logs(self) -> str:
        """Return all logs of jobs, for the message of a failure."""
        files = sorted(self.results.glob("logs/**/*.log"), key=lambda path: path.stat().st_mtime)
        return "\n".join(f"--- {file.name}\n{file.read_text()[-1500:]}" for file in files[-6:])

    def submissions(self) -> list[str]:
        """Return the Slurm job ids in the heads' logs, in order."""
        found = []
        for number in range(len(self.heads)):
            for line in self.head_log(number).splitlines():
                if "has been submitted with SLURM jobid" in line:
                    found.append(line.split("SLURM jobid ")[1].split()[0])
        return found


def slurm_wakes(pid: int, truth: Callable[[], Any]) -> None:
    """Wait until Slurm has signalled a paused process, and continue it (not all versions of Slurm send SIGCONT)."""

    def found() -> bool:
        if waits_for(pid, signal.SIGTERM):
            os.kill(pid, signal.SIGCONT)
        return bool(truth())

    Cluster.wait(found, "a process that Slurm has signalled")


def waits_for(pid: int, number: int) -> bool:
    """Tell whether this signal is pending for a paused process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    pending = [int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (number - 1) & 1 for mask in pending)


def parts_of(target: str) -> list[str]:
    """Return the run, "trunk" or "decay", and the tokens or branch of a training job's manifest."""
    return target.removeprefix(f"{RESULTS}/").removesuffix("/checkpoint/manifest.json").rsplit("/", 2)


def command_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def trunk(steps: int, run: str = RUN) -> str:
    """Return the manifest of a trunk segment, as a target."""
    return f"{RESULTS}/{run}/trunk/{steps * TOKENS_PER_STEP}/checkpoint/manifest.json"


def decay(steps: int, run: str = RUN) -> str:
    """Return the manifest of the decay branch from the trunk at `steps`, as a target."""
    return f"{RESULTS}/{run}/decay/D1-{steps * 11 // 10 * TOKENS_PER_STEP}/checkpoint/manifest.json"


LONG_TRUNK = trunk(LONG)


def identity(root: Path, target: str) -> tuple[str, str]:
    """Return what must be equal after undisturbed and disturbed training."""
    manifest = root / target
    return manifest.read_text(), (manifest.parents[1] / "steps.jsonl").read_text()


def metrics(root: Path, target: str) -> dict[str, Any]:
    return json.loads(((root / target).parents[1] / "metrics.json").read_text())


def progress(log: Path) -> int:
    """Return the last step that a training job has reported; 0 before the first."""
    lines = log.read_text().splitlines() if log.is_file() else []
    steps = [json.loads(line)["progress"]["step"] for line in lines if line.startswith('{"progress"')]
    return steps[-1] if steps else 0


def prepare_study(root: Path) -> Study:
    """Copy the workflow, write the study and make its tokens, without Slurm."""
    workflow = copy_workflow(root)
    write_corpora(workflow)
    fields = {
        **{key: SMALL_STUDY[key] for key in ("tokenizer", "context", "models", "stage1")},
        "grid": {"d1": {"trunk_steps": [20]}, "d2": {"trunk_steps": [20]}},
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
