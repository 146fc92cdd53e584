"""Section `downstream`: which base checkpoints answer which benchmarks of the lm-eval harness (Table 6 of the paper)."""

from __future__ import annotations

from pydantic import Field, field_validator

from twostage.common.sections import Frozen, Name

#: The seven benchmarks of Table 6 by the harness's names. Which LAMBADA the paper means it does not say; our choice:
#: OpenAI's, which most reports use.
PAPER_TASKS = ("arc_challenge", "arc_easy", "lambada_openai", "logiqa", "piqa", "sciq", "winogrande")


class DownstreamPoint(Frozen):
    """A base checkpoint, of the study's first seed."""

    model: Name
    d1_steps: int | None = Field(
        None, gt=0, description="a point of the stage-1 grid; default: the longest trunk of the model"
    )


class Downstream(Frozen):
    """Zero-shot accuracy of base checkpoints, measured by the lm-eval harness."""

    tasks: tuple[str, ...] = Field(PAPER_TASKS, min_length=1, description="names that the harness knows")
    task_folder: str | None = Field(
        None, description="folder of your own task files (.yaml, the harness's format), searched first"
    )
    limit: int | None = Field(
        None, gt=0, description="only the first so many questions of a task: for trials"
    )
    batch_size: int = Field(8, gt=0, description="answers per forward pass; fixed, since it enters rounding")
    points: tuple[DownstreamPoint, ...] = Field(
        (), description="base checkpoints; default: the largest model at its longest trunk"
    )

    @field_validator("tasks")
    @classmethod
    def _each_once(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(tasks)) != len(tasks):
            raise ValueError(f"{list(tasks)} repeats a task; write each once")
        return tasks
