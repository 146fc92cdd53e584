"""FIT.json as the command line writes and reads it: a fit, and the points it was fitted to.

With the points in the file, `predict` and `advise` can give likelihood intervals without the user's data.
"""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twostage.common.advice import remake

if TYPE_CHECKING:
    from twostage.laws.fit import Fit
    from twostage.laws.points import Points


def fit_record(fit: Fit, points: Points, extra: dict[str, Any]) -> str:
    """The JSON text of a fit, its points and further keys, 17 digits."""
    from twostage.laws.jsonio import dumps, loads

    record = loads(fit.to_json()) | extra
    record["points"] = {name: values.tolist() for name, values in points.variables().items()} | {
        "loss": points.loss.tolist()
    }
    if points.seed is not None:
        record["points"]["seed"] = points.seed.tolist()
    return dumps(record) + "\n"


def read_fit(path: Path) -> tuple[Fit, Points | None]:
    """Read a fit file; the points are None where it has none.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a fit file, or its parts do not agree; names the file, the key and the command that makes it again.
    """
    from twostage.laws.fit_check import checked
    from twostage.laws.fit_schema import parse_fit  # pydantic is slow to import
    from twostage.laws.jsonio import loads

    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; write it with `twostage fit DATA.csv --form FORM --out {path}`"
        )
    record: Any = None
    try:
        record = loads(path.read_text(encoding="utf-8"))
        fields = parse_fit(record)
        if fields.points is None and "extrapolation" not in record:
            raise ValueError("points: missing, so it cannot be checked that the coefficients are the fit")
        points = None if fields.points is None else fields.points.points()
        fit = fields.fit() if points is None else checked(fields.fit(), points)
    except ValueError as error:
        raise ValueError(
            f"{path}: not a fit file of `twostage fit`: {error}; {_again(path, record)}"
        ) from None
    return fit, points


def _again(path: Path, record: Any) -> str:
    """Return what to do about a file that is not valid: the command that wrote it, as far as the file tells."""
    fields = record if isinstance(record, dict) else {}
    if isinstance(fields.get("laws"), dict):
        choice = " ".join(f"{name}={fields.get(name)}" for name in ("method", "model"))
        return (
            "fit one of them to the study's cells:"
            f" `twostage fit results/<study>/tables/cells.csv --where {choice} --form FORM --out FIT.json`"
        )
    if "extrapolation" in fields:
        return f"make it again with: {remake(path)}"
    return f"make it again with: {_command(fields)} --out {shlex.quote(str(path))}"


def _command(fields: dict[str, Any]) -> str:
    """Return the command `twostage fit` with the options that a file names, whether it is valid or not."""
    data = fields.get("data") if isinstance(fields.get("data"), dict) else {}
    assert isinstance(data, dict)
    words: list[object] = [
        "twostage",
        "fit",
        data.get("file", "DATA.csv"),
        "--form",
        fields.get("form", "FORM"),
    ]
    columns = data.get("columns")
    if isinstance(columns, dict) and columns:
        words += ["--columns", *(f"{name}={column}" for name, column in columns.items())]
    for key in ("where", "units"):
        if isinstance(data.get(key), list) and data[key]:
            words += [f"--{key}", *data[key]]
    for key in ("decimal", "repeat"):
        if data.get(key):
            words += [f"--{key}", data[key]]
    if data.get("accept_units"):
        words += ["--accept-units"]
    if data.get("dropped_highest"):
        words += ["--drop-highest", data["dropped_highest"]]
    if fields.get("objective_name") == "lad":
        words += ["--objective", "lad"]
    elif fields.get("delta") not in (None, 1e-3):
        words += ["--delta", fields["delta"]]
    return shlex.join(map(str, words))


def finite(value: Any) -> Any:
    """The same structure with NaN and infinities as None and "inf", which JSON can hold."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
