"""The numbers that arXiv 2510.06548v1 prints, with the precision they are printed in.

Loads `data/*.csv` (Tables 1 to 8 and the numbers of the text, each with its place). A printed coefficient
stands for an interval: `alpha3 = 0.003` means 0.0025 to 0.0035, and `Printed` holds that interval with the value.
Our own measurements are in `results/reference/` and in the results of each study.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from twostage.laws.crossover import Law
from twostage.laws.forms import form_of

PUBLISHED_FOLDER = Path(__file__).resolve().parent / "data"

_SWAP = {
    "A": "B",
    "B": "A",
    "alpha": "beta",
    "beta": "alpha",
}  # the paper's one-stage law -> our `chinchilla`
_COEFFICIENT_COLUMNS = ("alpha", "alpha1", "alpha2", "alpha3", "beta", "A", "B", "E")
_KEYS = {
    1: "variant",
    2: "variant",
    3: "model",
    4: "setting",
    5: "model",
    6: "benchmark",
    7: "variant",
    8: "fit",
}
_NUMBER = re.compile(r"[+-]?[\d,]+(\.\d+)?(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Printed:
    """A number as printed: its value, and half a unit of its last printed digit."""

    text: str
    value: float
    half_width: float

    @classmethod
    def read(cls, text: str, *, where: str = "number") -> Printed:
        """Read `0.105` (half width 0.0005), `8e-3` (0.5e-3) or `14,751,680` (0.5).

        Raises:
            ValueError: not a plain number; `where` is named.
        """
        if _NUMBER.fullmatch(text) is None:
            raise ValueError(f"{where}: {text!r} is not a printed number")
        number = Decimal(text.replace(",", ""))
        exponent = number.as_tuple().exponent
        assert isinstance(
            exponent, int
        )  # only NaN and infinities have another, and the pattern excludes them
        return cls(text, float(number), float(Decimal(5).scaleb(exponent - 1)))


@dataclass(frozen=True)
class Coefficients:
    """One printed row of coefficients.

    Attributes:
        name: the row's label in the paper, e.g. `Stack`.
        form: the law it belongs to (`joint`, `chinchilla`, or `mul` for the exponents of Table 7).
        printed: coefficient name of our form -> the printed number. Tokens and parameters are raw counts, logs are
            natural. The paper writes its one-stage law A D^-alpha + B N^-beta + E; our `chinchilla` form is
            A N^-alpha + B D^-beta + E, so there the pairs (A, alpha) and (B, beta) change places.
        source: table or section of the paper.
    """

    name: str
    form: str
    printed: Mapping[str, Printed]
    source: str

    @property
    def values(self) -> dict[str, float]:
        """Coefficient name -> printed value."""
        return {name: number.value for name, number in self.printed.items()}

    @property
    def law(self) -> Law:
        """The printed values as a law. Table 7 prints no A and E and has none.

        Raises:
            ValueError: a coefficient of the form is not printed.
        """
        missing = set(form_of(self.form).coefficients) - set(self.printed)
        if missing:
            raise ValueError(f"{self.source}, {self.name}: {', '.join(sorted(missing))} not printed")
        return Law(self.form, self.values)

    def rounding_box(self, draws: int, generator: np.random.Generator) -> Law:
        """Laws drawn uniformly from everything that rounds to the printed row; each coefficient of shape (draws, 1)."""
        return self.law.with_coefficients(
            **{
                name: number.value + number.half_width * generator.uniform(-1.0, 1.0, (draws, 1))
                for name, number in self.printed.items()
            }
        )


@cache
def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; the published tables are in results/published, pass that folder or none"
        )
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def published_table(number: int, folder: Path = PUBLISHED_FOLDER) -> pd.DataFrame:
    """Table 1 to 8 as printed: every entry a string, so that no digit is lost; indexed by its first column.

    Raises:
        ValueError: no such table.
        FileNotFoundError: `folder` lacks it.
    """
    if number not in _KEYS:
        raise ValueError(f"number: the paper has Tables 1 to 8, not {number}")
    return _read(folder / f"table_{number}.csv").set_index(_KEYS[number])


def published_numbers(folder: Path = PUBLISHED_FOLDER) -> pd.DataFrame:
    """The numbers of the running text: index `key`; columns printed, value (float, base units), unit, quote, source."""
    frame = _read(folder / "text.csv").set_index("key")
    return frame.assign(value=frame["value"].astype(float))


def published_number(key: str, folder: Path = PUBLISHED_FOLDER) -> float:
    """One number of the text in base units, e.g. `published_number("d_star_100b")` = 1.3e13 tokens.

    Raises:
        KeyError: unknown key; the known ones are listed.
    """
    numbers = published_numbers(folder)["value"]
    if key not in numbers.index:
        raise KeyError(f"{key}: not a published number; there are {', '.join(numbers.index)}")
    return float(numbers[key])


def _coefficients(row: pd.Series, form: str, source: str) -> Coefficients:
    names = _SWAP if form == "chinchilla" else {}
    printed = {
        names.get(name, name): Printed.read(row[name], where=f"{source}, {row.name}, {name}")
        for name in _COEFFICIENT_COLUMNS
        if row.get(name)
    }
    return Coefficients(str(row.name), form, printed, source)


def published_exponents(folder: Path = PUBLISHED_FOLDER) -> dict[str, Coefficients]:
    """Table 7: variant -> alpha1, alpha2, alpha3 of the multiplicative law at 0.1B (A and E are not printed)."""
    table = published_table(7, folder)
    return {str(name): _coefficients(row, "mul", row["source"]) for name, row in table.iterrows()}


def published_joint_laws(folder: Path = PUBLISHED_FOLDER) -> dict[str, Coefficients]:
    """Table 8: `Base (Slimpajama)`, `From-scratch (code)` (Chinchilla form), `CPT (code)`, `Stack` (Eq. 7).

    Stack takes N before growth; its from-scratch counterpart is `Base (Slimpajama)` at 2N.
    """
    table = published_table(8, folder)
    return {str(name): _coefficients(row, row["form"], row["source"]) for name, row in table.iterrows()}


def maximum_tokens(folder: Path = PUBLISHED_FOLDER) -> pd.Series:
    """Table 5: model -> iterations x batch x context, the largest D1 and D2 of each model in tokens (int64)."""
    context = int(str(published_table(4, folder)["value"]["Context length"]).replace(",", ""))
    table = published_table(5, folder)
    tokens = table["max_iterations"].astype("int64") * table["batch_size"].astype("int64") * context
    return tokens.rename("max_tokens")
