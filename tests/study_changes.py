"""Changes to the fields of a study file, for tests of what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change that sets the field at `path`, whose parts are separated by slashes: names of models have dots."""

    def apply(fields: dict[str, Any]) -> None:
        *parents, last = path.split("/")
        section = fields
        for key in parents:
            section = section[key]
        section[last] = value

    return apply
