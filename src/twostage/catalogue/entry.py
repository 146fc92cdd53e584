"""The declaration of a figure (`FigureEntry`) or of a table (`TableEntry`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from twostage.design.design import Design
from twostage.design.paths import Branch
from twostage.study import Study

#: Tables that figures and tables are made from, relative to `results/<study>/`.
CELLS, BASE_CELLS, CURVES = "tables/cells.csv", "tables/base-cells.csv", "tables/curves.csv"

# Imported tables (`cells_table`).
Kind = Literal["cells", "base_cells", "curves"]
#: Required columns; `evaluation` and `excluded` may be absent (none is excluded).
COLUMNS: dict[Kind, tuple[str, ...]] = {
    "cells": (
        "method",
        "model",
        "seed",
        "d1_tokens",
        "d2_tokens",
        "valid_corpus",
        "n_base",
        "n_final",
        "loss_nats",
    ),
    "base_cells": ("model", "seed", "d1_tokens", "valid_corpus", "loss_nats"),
    "curves": ("method", "model", "seed", "d1_tokens", "d2_tokens", "tokens", "valid_loss_nats", "lr"),
}
#: Required columns that are names; the others are numbers.
NAMES = ("method", "model", "valid_corpus")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One figure or table.

    Attributes:
        name: stem of the output files, and the name in the study file.
        title: label in the report.
        shows: content in a few words, printed by `twostage figures`.
        needs: what a study must have, printed by `twostage figures`; default: nothing.
        lacks: returns why the given study cannot have it, with the key to change and the fix; "" if it can.
        draw: `module:function`; the function takes (study, `analysis.sources.Sources`) and returns `figures.style.Drawing` or
            `tables.table.Table`.
        reads: returns the input files, relative to `results/<study>/`.
        choice: returns the settings of the study that the result depends on in addition to the input files. If they change, it is
            made again.
        message: printed by Snakemake while the job runs; default: from the title. `{study.name}` is replaced.
        rule: name of the Snakemake rule; default: from the name.
        caption: text for the report, in reStructuredText.
        key: the key of the study file that selects it, and the output folder: `figures` or `tables`.
        suffixes: suffixes of the output files.
        verb: first part of the default rule name.
    """

    name: str
    title: str
    shows: str = ""
    needs: str = ""
    lacks: Callable[[Study], str] = lambda study: ""
    draw: str
    reads: Callable[[Study], Sequence[str]] = lambda study: ()
    choice: Callable[[Study], object] = lambda study: None
    message: str = ""
    rule: str = ""
    caption: str = ""

    key: ClassVar[Literal["figures", "tables"]]
    suffixes: ClassVar[tuple[str, ...]]
    verb: ClassVar[str]

    @property
    def rule_name(self) -> str:
        """Name of the Snakemake rule."""
        return self.rule or f"{self.verb}_{self.name.replace('-', '_')}"

    @property
    def files(self) -> dict[str, str]:
        """Output files by suffix, relative to `results/<study>/`."""
        return {suffix: f"{self.key}/{self.name}.{suffix}" for suffix in self.suffixes}

    @property
    def module(self) -> str:
        """The module of the function `draw`."""
        return self.draw.partition(":")[0]


@dataclass(frozen=True, kw_only=True)
class FigureEntry(Entry):
    """A figure: PDF, PNG (in the report) and the plotted numbers as CSV.

    Attributes:
        curves: returns the decay branches whose loss curves (`tables/curves.csv`) are drawn.
        columns: columns of imported tables that only this figure needs, as (key of `cells_table`, column).
        published: like `draw`, for the same figure from the paper's printed coefficients; "" if there is none.
    """

    curves: Callable[[Design], list[Branch]] = lambda design: []
    columns: tuple[tuple[str, str], ...] = ()
    published: str = ""

    key = "figures"
    suffixes = ("pdf", "png", "csv")
    verb = "plot"


@dataclass(frozen=True, kw_only=True)
class TableEntry(Entry):
    """A table: the numbers as CSV, and HTML for the report.

    Attributes:
        page: an additional output file, relative to `results/<study>/`.
    """

    page: str = ""

    key = "tables"
    suffixes = ("csv", "html")
    verb = "make"

    @property
    def files(self) -> dict[str, str]:
        """Output files by suffix, and the additional file as `page`."""
        return super().files | ({"page": self.page} if self.page else {})


E = TypeVar("E", bound=Entry)


def by_name(*entries: E) -> dict[str, E]:
    """Return declarations by name, in the given order."""
    return {entry.name: entry for entry in entries}
