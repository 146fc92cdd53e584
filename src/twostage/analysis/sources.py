"""Opens the input files of a figure or table, the ones that its declaration lists in `reads`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from twostage.analysis.cells import read_cells
from twostage.common.errors import UserError


@dataclass(frozen=True)
class Sources:
    """Paths below `results/<study>/`, in the order of `catalogue.entry.Entry.reads`."""

    files: Sequence[Path] = ()

    def cells(self) -> pd.DataFrame:
        """Return the table of cells."""
        return read_cells(self._file("cells.csv"))

    def curves(self) -> pd.DataFrame:
        """Return the table of loss curves."""
        return pd.read_csv(self._file("curves.csv"))

    def has(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        return any(path.name == name for path in self.files)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return all tables except the cells, by the stem of the file name."""
        paths = [path for path in self.files if path.suffix == ".csv" and path.name != "cells.csv"]
        return {path.stem: pd.read_csv(path) for path in paths}

    def texts(self) -> list[str]:
        """Return the text of each JSON file (fits, scores)."""
        return [path.read_text(encoding="utf-8") for path in self.files if path.suffix == ".json"]

    def _file(self, name: str) -> Path:
        for path in self.files:
            if path.name == name:
                return path
        raise UserError(f"{name}: this is made from {name}; add it to `reads` of its declaration")
