"""The classes of declarations, `FigureEntry` and `TableEntry`; `catalogue` has one object for each figure and table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from twostage.design.design import Design
from twostage.design.paths import Branch
from twostage.study import Study

#: Tables that figures and tables are made from, relative to `results/<study>/`.
CELLS, BASE_CELLS, CURVES = "tables/cells.csv", "tables/base-cells.csv", "tables/curves.csv"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One figure or table.

    Attributes:
        name: name in the study file, and stem of the output files.
        title: label in the report.
        shows: short description, for lists.
        needs: what a study must have, for lists; default: nothing.
        lacks: function of a study; returns why the study cannot have it, with the key and the fix, or "" if it can.
        draw: `module:function`; the function takes (study, `analysis.sources.Sources`) and returns `figures.style.Drawing` or
            `tables.table.Table`.
        reads: function of a study; returns the input files, relative to `results/<study>/`.
        choice: function of a study; returns the values of the study file that it uses in addition. If they change, it is made
            again.
        message: message of the workflow's rule; default: from the title. It may contain `{study.name}`.
        rule: name of the workflow's rule; default: from the name.
        caption: caption in the report, reStructuredText.
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
        """Name of the workflow's rule."""
        return self.rule or f"{self.verb}_{self.name.replace('-', '_')}"

    @property
    def files(self) -> dict[str, str]:
        """Output files by suffix, relative to `results/<study>/`."""
        return {suffix: f"{self.key}/{self.name}.{suffix}" for suffix in self.suffixes}

    @property
    def module(self) -> str:
        """The module that `draw` is in."""
        return self.draw.partition(":")[0]


@dataclass(frozen=True, kw_only=True)
class FigureEntry(Entry):
    """A figure: PDF, PNG (in the report) and the plotted numbers.

    Attributes:
        curves: the runs whose loss curves (`tables/curves.csv`) it draws.
        columns: columns of the study's tables that only this figure needs: (key of `cells_table`, column).
        published: like `draw`, for the figure from the coefficients that the paper prints; "" if there is none.
    """

    curves: Callable[[Design], list[Branch]] = lambda design: []
    columns: tuple[tuple[str, str], ...] = ()
    published: str = ""

    key = "figures"
    suffixes = ("pdf", "png", "csv")
    verb = "plot"


@dataclass(frozen=True, kw_only=True)
class TableEntry(Entry):
    """A table: the numbers, and a page for the report.

    Attributes:
        page: an additional page to write, relative to `results/<study>/`.
    """

    page: str = ""

    key = "tables"
    suffixes = ("csv", "html")
    verb = "make"

    @property
    def files(self) -> dict[str, str]:
        """As `Entry.files`, with the page."""
        return super().files | ({"page": self.page} if self.page else {})


E = TypeVar("E", bound=Entry)


def by_name(*entries: E) -> dict[str, E]:
    """Declarations by their names, in the order given."""
    return {entry.name: entry for entry in entries}
