"""Measured losses as input of the fits: one row per cell and seed, validated when created.

Every fit takes a `Points` object. Its labels say which rows leave-one-out leaves out together (`cell`) and which rows
share noise (`trunk`). `Points.from_frame` takes a pandas table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]
AnyArray = NDArray[Any]

#: What to do with rows of the same cell and seed.
Repeat = Literal["mean", "min", "seed"]


class RepeatedCellsError(ValueError):
    """Two rows are the same cell of the same seed."""


@dataclass(frozen=True)
class Points:
    """Losses on a grid of first-stage tokens, second-stage tokens and model sizes.

    All arrays have shape (m,). `d1`, `d2` are tokens, `n` is non-embedding parameters, `loss` is nats per token; each
    of the first three may be None when the form does not use it. `seed` labels repetitions. `cell` labels the unit that
    leave-one-out leaves out (default: one label per distinct (n, d1, d2), so a cell is left out with all its seeds);
    `trunk` labels the rows that share a first stage (default: distinct (n, d1, seed)).
    Raises ValueError naming the row (first row = 1) and the column of the first bad value.
    """

    loss: FloatArray
    d1: FloatArray | None = None
    d2: FloatArray | None = None
    n: FloatArray | None = None
    seed: AnyArray | None = None
    cell: AnyArray = field(default_factory=lambda: np.empty(0, np.int64))
    trunk: AnyArray = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        loss = _positive(self.loss, "loss")
        object.__setattr__(self, "loss", loss)
        if loss.size == 0:
            raise ValueError("no points: the table has no rows")
        for name in ("d1", "d2", "n"):
            values = getattr(self, name)
            if values is not None:
                values = _positive(values, name)
                _same_length(values, loss, name)
                object.__setattr__(self, name, values)
        if self.seed is not None:
            object.__setattr__(self, "seed", _labels(self.seed, loss, "seed"))
        keys = [v for v in (self.n, self.d1, self.d2) if v is not None]
        default_cell = _codes(keys, loss.size)
        cell = default_cell if np.size(self.cell) == 0 else _labels(self.cell, loss, "cell")
        object.__setattr__(self, "cell", cell)
        trunk_keys = [v for v in (self.n, self.d1, self.seed) if v is not None]
        trunk = _codes(trunk_keys, loss.size)
        if np.size(self.trunk):
            trunk = _labels(self.trunk, loss, "trunk")
        object.__setattr__(self, "trunk", trunk)

    def __len__(self) -> int:
        return int(self.loss.size)

    @property
    def log_loss(self) -> FloatArray:
        """Natural logarithm of the loss, shape (m,)."""
        return np.log(self.loss)

    def variable(self, name: str) -> FloatArray | None:
        """Values of `d1`, `d2` or `n`, shape (m,), or None if the table does not have it."""
        values: FloatArray | None = getattr(self, name)
        return values

    def variables(self) -> dict[str, FloatArray]:
        """The variables that are present, by name (`d1`, `d2`, `n`), each of shape (m,)."""
        present = {name: self.variable(name) for name in ("d1", "d2", "n")}
        return {name: values for name, values in present.items() if values is not None}

    def variables_for(self, names: Iterable[str]) -> dict[str, FloatArray]:
        """The named variables (`d1`, `d2`, `n`), each of shape (m,); ValueError where one is missing."""
        present = self.variables()
        for name in names:
            if name not in present:
                raise ValueError(f"the points have no {name!r}; name its column, or use another form")
        return {name: present[name] for name in names}

    def subset(self, keep: AnyArray) -> Points:
        """The rows selected by a boolean mask or an index array, labels of cells and trunks kept."""

        def take(values: AnyArray | None) -> AnyArray | None:
            return None if values is None else values[keep]

        return Points(
            loss=self.loss[keep],
            d1=take(self.d1),
            d2=take(self.d2),
            n=take(self.n),
            seed=take(self.seed),
            cell=self.cell[keep],
            trunk=self.trunk[keep],
        )

    def with_loss(self, loss: AnyArray) -> Points:
        """The same grid with other losses (nats per token, shape (m,)), for simulations."""
        return Points(
            loss=np.asarray(loss, float),
            d1=self.d1,
            d2=self.d2,
            n=self.n,
            seed=self.seed,
            cell=self.cell,
            trunk=self.trunk,
        )

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        d1: str | None = None,
        d2: str | None = None,
        n: str | None = None,
        loss: str = "loss_nats",
        seed: str | None = None,
        repeat: Repeat | None = None,
    ) -> Points:
        """Points from a table; the arguments name its columns (None: the variable is not used).

        Args:
            frame: one row per run.
            d1, d2, n, loss, seed: names of its columns.
            repeat: what to do with rows of the same cell and seed: take their `mean` or `min` loss, or count them as
                further seeds; None refuses them.

        Raises:
            RepeatedCellsError: two rows are the same cell of the same seed.
            ValueError: an unknown column, or a value that is not a positive finite number.

        Messages name the column and the row (first data row = 1). If the frame's index has a name, such as `line`, they use
        that name and the labels of the index instead.
        """
        columns = {"d1": d1, "d2": d2, "n": n, "loss": loss, "seed": seed}
        named = {key: column for key, column in columns.items() if column is not None}
        for key, column in named.items():
            if column not in frame.columns:
                known = ", ".join(str(c) for c in frame.columns)
                raise ValueError(
                    f"column {column!r} (for {key}) is not in the table; its columns are: {known}"
                )
        places = Places.of(frame)
        numeric = {
            key: _positive(frame[column].to_numpy(dtype=object), column, places)
            for key, column in named.items()
            if key != "seed"
        }
        labels = None if seed is None else frame[seed].to_numpy()
        keys = [numeric[key] for key in ("n", "d1", "d2") if key in numeric]
        if keys:
            codes = _codes(keys if labels is None else [*keys, labels], len(numeric["loss"]))
            if repeat is None:
                _refuse_repeats(codes, numeric, named, places)
            elif repeat == "seed":
                labels = _further_seeds(codes, labels)
            else:
                first, numeric["loss"] = _one_loss(codes, numeric["loss"], repeat)
                numeric = {key: values if key == "loss" else values[first] for key, values in numeric.items()}
                labels = None if labels is None else labels[first]
        return cls(
            loss=numeric["loss"],
            d1=numeric.get("d1"),
            d2=numeric.get("d2"),
            n=numeric.get("n"),
            seed=labels,
        )


@dataclass(frozen=True)
class Places:
    """How messages name rows: a word and one label per row (None: counted from 1)."""

    word: str = "row"
    labels: tuple[Any, ...] | None = None

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Places:
        """The index of a frame if it has a name."""
        return cls() if frame.index.name is None else cls(str(frame.index.name), tuple(frame.index.tolist()))

    def label(self, row: int) -> Any:
        """The label of a row, counted from 0."""
        return row + 1 if self.labels is None else self.labels[row]


def _positive(values: Any, column: str, places: Places = Places()) -> FloatArray:
    """Values as float64, refused with row and column where one is not a positive finite number."""
    raw = np.asarray(values)
    if raw.ndim != 1:
        raise ValueError(f"column {column!r}: expected one dimension, got shape {raw.shape}")
    if raw.dtype.kind in "fiu":
        numbers = raw.astype(np.float64)
    else:
        numbers = np.empty(raw.shape, np.float64)
        for row, value in enumerate(raw.tolist()):
            try:
                numbers[row] = np.nan if value is None else float(value)
            except (TypeError, ValueError):
                raise ValueError(
                    f"{places.word} {places.label(row)}, column {column!r}: {value!r} is not a number; correct the value or"
                    " drop the row"
                ) from None
    bad = ~(np.isfinite(numbers) & (numbers > 0))
    if bad.any():
        row = int(np.argmax(bad))
        what = "missing (NaN)" if np.isnan(numbers[row]) else f"{numbers[row]:g}"
        raise ValueError(
            f"{places.word} {places.label(row)}, column {column!r}: the value is {what}, but a law needs positive finite"
            " numbers; correct it or drop the row"
        )
    return numbers


def _same_length(values: AnyArray, loss: FloatArray, name: str) -> None:
    if values.shape != loss.shape:
        raise ValueError(f"column {name!r} has {values.shape[0]} values but loss has {loss.shape[0]}")


def _labels(values: Any, loss: FloatArray, name: str) -> AnyArray:
    labels = np.asarray(values)
    _same_length(labels, loss, name)
    return labels


def _codes(keys: Iterable[AnyArray], size: int) -> NDArray[np.int64]:
    """One integer per distinct combination of the keys, in order of first appearance."""
    rows = zip(*(key.tolist() for key in keys), strict=True)
    seen: dict[tuple[Any, ...], int] = {}
    codes = [seen.setdefault(row, len(seen)) for row in rows]
    return np.asarray(codes if codes else np.arange(size), np.int64)


def _refuse_repeats(
    codes: AnyArray, numeric: Mapping[str, FloatArray], named: Mapping[str, str], places: Places
) -> None:
    seen: dict[int, int] = {}
    for row, code in enumerate(codes.tolist()):
        first = seen.setdefault(code, row)
        if first != row:
            where = ", ".join(
                f"{named[key]} = {numeric[key][row]:g}" for key in ("n", "d1", "d2") if key in numeric
            )
            fix = "drop one" if "seed" in named else "drop one, name the seed column"
            raise RepeatedCellsError(
                f"{places.word}s {places.label(first)} and {places.label(row)} are the same cell ({where}) of the same seed:"
                f" {fix}, or give repeat (--repeat) mean, min or seed"
            )


def _further_seeds(codes: AnyArray, labels: AnyArray | None) -> AnyArray:
    """Labels of seeds that differ between the rows of one code: 0, 1, ... or, where there are labels, `0`, `0 again 1`."""
    times: Counter[int] = Counter()
    count = np.empty(codes.size, np.int64)
    for row, code in enumerate(codes.tolist()):
        count[row] = times[code]
        times[code] += 1
    if labels is None:
        return count
    return np.array(
        [f"{label} again {k}" if k else str(label) for label, k in zip(labels, count, strict=True)]
    )


def _one_loss(codes: AnyArray, loss: FloatArray, repeat: Repeat) -> tuple[AnyArray, FloatArray]:
    """The first row of each code, and the mean or lowest loss of its rows."""
    _, first = np.unique(codes, return_index=True)
    losses = [loss[codes == codes[row]] for row in first]
    return first, np.array([rows.mean() if repeat == "mean" else rows.min() for rows in losses])
