"""Studies of losses that were measured elsewhere: all methods are of kind `measured`, and the table says the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twostage.common.conditions import selected
from twostage.common.errors import UserError
from twostage.common.table_file import Table, read_table

if TYPE_CHECKING:
    from twostage.study.study import CellsTable

#: Sections about training, which such a study does not have. They stand in their place, and no figure or table shows them.
_STAND_INS: dict[str, Any] = {
    "corpora": {"none": {"source": "embedded", "domain": "generic"}},
    "tokenizer": {"kind": "bpe", "vocab_size": 512},
    "context": 8,
    "models": {
        "none": {
            "n_layer": 1,
            "d_model": 4,
            "n_head": 1,
            "batch_size": 1,
            "warmup_steps": 0,
            "peak_lr": 1e-3,
        }
    },
    "grid": {"d1": {"trunk_steps": [10]}, "d2": {"trunk_steps": [10]}},
    "stage1": {"corpus": "none"},
}
#: Sections that only a study with training can have.
_TRAINING = (
    *_STAND_INS,
    "recipe",
    "validation",
    "seeds",
    "scratch",
    "repeats",
    "ablations",
    "evaluation",
    "checkpoints",
    "downstream",
)


def completed(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the sections of a study; if all its methods are measured, with stand-ins for those about training.

    Raises:
        ValueError: a study without training has a section about training, or no table.
    """
    methods = fields.get("methods")
    if not isinstance(methods, dict) or not methods:
        return fields
    if any(not isinstance(one, dict) or one.get("kind") != "measured" for one in methods.values()):
        return fields
    for key in _TRAINING:
        if key in fields:
            raise ValueError(
                f"{key}: all methods are of kind measured, so nothing is trained; remove this section"
            )
    return _STAND_INS | dict(fields)


@dataclass(frozen=True)
class MeasuredSize:
    """What a table has of a method at one base model: N before growth, and the distinct D1 and D2 in tokens."""

    n_base: float
    d1_tokens: tuple[float, ...]
    d2_tokens: tuple[float, ...]


def read_cells_table(given: CellsTable) -> Table:
    """Return the rows of `cells_table.cells` for which all conditions of `cells_table.where` hold.

    Raises:
        UserError: the file cannot be read, or a condition does not fit it. The message names the key.
    """
    try:
        table = read_table(given.cells)
    except OSError as error:
        raise UserError(
            f"cells_table.cells: {given.cells} cannot be read ({error}); correct the path or the file"
        ) from None
    try:
        return selected(table, list(given.where), {}, key="cells_table.where")
    except ValueError as error:
        raise UserError(str(error)) from None


def measured_sizes(given: CellsTable) -> dict[str, dict[str, MeasuredSize]]:
    """Return what the table has, by method and base model, in the order of its rows.

    Raises:
        UserError: as `read_cells_table`; or a column is missing.
    """
    table = read_cells_table(given)
    names, columns = ("method", "model"), ("n_base", "d1_tokens", "d2_tokens")
    for column in (*names, *columns):
        if column not in table.columns:
            raise UserError(f"cells_table.cells: {given.cells} has no column {column!r}; add it")
    numbers = [table.numbers(column) for column in columns]
    rows: dict[str, dict[str, list[tuple[float, ...]]]] = {}
    for method, model, *values in zip(*(table.columns[name] for name in names), *numbers, strict=True):
        rows.setdefault(str(method), {}).setdefault(str(model), []).append(tuple(values))
    return {
        method: {model: _size(values) for model, values in models.items()} for method, models in rows.items()
    }


def _size(rows: list[tuple[float, ...]]) -> MeasuredSize:
    n_base, d1, d2 = zip(*rows, strict=True)
    return MeasuredSize(n_base[0], tuple(sorted(set(d1))), tuple(sorted(set(d2))))
