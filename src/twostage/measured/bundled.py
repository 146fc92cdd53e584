"""The data sets in `data/`: what they are, where they come from, and their text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from twostage.common.errors import UserError

FOLDER = Path(__file__).resolve().parent / "data"


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One table of losses, with the columns of a study's `cells.csv` and further ones.

    Attributes:
        name: name in the command `twostage data`; the file is `data/<name>.csv`.
        title: one line.
        origin: repository, commit and file that it was taken from.
        origin_sha256: digest of the table that this one was made from.
        licence: of the origin.
        citation: what to cite.
        changes: what differs from the origin.
        columns: column -> what it is, with its unit.
    """

    name: str
    title: str
    origin: str
    origin_sha256: str
    licence: str
    citation: str
    changes: str
    columns: Mapping[str, str]

    @property
    def path(self) -> Path:
        """The CSV file."""
        return FOLDER / f"{self.name}.csv"

    @property
    def text(self) -> str:
        """The content of the CSV file."""
        return self.path.read_text(encoding="utf-8")


def data_sets() -> dict[str, DataSet]:
    """Return every data set by name."""
    sources: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "sources.yaml").read_text(encoding="utf-8"))
    return {name: DataSet(name=name, **fields) for name, fields in sources.items()}


def data_set(name: str) -> DataSet:
    """Return one data set.

    Raises:
        UserError: there is none of this name.
    """
    known = data_sets()
    if name not in known:
        raise UserError(f"data set {name!r} is not in the package; choose from {', '.join(known)}")
    return known[name]
