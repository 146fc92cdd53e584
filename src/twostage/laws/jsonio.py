"""JSON with 17 significant digits for every float, so that a fit read back is the fit that was written."""

from __future__ import annotations

import json
import math
from typing import Any


def dumps(value: Any, indent: int = 0) -> str:
    """JSON text; floats with 17 significant digits, NaN and infinities as null, one key per line."""
    pad, inner = " " * indent, " " * (indent + 2)
    if isinstance(value, dict):
        if not value:
            return "{}"
        items = [f"{inner}{json.dumps(str(key))}: {dumps(item, indent + 2)}" for key, item in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{pad}}}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(dumps(item, indent) for item in value) + "]"
    if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
        return json.dumps(value, ensure_ascii=False)
    number = float(value)
    if not math.isfinite(number):
        return "null"
    text = format(number, ".17g")
    return text if any(c in text for c in ".e") else text + ".0"


def loads(text: str) -> Any:
    """Plain JSON; ValueError with the line of a syntax error, or the key that an object has twice."""
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"fit file is not JSON: line {error.lineno}: {error.msg}") from None
    except RecursionError:
        raise ValueError("fit file is not valid: lists or objects are nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"key {key!r} is there twice")
        values[key] = value
    return values
