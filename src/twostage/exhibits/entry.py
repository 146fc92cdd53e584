"""What a figure or table declares of itself: `FigureEntry` and `TableEntry`, of which `catalogue` holds one each."""

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
        name: of its files, and in the study file.
        title: its label in the report.
        shows: what is in it, for lists.
        needs: what a study must have for it, for lists; default: nothing.
        lacks: why a given study cannot have it, naming key and fix; "" where it can.
        draw: `module:function`; the function takes (study, `analysis.sources.Sources`) and returns `figures.style.Drawing` or
            `tables.table.Table`.
        reads: the files that it is made from, relative to `results/<study>/`.
        choice: what of the study it shows besides those files; a change of it makes it again.
        message: what the workflow prints when it makes it; default: from the title. It may use `{study.name}`.
        rule: name of the workflow's rule; default: from the name.
        caption: what the report prints with it, in reStructuredText.
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
        """Its files by their suffix, relative to `results/<study>/`."""
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
        published: as `draw`, for the same figure from the coefficients that the paper prints; "" where there is none.
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
        page: another page that is written with it, relative to `results/<study>/`.
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
