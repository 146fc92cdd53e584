"""Checks whether a table is in the units of the laws, the option `--units` for other units, and `--accept-units`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from twostage.common.units import format_quantity, parse_quantity

if TYPE_CHECKING:
    from twostage.laws.points import FloatArray, Points

#: Fewest and most tokens or parameters that are taken for raw counts; our choice, far outside what is trained.
PLAUSIBLE = {"d1": (1e4, 1e16), "d2": (1e4, 1e16), "n": (1e3, 1e15)}
#: Of the largest vocabularies in use. A loss above its logarithm is worse than guessing.
LARGEST_VOCABULARY = 262_144
_WHAT = {"d1": "tokens", "d2": "tokens", "n": "parameters"}
_LOSS_UNITS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "bits": lambda bits: bits * math.log(2),
    "perplexity": lambda perplexity: np.log(np.where(perplexity > 0, perplexity, 1.0)),  # 0 nats are refused
}
UNITS_HELP = "other units than counts and nats: d1, d2, n in K, M, B or T; loss in bits or perplexity"


def converter(name: str, unit: str) -> Callable[[FloatArray], FloatArray]:
    """Return the function from a column in another unit, shape (m,), to counts or nats per token.

    Args:
        name: d1, d2, n or loss.
        unit: a suffix such as B; for the loss, `bits` or `perplexity`.

    Raises:
        ValueError: a name without a unit, or an unknown unit.
    """
    if name == "loss":
        if unit not in _LOSS_UNITS:
            raise ValueError(f"--units loss={unit}: use loss=bits or loss=perplexity")
        return _LOSS_UNITS[unit]
    if name not in PLAUSIBLE:
        raise ValueError(f"--units {name}={unit}: only d1, d2, n and loss have a unit")
    factor = parse_quantity(f"1{unit}", name=f"--units {name}={unit}")
    return lambda counts: counts * factor


def add_unit_options(parser: argparse.ArgumentParser) -> None:
    """The options `--units` and `--accept-units`."""
    parser.add_argument(
        "--units", nargs="+", action="extend", metavar="NAME=UNIT", default=[], help=UNITS_HELP
    )
    parser.add_argument(
        "--accept-units", action="store_true", help="fit values that look as if they were in another unit"
    )


def refuse_implausible(points: Points) -> None:
    """Raise ValueError where the points seem to be in other units than tokens, parameters and nats per token.

    Perplexities below about 12 and bits cannot be told from nats.
    """
    doubts, units = [], []
    for name, values in points.variables().items():
        least, most = PLAUSIBLE[name]
        low, high = format_quantity(values.min()), format_quantity(values.max())
        if values.min() < least:
            unit, word = ("B", "billions") if values.max() < 1000 else ("M", "millions")
            doubts.append(f"{name} is {low} to {high}, too few {_WHAT[name]}: in {word}?")
            units.append(f"{name}={unit}")
        elif values.max() > most:
            doubts.append(f"{name} is {low} to {high}, more {_WHAT[name]} than any model has")
    loss, most = points.loss, math.log(LARGEST_VOCABULARY)
    if loss.max() > most:
        doubts.append(
            f"the loss is up to {loss.max():.5g}, worse than guessing among {LARGEST_VOCABULARY:,} tokens: another column, or a"
            " perplexity?"
        )
        units.append("loss=perplexity")
    if len(points) > 1 and loss.min() == loss.max():
        doubts.append(f"the loss is {loss[0]:g} in all rows: is it the right column?")
    if doubts:
        fix = f" If so, add --units {' '.join(units)}." if units else ""
        raise ValueError(f"{'; '.join(doubts)}{fix} If the values are right, add --accept-units")
