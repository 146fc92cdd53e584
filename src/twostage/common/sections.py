"""Base class of all sections of a study, and the types of names, fractions and lists of steps."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """Base class of all sections: immutable, rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# A name becomes a directory in the results, so it must be a plain path component.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$", max_length=64)]
Share = Annotated[float, Field(gt=0, lt=1)]


def _check_steps(steps: tuple[int, ...]) -> tuple[int, ...]:
    for value in steps:
        if value < 10 or value % 10:
            nearest = max(10, round(value / 10) * 10)
            raise ValueError(
                f"{value} is not a positive multiple of 10 (a decay branch has a tenth of the trunk's steps); nearest: {nearest}"
            )
    if list(steps) != sorted(set(steps)):
        raise ValueError(f"{list(steps)} must increase strictly; write {sorted(set(steps))}")
    return steps


Steps = Annotated[tuple[int, ...], AfterValidator(_check_steps)]
