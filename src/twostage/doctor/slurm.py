"""Slurm: are its commands there, do controller and accounting answer, and which status command is safe?"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from twostage.doctor.check import Answer, Check, Status, ask

GROUP = "slurm"
COMMANDS = ("sbatch", "srun", "squeue", "scancel", "sinfo", "scontrol")
PLUGIN = "snakemake-executor-plugin-slurm"
_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class SlurmFacts:
    """Which commands exist, what they answered, the job we are in, and the executor plugin's version.

    `configured`: this machine names a cluster, so that its silence is a fault rather than a leftover package.
    """

    commands: frozenset[str] = frozenset()
    sinfo: Answer = field(default_factory=lambda: Answer(None))
    squeue: Answer = field(default_factory=lambda: Answer(None))
    sacct: Answer = field(default_factory=lambda: Answer(None))
    job: str | None = None
    plugin: str | None = None
    configured: bool = False

    @property
    def present(self) -> bool:
        """This machine belongs to a Slurm cluster: it answers, or is configured, or we are in a job of it."""
        return self.sinfo.ok or self.configured or self.job is not None


def gather() -> SlurmFacts:
    """Ask each command something harmless."""
    commands = frozenset(name for name in (*COMMANDS, "sacct") if shutil.which(name))
    try:
        plugin = version(PLUGIN)
    except PackageNotFoundError:
        plugin = None
    # GRES per partition; accounting from now on, so that a long history costs nothing.
    return SlurmFacts(
        commands,
        ask(["sinfo", "--noheader", "--format=%P %a %D %G"], timeout_s=_TIMEOUT_S),
        ask(["squeue", "--noheader", "--me", "--format=%i"], timeout_s=_TIMEOUT_S),
        ask(
            ["sacct", "--noheader", "--allocations", "--starttime=now", "--format=JobID"],
            timeout_s=_TIMEOUT_S,
        ),
        os.environ.get("SLURM_JOB_ID"),
        plugin,
        bool(os.environ.get("SLURM_CONF")) or Path("/etc/slurm/slurm.conf").exists(),
    )


def judge(facts: SlurmFacts) -> list[Check]:
    """Verdicts; without any Slurm nothing is wrong, `profiles/local` needs none."""
    if not facts.present:
        found = "commands installed, no cluster configured" if facts.commands else "no Slurm on this machine"
        return [Check(GROUP, "Slurm", found, Status.NOT_APPLICABLE)]
    if not facts.commands and facts.job is None:
        found = "a cluster is configured, but none of Slurm's commands is on PATH"
        return [
            Check(
                GROUP, "Slurm", found, Status.WARN, "to submit jobs from here, load the site's Slurm module"
            )
        ]
    return [_commands(facts), _controller(facts), _accounting(facts), _plugin(facts)]


def _commands(facts: SlurmFacts) -> Check:
    inside = f"in job {facts.job}" if facts.job else "outside of a job"
    if absent := [name for name in COMMANDS if name not in facts.commands]:
        return Check(
            GROUP,
            "commands",
            f"absent: {', '.join(absent)} ({inside})",
            Status.MISSING,
            "load the site's Slurm module; in a container, run the head process outside of it",
        )
    return Check(GROUP, "commands", f"all there, {inside}", Status.OK)


def _controller(facts: SlurmFacts) -> Check:
    for name, answer in (("sinfo", facts.sinfo), ("squeue", facts.squeue)):
        if not answer.ok:
            return Check(
                GROUP,
                "controller",
                f"{name}: {answer.complaint}",
                Status.MISSING,
                "slurmctld does not answer this node: try a login node, then ask the site",
            )
    partitions = [line.split() for line in facts.sinfo.output.strip().splitlines()]
    names = sorted({fields[0].rstrip("*") for fields in partitions if fields})
    with_gpus = sorted(
        {fields[0].rstrip("*") for fields in partitions if len(fields) > 3 and "gpu" in fields[3]}
    )
    found = f"partitions {', '.join(names) or 'none'}; with GPUs: {', '.join(with_gpus) or 'none'}"
    if not with_gpus:
        return Check(
            GROUP,
            "controller",
            found,
            Status.WARN,
            "GPU jobs will wait for ever here: ask the site for a GPU partition",
        )
    return Check(GROUP, "controller", found, Status.OK)


def _accounting(facts: SlurmFacts) -> Check:
    if facts.sacct.ok:
        return Check(
            GROUP, "accounting (slurmdbd)", "answers; sacct and squeue can both tell a job's state", Status.OK
        )
    why = facts.sacct.complaint if "sacct" in facts.commands else "no sacct"
    return Check(
        GROUP,
        "accounting (slurmdbd)",
        why,
        Status.WARN,
        "keep slurm-status-command: squeue in profiles/slurm; sacct would make snakemake wait for ever",
    )


def _plugin(facts: SlurmFacts) -> Check:
    if facts.plugin:
        return Check(GROUP, "snakemake executor", f"{PLUGIN} {facts.plugin}", Status.OK)
    return Check(
        GROUP, "snakemake executor", f"{PLUGIN} absent", Status.MISSING, "pip install -r envs/cpu.txt"
    )
