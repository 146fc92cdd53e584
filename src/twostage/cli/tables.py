"""Reading measured losses from a user's file, and the options that say how; shared by `fit` and `compare`."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from twostage.common.units import parse_quantity

if TYPE_CHECKING:
    import pandas as pd

    from twostage.laws.points import Points

# Names of the workflow's own cells.csv, so that it needs no --columns.
DEFAULT_COLUMNS = {"d1": "d1_tokens", "d2": "d2_tokens", "n": "n_base", "loss": "loss_nats", "seed": "seed"}
_QUANTITIES = ("d1", "d2", "n")


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Options that name the data and the objective."""
    parser.add_argument(
        "data", type=Path, metavar="DATA", help="measured losses: .csv, .jsonl or .parquet, one row per run"
    )
    parser.add_argument(
        "--columns",
        nargs="+",
        metavar="NAME=COLUMN",
        default=[],
        help="which column is d1, d2 (tokens), n (parameters), loss (nats per token), seed; default: "
        + " ".join(f"{name}={column}" for name, column in DEFAULT_COLUMNS.items()),
    )
    parser.add_argument(
        "--where",
        nargs="+",
        metavar="COLUMN=VALUE",
        default=[],
        help="use only rows with these values, e.g. method=stack",
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


def parse_pairs(pairs: list[str], option: str) -> dict[str, str]:
    """`["a=b"]` -> `{"a": "b"}`; ValueError names the option."""
    result = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not (name and sign and value):
            raise ValueError(f"{option}: {pair!r} is not of the form name=value")
        if name in result:
            raise ValueError(f"{option}: {name} is given twice")
        result[name] = value
    return result


def read_frame(path: Path) -> pd.DataFrame:
    """Read a table by its ending: .csv, .jsonl or .parquet.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another ending, or the file cannot be read as such.
    """
    import pandas as pd

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    ending = path.suffix.lower()
    try:
        if ending == ".csv":
            return pd.read_csv(path)
        if ending == ".jsonl":
            return pd.read_json(path, lines=True)
        if ending == ".parquet":
            import_module("pyarrow")  # pandas itself would not name the extra
            return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as {ending[1:]}: {error}") from None
    raise ValueError(f"{path}: ending {ending!r} is not known; use .csv, .jsonl or .parquet")


def chosen_columns(args: argparse.Namespace, frame: pd.DataFrame) -> dict[str, str]:
    """name -> column: what the user named, else the defaults that the table has; `loss` always.

    A named column must exist; `Points.from_frame` says so otherwise. Raises ValueError for an unknown name.
    """
    named = parse_pairs(args.columns, "--columns")
    for name in named:
        if name not in DEFAULT_COLUMNS:
            raise ValueError(f"--columns: {name!r} is not one of {', '.join(DEFAULT_COLUMNS)}")
    columns = {name: column for name, column in DEFAULT_COLUMNS.items() if column in frame.columns}
    return {"loss": DEFAULT_COLUMNS["loss"]} | columns | named


def load_points(args: argparse.Namespace, variables: tuple[str, ...] | None) -> tuple[Points, dict[str, str]]:
    """Read, select and check the user's points.

    Args:
        args: with the options of `add_data_options`.
        variables: the columns a form uses (of d1, d2, n); None takes all that the table has.

    Returns:
        The points and name -> column of what was used.

    Raises:
        ValueError, FileNotFoundError: with row and column.
    """
    from twostage.laws.points import Points

    frame = read_frame(args.data)
    columns = chosen_columns(args, frame)
    selection = parse_pairs(args.where, "--where")
    for column, value in selection.items():
        if column not in frame.columns:
            raise ValueError(
                f"--where: column {column!r} is not in the table; its columns are: {', '.join(map(str, frame.columns))}"
            )
        frame = frame[frame[column].astype(str) == value]
    if selection and frame.empty:
        raise ValueError(f"--where {' '.join(args.where)}: no row is left")
    wanted = {
        name: c for name, c in columns.items() if variables is None or name in (*variables, "loss", "seed")
    }
    for name in variables or ():
        if name not in wanted:
            raise ValueError(
                f"the form needs {name}: name its column with --columns {name}=COLUMN ({', '.join(map(str, frame.columns))})"
            )
    frame = frame.assign(
        **{c: _numbers(frame[c], c) for name, c in wanted.items() if name in _QUANTITIES and c in frame}
    )
    try:
        points = Points.from_frame(frame, **wanted)
    except ValueError as error:
        counted = " (rows counted after --where)" if selection else ""
        raise ValueError(f"{args.data}: {error}{counted}") from None
    if args.drop_highest:
        if not 0 < args.drop_highest < len(points):
            raise ValueError(
                f"--drop-highest: {args.drop_highest} must lie between 0 and {len(points) - 1}, there are {len(points)} points"
            )
        import numpy as np

        order = np.argsort(points.loss, kind="stable")
        points = points.subset(np.sort(order[: -args.drop_highest]))
    return points, wanted


def _numbers(column: pd.Series, name: str) -> pd.Series:
    """A column of counts: `300B` where it holds text; what is no count stays, for `Points` to refuse with its row."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return column

    def read(value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return parse_quantity(value, name=name)
        except ValueError:
            return value

    return pd.Series([read(value) for value in column], index=column.index, dtype=object)
