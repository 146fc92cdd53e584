"""Conditions on the columns of a table, such as `method=stack`, `d1>0` and `lr<=3e-4` (`--where`, `cells_table.where`)."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from twostage.common.table_file import Cell, Table, is_missing
from twostage.common.units import read_count

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_CONDITION = re.compile(r"\s*(.+?)\s*(<=|>=|!=|==?|<|>)\s*(.*?)\s*", re.DOTALL)
_SHOWN = 8  # values listed in an error


def selected(table: Table, conditions: list[str], short: Mapping[str, str], *, key: str = "--where") -> Table:
    """Return the rows that satisfy all conditions.

    A condition is COLUMN, one of = != < > <= >=, and a value. Numbers are compared as numbers, in the units of the file:
    `lr=3e-4` holds for 0.0003. An empty value stands for "nothing there": `excluded=`. A row without a value satisfies only
    `!=`.

    Args:
        table: the table.
        conditions: as the user wrote them.
        short: short names (d1, loss, ...) of columns, which may stand for them.
        key: the option or the key of the study file that has the conditions, for messages.

    Raises:
        ValueError: a condition that cannot be read, an unknown column, an order of text, or no row is left.
    """
    for condition in conditions:
        match = _CONDITION.fullmatch(condition)
        if match is None:
            raise ValueError(
                f"{key}: {condition!r} is not a condition; write for example method=stack, 'd1>0' or 'lr<=3e-4'"
            )
        name, sign, value = match.groups()
        column = name if name in table.columns else short.get(name, name)
        if column not in table.columns:
            raise ValueError(
                f"{key}: column {name!r} is not in the table; its columns are: {', '.join(table.columns)}"
            )
        kept = table.rows(_holds(table, column, sign.replace("==", "="), value, key))
        if not len(kept):
            raise ValueError(f"{key} {condition!r}: no row is left; {_values(table, column)}")
        table = kept
    return table


def _holds(table: Table, column: str, sign: str, value: str, key: str) -> list[bool]:
    """Tell for each row whether the condition holds."""
    cells, compare = table.columns[column], _COMPARE[sign]
    number = read_count(value)
    if number is None and sign not in ("=", "!="):
        raise ValueError(
            f"{key}: {column}{sign}{value}: {value!r} is not a number; compare text with = or !="
        )
    if value == "":
        return [compare(is_missing(cell), True) for cell in cells]
    if number is None:
        return [compare(_as_text(cell), value) for cell in cells]
    found = table.likely_numbers(column)
    for row, (cell, other) in enumerate(zip(cells, found, strict=True)):
        if other is None and not is_missing(cell) and sign not in ("=", "!="):
            raise table.error(
                row, column, f"{cell!r} is not a number, so {key} cannot tell whether it is {sign} {value}"
            )
    return [sign == "!=" if other is None else compare(other, number) for other in found]


def _as_text(cell: Cell) -> str:
    if isinstance(cell, bool):
        return str(cell).lower()
    return "" if cell is None else str(cell)


def _values(table: Table, column: str) -> str:
    values = list(dict.fromkeys(_as_text(cell) or "nothing" for cell in table.columns[column]))
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return f"{column} has the values {', '.join(values[:_SHOWN])}{more}"
