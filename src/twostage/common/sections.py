"""Base class of all sections of a study, and the types of names, fractions and lists of steps."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """Base class of all sections: immutable, rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_NAME = r"^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$"


def _check_name(name: str) -> str:
    """A name becomes a folder in the results, and a part of names that are joined with underscores."""
    if re.fullmatch(_NAME, name):
        return name
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    suggestion = re.sub(r"[^A-Za-z0-9.]+", "-", plain).strip("-.")[:64]
    raise ValueError(
        f"{name!r} cannot be a name: use up to 64 letters a-z, A-Z, digits, hyphens and dots, and start with a letter or digit"
        + (f"; e.g. {suggestion}" if suggestion else "")
    )


# The pattern is for editors that check a study file against its schema; a user never sees it in a message.
Name = Annotated[str, AfterValidator(_check_name), Field(json_schema_extra={"pattern": _NAME})]
#: NumPy and PyTorch take seeds of 32 bits.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
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
