"""Section `downstream`: base checkpoints and the benchmarks of the lm-eval harness to run on them (Table 6 of the paper)."""

from __future__ import annotations

from pydantic import Field, field_validator

from twostage.common.sections import Frozen, Name

#: The seven benchmarks of Table 6, by their names in the harness. The paper does not say which version of LAMBADA it
#: uses; our choice: OpenAI's, the most common one.
PAPER_TASKS = ("arc_challenge", "arc_easy", "lambada_openai", "logiqa", "piqa", "sciq", "winogrande")


class DownstreamPoint(Frozen):
    """A base checkpoint. The study's first seed is used."""

    model: Name
    d1_steps: int | None = Field(
        None, gt=0, description="trunk length on the stage-1 grid; default: the model's longest"
    )


class Downstream(Frozen):
    """Zero-shot accuracy of base checkpoints, measured by the lm-eval harness."""

    tasks: tuple[str, ...] = Field(PAPER_TASKS, min_length=1, description="task names of the harness")
    task_folder: str | None = Field(
        None, description="folder with your own task files (.yaml, in the harness's format), searched first"
    )
    limit: int | None = Field(
        None, gt=0, description="use only the first questions of each task, this many; for trials"
    )
    batch_size: int = Field(
        8, gt=0, description="answers per forward pass; fixed, because it affects rounding"
    )
    points: tuple[DownstreamPoint, ...] = Field(
        (), description="base checkpoints; default: the largest model with its longest trunk"
    )

    @field_validator("tasks")
    @classmethod
    def _each_once(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(tasks)) != len(tasks):
            raise ValueError(f"{list(tasks)} repeats a task; write each task once")
        return tasks
