"""Counts of tokens or parameters as text: `300B`, `400BT`, `1.25B tokens`, `1.1e9`, `98,323,840`; and plain numbers.

A count has a number and, if wanted, a suffix and a word for the unit:

| part | accepted |
| --- | --- |
| number | `12`, `1.25`, `1e9`; commas, underscores or spaces between groups of three digits: `98,323,840` |
| suffix | K, M, B (or G), T, P in upper or lower case: powers of 1000; or thousand, million, billion, trillion |
| unit | T (as in `400BT`), tokens, params, parameters |

A comma as decimal mark (`1,5B`) is read only where the reader is told so (`decimal=","`), as `table_file` does for columns in
which it has no other meaning. Not for bytes.
"""

from __future__ import annotations

import math
import re
from typing import Literal

Decimal = Literal[".", ","]

_SUFFIXES = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12, "P": 1e15}
_WORDS = {"thousand": "K", "million": "M", "billion": "B", "trillion": "T"}
#: What a count may look like, for messages.
EXAMPLES = "300B, 400BT, 1.25B tokens, 1.1e9 or 98,323,840 (K, M, B, T: thousand to trillion)"

_SUFFIX = r"(?P<suffix>[kmbgtp]|thousand|million|billion|trillion)?"
_UNIT = r"(?:t|tok|tokens?|params?|parameters?)?"
_NUMBER = {
    decimal: re.compile(
        rf"(?P<digits>[+-]?(?:[0-9]{{1,3}}(?P<group>[{groups}])[0-9]{{3}}(?:(?P=group)[0-9]{{3}})*(?:{mark}[0-9]*)?"
        rf"|[0-9]+(?:{mark}[0-9]*)?|{mark}[0-9]+)(?:e[+-]?[0-9]+)?)\s*{_SUFFIX}\s*{_UNIT}",
        re.IGNORECASE | re.ASCII,
    )
    for decimal, mark, groups in ((".", r"\.", ",_ "), (",", ",", r"._ "))
}


def read_count(text: str, decimal: Decimal = ".") -> float | None:
    """Return the number that a text stands for, or None if it is not one. It may be 0, negative or infinite (`1e400`).

    Args:
        text: a plain number, or one with a suffix and a unit; see the module docstring.
        decimal: the decimal mark; the other of comma and point may then separate groups of three digits.
    """
    match = _NUMBER[decimal].fullmatch(text.strip())
    if match is None:
        return None
    digits, suffix = match["digits"], (match["suffix"] or "").lower()
    for separator in {",", ".", "_", " "} - {decimal}:
        digits = digits.replace(separator, "")
    return float(digits.replace(",", ".")) * _SUFFIXES[_WORDS.get(suffix, suffix).upper()]


def decimal_marks(text: str) -> set[Decimal]:
    """Return the decimal marks with which a text is a count; both where they give the same number (`12`, `1e9`).

    `1.25` and `1,250,000` are only read with a point, `1,5B` and `0,500` only with a comma, `1,250` with either: it is
    1250 or 1.25.
    """
    marks: set[Decimal] = {".", ","}
    return {mark for mark in marks if read_count(text, mark) is not None and not _padded(text, mark)}


def _padded(text: str, decimal: Decimal) -> bool:
    """Tell whether the first group of three digits is a zero, as no one writes: `0,500` is not 500."""
    match = _NUMBER[decimal].fullmatch(text.strip())
    return match is not None and match["group"] is not None and match["digits"].lstrip("+-").startswith("0")


def parse_quantity(text: str, *, name: str = "quantity") -> float:
    """Parse a positive count; see the module docstring for what is read.

    Args:
        text: the count.
        name: the option or column that it comes from, for the error message.

    Returns:
        The count, finite and > 0.

    Raises:
        ValueError: not a count, one with a decimal comma, or one whose comma may be either; not finite; not positive.
    """
    marks = decimal_marks(text)
    value = read_count(text) if "." in marks else None
    if value is None:
        fix = text.strip().replace(".", "").replace(",", ".") if marks else f"for example {EXAMPLES}"
        raise ValueError(f"{name}: {text!r} is not a count; write {fix}")
    if "," in text and "," in marks and not text.strip()[-1:].isdigit():  # with a suffix, either is plausible
        one, other = text.strip().replace(",", "."), text.strip().replace(",", "")
        raise ValueError(f"{name}: {text!r} may be {one} or {other}; write one of the two")
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"{name}: {text!r} must be finite and larger than 0")
    return value


def format_quantity(value: float, digits: int = 3) -> str:
    """Format a count with `digits` significant digits: 1.1e9 -> `1.1B`, 9.83e7 -> `98.3M`.

    Trailing zeros are dropped. From 1e18 and below 1 there is no suffix; infinity is `inf`.

    Raises:
        ValueError: NaN, or `digits` < 1.
    """
    if digits < 1:
        raise ValueError(f"digits: {digits} must be at least 1")
    if math.isnan(value):
        raise ValueError("value: NaN cannot be formatted as a count")
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    rounded = float(f"{value:.{digits - 1}e}")  # round first: 999.9e9 is 1T, not 1000B
    size = abs(rounded)
    if rounded == 0:
        return "0"
    if size >= 1e18 or size < 1:
        return f"{rounded:.{digits}g}"
    for suffix in ("P", "T", "B", "M", "K", ""):
        if size >= _SUFFIXES[suffix]:
            break
    scaled = rounded / _SUFFIXES[suffix]
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(scaled))))
    text = f"{scaled:.{decimals}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + suffix
