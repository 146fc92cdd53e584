"""What all sections of a study share: immutable models, and the types of names, shares and step lists."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """Base of all sections: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# A name becomes a directory (DESIGN: path = identity), so it must be a plain path component.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$", max_length=64)]
Share = Annotated[float, Field(gt=0, lt=1)]


def _chain(steps: tuple[int, ...]) -> tuple[int, ...]:
    for value in steps:
        if value < 10 or value % 10:
            nearest = max(10, round(value / 10) * 10)
            raise ValueError(
                f"{value} is not a positive multiple of 10 (a decay branch takes a tenth of the trunk); nearest: {nearest}"
            )
    if list(steps) != sorted(set(steps)):
        raise ValueError(f"{list(steps)} must rise strictly; write {sorted(set(steps))}")
    return steps


Steps = Annotated[tuple[int, ...], AfterValidator(_chain)]
