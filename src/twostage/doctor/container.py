"""Apptainer and the image that the Snakefile names, for those who run jobs in a container."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from twostage.doctor.check import Check, Status

GROUP = "container"
IMAGE = "envs/twostage.sif"


@dataclass(frozen=True)
class ContainerFacts:
    """The engine's program, if any, and whether the image is there."""

    engine: str | None
    image: bool


def gather(root: Path) -> ContainerFacts:
    """Look for the engine on PATH and for the image below the repository's root."""
    engine = next((name for name in ("apptainer", "singularity") if shutil.which(name)), None)
    return ContainerFacts(engine, (root / IMAGE).is_file())


def judge(facts: ContainerFacts) -> Check:
    """Containers are optional; what would fail is using one that is not there."""
    if facts.engine is None and not facts.image:
        return Check(GROUP, "apptainer", "absent; jobs run in this Python environment", Status.NOT_APPLICABLE)
    if facts.engine is None:
        return Check(
            GROUP,
            "apptainer",
            f"absent, though {IMAGE} is there",
            Status.WARN,
            "load the site's apptainer module",
        )
    if not facts.image:
        # Snakemake does not look: it would start every job, and each would fail (envs/README.md).
        return Check(
            GROUP,
            "apptainer",
            f"{facts.engine} is there, {IMAGE} is not",
            Status.WARN,
            f"before --software-deployment-method apptainer: apptainer build {IMAGE} envs/twostage.def",
        )
    return Check(GROUP, "apptainer", f"{facts.engine} and {IMAGE}", Status.OK)
