"""The description of a cluster, `profiles/slurm/site.yaml`.

It affects how jobs run, not their results, and is not part of a study. Snakemake reads the file (`configfile` in the profile)
as the `site:` section of its config. Without this section, jobs request no cluster resources.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from twostage.common.errors import UserError


class Site(BaseModel):
    """The `site:` section. The comments in profiles/slurm/site.yaml explain its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partition: str | None = None
    cpu_partition: str | None = None
    account: str | None = None
    qos: str | None = None
    device: Literal["cuda", "cpu"] = "cuda"
    gpus_per_node: int = Field(8, ge=1)
    max_gpus_per_job: int = Field(1, ge=1)
    cpus_per_gpu: int = Field(8, ge=1)
    mem_gb_per_gpu: float = Field(64, gt=0)
    gpu_tflops: float = Field(989, gt=0)
    assumed_mfu: float = Field(0.3, gt=0, le=1)
    throughput: str | None = None
    target_job_h: float = Field(12, gt=0)
    max_walltime_min: int = Field(1440, ge=1)
    cpu_max_walltime_min: int | None = Field(None, ge=1)
    grace_s: int = Field(300, ge=10)
    save_every_min: float = Field(10, gt=0)
    deterministic: bool = True
    compile: bool = False
    max_gpu_hours: float | None = Field(None, gt=0)

    @property
    def cpu_walltime_min(self) -> int:
        """Longest walltime of jobs without a GPU, minutes."""
        return self.cpu_max_walltime_min or self.max_walltime_min

    @property
    def train_flags(self) -> str:
        """Options of `train.py` for jobs on this site's GPUs; empty for a CPU."""
        if self.device == "cpu":
            return ""
        return " ".join(f"--{name}" for name in ("deterministic", "compile") if getattr(self, name))

    @model_validator(mode="after")
    def _check(self) -> Site:
        if self.grace_s + 60 >= 60 * self.max_walltime_min:
            raise ValueError(
                f"grace_s: {self.grace_s} seconds, plus a minute because Slurm may send its signal early, take all of "
                f"max_walltime_min: {self.max_walltime_min}; lower grace_s or raise max_walltime_min"
            )
        if self.max_gpus_per_job > self.gpus_per_node == 1:
            raise ValueError(
                "max_gpus_per_job: jobs over several nodes need at least two GPUs per node; set it to 1"
            )
        if self.device == "cpu" and (self.compile or self.throughput):
            key = "compile" if self.compile else "throughput"
            raise ValueError(f"{key}: needs a GPU, but device is cpu; remove {key}, or set device to cuda")
        return self


def parse_site(fields: Any, *, source: str = "site") -> Site | None:
    """Parse the `site:` section of Snakemake's config; None if there is none.

    Raises:
        UserError: an unknown key or an invalid value; the message has the key, its value and the fix.
    """
    if fields is None:
        return None
    if not isinstance(fields, dict):
        raise UserError(
            f"{source}: must be a mapping of keys as in profiles/slurm/site.yaml; found {fields!r}"
        )
    try:
        return Site(**fields)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            key = ".".join([source, *map(str, problem["loc"])])
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "extra_forbidden":
                message = f"unknown key; known keys are {', '.join(Site.model_fields)}"
            elif problem["loc"]:
                message = f"{message} (got {problem['input']!r})"
            lines.append(f"{key}: {message}")
        raise UserError("\n".join(lines)) from None
