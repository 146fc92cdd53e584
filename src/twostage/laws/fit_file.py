"""FIT.json as the command line writes and reads it: a fit, and the points it was fitted to.

With the points in the file, `predict` and `advise` can give likelihood intervals without the user's data.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """Read a fit file; the points are None where it has none (a study's own fit file).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a fit file; names the file and the key.
    """
    from twostage.laws.fit import Fit
    from twostage.laws.jsonio import loads
    from twostage.laws.points import Points

    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; write it with `twostage fit DATA.csv --form FORM --out {path}`"
        )
    text = path.read_text(encoding="utf-8")
    try:
        record = loads(text)
        fit = Fit.from_json(text)
        points = Points(**record["points"]) if "points" in record else None
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a fit file of `twostage fit`: {error}") from None
    return fit, points


def finite(value: Any) -> Any:
    """The same structure with NaN and infinities as None and "inf", which JSON can hold."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
