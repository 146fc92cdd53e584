"""Check Slurm's commands, controller and accounting, and which status command can be used."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from twostage.doctor.check import Answer, Check, Group, ask

GROUP = Group("slurm")
COMMANDS = ("sbatch", "srun", "squeue", "scancel", "sinfo", "scontrol")
PLUGIN = "snakemake-executor-plugin-slurm"
_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class SlurmFacts:
    """Installed commands, their answers, the id of the current job, and the version of the executor plugin.

    `configured`: this machine has a Slurm configuration, so a controller that does not answer is an error.
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
        """Whether this machine belongs to a Slurm cluster: it answers, is configured, or runs the current job."""
        return self.sinfo.ok or self.configured or self.job is not None


def gather() -> SlurmFacts:
    """Run read-only queries with each command."""
    commands = frozenset(name for name in (*COMMANDS, "sacct") if shutil.which(name))
    try:
        plugin = version(PLUGIN)
    except PackageNotFoundError:
        plugin = None
    # sinfo lists GRES per partition. sacct starts from now, so that a long job history takes no time.
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
    """Return the checks. A machine without Slurm is fine, because `profiles/local` does not need it."""
    if not facts.present:
        found = "commands installed, no cluster configured" if facts.commands else "no Slurm on this machine"
        return [GROUP.not_applicable("Slurm", found)]
    if not facts.commands and facts.job is None:
        found = "a cluster is configured, but none of Slurm's commands is on PATH"
        return [GROUP.warn("Slurm", found, "to submit jobs from here, load the site's Slurm module")]
    return [_commands(facts), _controller(facts), _accounting(facts), _plugin(facts)]


def _commands(facts: SlurmFacts) -> Check:
    inside = f"in job {facts.job}" if facts.job else "not in a job"
    if absent := [name for name in COMMANDS if name not in facts.commands]:
        return GROUP.missing(
            "commands",
            f"absent: {', '.join(absent)} ({inside})",
            "load the site's Slurm module; in a container, start snakemake outside of it",
        )
    return GROUP.ok("commands", f"all available, {inside}")


def _controller(facts: SlurmFacts) -> Check:
    for name, answer in (("sinfo", facts.sinfo), ("squeue", facts.squeue)):
        if not answer.ok:
            return GROUP.missing(
                "controller",
                f"{name}: {answer.complaint}",
                "slurmctld does not answer this node: try a login node, then ask the site",
            )
    partitions = [line.split() for line in facts.sinfo.output.strip().splitlines()]
    names = sorted({fields[0].rstrip("*") for fields in partitions if fields})
    with_gpus = sorted(
        {fields[0].rstrip("*") for fields in partitions if len(fields) > 3 and "gpu" in fields[3]}
    )
    found = f"partitions {', '.join(names) or 'none'}; with GPUs: {', '.join(with_gpus) or 'none'}"
    if not with_gpus:
        return GROUP.warn("controller", found, "GPU jobs would never start: ask the site for a GPU partition")
    return GROUP.ok("controller", found)


def _accounting(facts: SlurmFacts) -> Check:
    if facts.sacct.ok:
        return GROUP.ok("accounting (slurmdbd)", "answers; slurm-status-command can be sacct or squeue")
    why = facts.sacct.complaint if "sacct" in facts.commands else "no sacct"
    return GROUP.warn(
        "accounting (slurmdbd)",
        why,
        "keep slurm-status-command: squeue in profiles/slurm; with sacct snakemake would never see a job finish",
    )


def _plugin(facts: SlurmFacts) -> Check:
    if facts.plugin:
        return GROUP.ok("snakemake executor", f"{PLUGIN} {facts.plugin}")
    return GROUP.missing("snakemake executor", f"{PLUGIN} absent", "pip install -r envs/cpu.txt")
