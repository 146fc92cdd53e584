"""Check Apptainer and the container image that the Snakefile names."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from twostage.doctor.check import Check, Group

GROUP = Group("container")
IMAGE = "envs/twostage.sif"


@dataclass(frozen=True)
class ContainerFacts:
    """Name of the engine's program or None, and whether the image exists."""

    engine: str | None
    image: bool


def gather(root: Path) -> ContainerFacts:
    """Look for the engine on PATH and for the image in the repository."""
    engine = next((name for name in ("apptainer", "singularity") if shutil.which(name)), None)
    return ContainerFacts(engine, (root / IMAGE).is_file())


def judge(facts: ContainerFacts) -> Check:
    """Check engine and image. Containers are optional, so nothing is `missing`."""
    if facts.engine is None and not facts.image:
        return GROUP.not_applicable("apptainer", "absent; jobs run in this Python environment")
    if facts.engine is None:
        return GROUP.warn("apptainer", f"absent, but {IMAGE} exists", "load the site's apptainer module")
    if not facts.image:
        # Snakemake does not check for the image: it would start every job, and each would fail (envs/README.md).
        return GROUP.warn(
            "apptainer",
            f"{facts.engine} is installed, but {IMAGE} does not exist",
            f"before --software-deployment-method apptainer: apptainer build {IMAGE} envs/twostage.def",
        )
    return GROUP.ok("apptainer", f"{facts.engine} and {IMAGE}")
