"""Points from a user's table, with the options for it; shared by the commands of the laws."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from twostage.cli.plausible import add_unit_options, converter, refuse_implausible
from twostage.common.conditions import selected
from twostage.common.table_file import Table, is_missing, read_table
from twostage.common.units import Decimal

if TYPE_CHECKING:
    from twostage.laws.points import Points

# Names of the workflow's own cells.csv, so that it needs no --columns.
DEFAULT_COLUMNS = {"d1": "d1_tokens", "d2": "d2_tokens", "n": "n_base", "loss": "loss_nats", "seed": "seed"}
#: Columns of a study's cells.csv that a law does not have. It holds for one value of each, `model` unless it has N.
STUDY_COLUMNS = ("method", "model", "valid_corpus")
#: Integers of fewer digits fit into 64 bits.
INT64_DIGITS = 19
_DECIMALS: dict[str, Decimal] = {"point": ".", "comma": ","}


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Options that name the data and the objective."""
    parser.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="measured losses, one row per run: .csv, .tsv, .jsonl (also with .gz) or .parquet",
    )
    parser.add_argument(
        "--columns",
        nargs="+",
        action="extend",
        metavar="NAME=COLUMN",
        default=[],
        help="which column is d1, d2 (tokens), n (parameters), loss (nats per token), seed; default: "
        + " ".join(f"{name}={column}" for name, column in DEFAULT_COLUMNS.items()),
    )
    parser.add_argument(
        "--where",
        nargs="+",
        action="extend",
        metavar="CONDITION",
        default=[],
        help="use only rows for which all conditions hold, e.g. method=stack 'd1>0' 'lr<=3e-4' excluded= (empty)",
    )
    add_unit_options(parser)
    parser.add_argument(
        "--decimal",
        choices=_DECIMALS,
        help="the decimal mark of all numbers, where the table leaves it open (1,250)",
    )
    parser.add_argument(
        "--repeat",
        choices=("mean", "min", "seed"),
        help="rows of the same cell and seed: take the mean or the lowest loss, or count them as further seeds",
    )
    parser.add_argument(
        "--drop-highest", type=int, metavar="K", default=0, help="leave out the K largest losses"
    )
    parser.add_argument(
        "--objective",
        choices=("huber", "lad"),
        default="huber",
        help="sum of Huber(delta) or of absolute log residuals",
    )
    parser.add_argument(
        "--delta", type=float, default=1e-3, help="Huber's delta, in log loss (default: %(default)s)"
    )


def add_level_option(parser: argparse.ArgumentParser) -> None:
    """The option `--level`."""
    parser.add_argument(
        "--level", type=float, default=0.95, help="coverage of the intervals (default: %(default)s)"
    )


def check_level(level: float) -> None:
    """Raise ValueError unless the value of `--level` is a probability."""
    if not 0 < level < 1:
        raise ValueError(f"--level: {level} must be between 0 and 1, e.g. 0.95")


def parse_pairs(pairs: list[str], option: str) -> dict[str, str]:
    """`["a=b"]` -> `{"a": "b"}`; ValueError names the option."""
    result = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not (name and sign and value):
            raise ValueError(f"{option}: {pair!r} is not of the form name=value")
        if name not in DEFAULT_COLUMNS:
            raise ValueError(f"{option}: {name!r} is not one of {', '.join(DEFAULT_COLUMNS)}")
        if name in result:
            raise ValueError(f"{option}: {name} is given twice")
        result[name] = value
    return result


def chosen_columns(args: argparse.Namespace, table: Table) -> dict[str, str]:
    """name -> column: what the user named, else the defaults that the table has; `loss` always.

    Raises ValueError for an unknown name or column, and for a column that is used twice.
    """
    named = parse_pairs(args.columns, "--columns")
    defaults = {
        name: c for name, c in DEFAULT_COLUMNS.items() if c in table.columns and c not in named.values()
    }
    columns = {"loss": DEFAULT_COLUMNS["loss"]} | defaults | named
    for name, column in columns.items():
        if column not in table.columns:
            raise ValueError(
                f"--columns: column {column!r} (for {name}) is not in {table.path}; its columns are:"
                f" {', '.join(table.columns)}"
            )
    twice = [column for column, count in Counter(columns.values()).items() if count > 1]
    if twice:
        names = [name for name, column in columns.items() if column == twice[0]]
        raise ValueError(
            f"--columns: column {twice[0]!r} is used for {' and '.join(names)}; name another column for one of them"
        )
    return columns


