"""Counts of tokens or parameters as text: `300B`, `1.1e9`, `98,323,840`.

Suffixes are powers of 1000 (K, M, B or G, T, P), in upper or lower case. Not for bytes and not for losses.
"""

from __future__ import annotations

import math
import re

_SUFFIXES = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12, "P": 1e15}
_QUANTITY = re.compile(
    r"\s*([+-]?(?:\d+(?:[,_]\d+)*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*([kKmMbBgGtTpP]?)\s*\Z"
)


def parse_quantity(text: str, *, name: str = "quantity") -> float:
    """Parse a positive count.

    `300B` is 3e11, `1.1e9` and `98,323,840` and `98_323_840` are plain numbers, `0.1b` is 1e8.

    Args:
        text: the count.
        name: the option or column that it comes from, for the error message.

    Returns:
        The count, finite and > 0.

    Raises:
        ValueError: not a number with an optional suffix K, M, B, G, T or P; not finite; or not positive.
    """
    match = _QUANTITY.match(text)
    if match is None:
        raise ValueError(
            f"{name}: {text!r} is not a count; write for example 300B, 1.1e9 or 98,323,840"
            " (suffixes K, M, B, T: thousand to trillion)"
        )
    digits, suffix = match.groups()
    value = float(digits.replace(",", "").replace("_", "")) * _SUFFIXES[suffix.upper()]
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
