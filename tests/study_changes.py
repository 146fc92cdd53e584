"""Changes to the fields of a study file, for tests of refused studies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return a change that sets the field at `path`. Slashes separate its parts, because names of models contain dots."""

    def apply(fields: dict[str, Any]) -> None:
        *parents, last = path.split("/")
        section = fields
        for key in parents:
            section = section[key]
        section[last] = value

    return apply