def load_points(args: argparse.Namespace, variables: tuple[str, ...] | None) -> tuple[Points, dict[str, str]]:
    """Read, select and check the user's points.

    Args:
        args: with the options of `add_data_options`.
        variables: the columns a form uses (of d1, d2, n); None takes all that the table has.

    Returns:
        The points and name -> column of what was used.

    Raises:
        ValueError, FileNotFoundError: with line and column.
    """
    table = read_table(args.data)
    if not len(table):
        raise ValueError(f"{args.data}: no rows below the header")
    columns = chosen_columns(args, table)
    table = selected(table, args.where, columns)
    wanted = {
        name: c for name, c in columns.items() if variables is None or name in (*variables, "loss", "seed")
    }
    for name in variables or ():
        if name not in wanted:
            raise ValueError(
                f"the form needs {name}: name its column with --columns {name}=COLUMN ({', '.join(table.columns)})"
            )
    _refuse_mixed_cells(table, wanted)
    points = _points(args, table, wanted, unused=[c for name, c in columns.items() if name not in wanted])
    if not args.accept_units:
        try:
            refuse_implausible(points)
        except ValueError as error:
            raise ValueError(f"{args.data}: {error}") from None
    if args.drop_highest:
        points = _without_highest(points, args.drop_highest)
    return points, wanted


def _points(args: argparse.Namespace, table: Table, wanted: dict[str, str], *, unused: list[str]) -> Points:
    """Read the numbers of the wanted columns; `unused` are the columns of the laws that the form does not have."""
    import numpy as np
    import pandas as pd

    from twostage.laws.points import Points, RepeatedCellsError

    converters = {name: converter(name, unit) for name, unit in parse_pairs(args.units, "--units").items()}
    content: dict[str, object] = {}
    for name, column in wanted.items():
        if name == "seed":
            content[column] = _seeds(table, column)
            continue
        values = np.array(table.numbers(column, _DECIMALS.get(args.decimal)))
        if name == "d1" and (values == 0).any() and (values > 0).any():
            raise table.error(
                int(np.argmax(values == 0)),
                column,
                "0 tokens, a model from scratch; fit the others with --where 'd1>0', and those from scratch with"
                " --where 'd1=0' and --form power or chinchilla, for `twostage advise --scratch`",
            )
        content[column] = converters[name](values) if name in converters else values
    frame = pd.DataFrame(content, index=pd.Index(table.places, name=table.place_word))
    try:
        return Points.from_frame(frame, repeat=args.repeat, **wanted)
    except RepeatedCellsError as error:
        select = (
            f"; the form does not use {' and '.join(unused)}: select one value with --where" if unused else ""
        )
        raise ValueError(f"{args.data}: {error}{select}") from None
    except ValueError as error:
        raise ValueError(f"{args.data}: {error}") from None


def _seeds(table: Table, column: str) -> list[int] | list[str]:
    """Return the labels of the seeds: integers if all are, else text."""
    cells = table.columns[column]
    for row, cell in enumerate(cells):
        if is_missing(cell):
            raise table.error(row, column, "the seed is missing; write it, or name no seed column")
    texts = [str(cell) for cell in cells]
    if all(text.isdecimal() and len(text) < INT64_DIGITS for text in texts):
        return [int(text) for text in texts]
    return texts


def _without_highest(points: Points, count: int) -> Points:
    import numpy as np

    if not 0 < count < len(points):
        raise ValueError(
            f"--drop-highest: {count} must be between 0 and {len(points) - 1}, there are {len(points)} points"
        )
    order = np.argsort(points.loss, kind="stable")
    return points.subset(np.sort(order[:-count]))


def _refuse_mixed_cells(table: Table, wanted: dict[str, str]) -> None:
    """Refuse a study's cells.csv with several methods, sizes or corpora, or with excluded cells; say what to select."""
    if not {*STUDY_COLUMNS, *DEFAULT_COLUMNS.values()} <= set(table.columns):
        return
    found, conditions = [], []
    of_form = [(tokens > 0) == ("d1" in wanted) for tokens in table.numbers(DEFAULT_COLUMNS["d1"])]
    rest = table.rows(of_form) if any(of_form) else table
    for column in STUDY_COLUMNS:
        values = Counter(str(cell) for cell in table.columns[column])
        if len(values) > 1 and not (column == "model" and "n" in wanted):
            found.append(f"{column} {', '.join(values)}")
            most = Counter(str(cell) for cell in rest.columns[column]).most_common(1)[0][0]
            conditions.append(f"{column}={most}")
            table, rest = (selected(part, conditions[-1:], {}) for part in (table, rest))
    excluded = [not is_missing(cell) for cell in rest.columns.get("excluded", [])]
    if any(excluded):
        found.append(f"{sum(excluded)} rows that the study excludes")
        conditions.append("excluded=")
    if found:
        raise ValueError(
            f"{table.path}: cells with {'; '.join(found)}; a law is fitted to one kind of cells: add for example"
            f" --where {' '.join(conditions)}"
        )
