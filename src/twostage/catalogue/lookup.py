"""Which figures and tables a study gets, and the reason for each that it does not get.

The Snakemake rules, the report, `twostage figures` and the names allowed in a study file are all computed from the
declarations in `figure_entries` and `table_entries`. Pure functions of a study, without torch, pandas, matplotlib or
numpy, so that building the DAG stays fast. The functions that draw are given by name only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from twostage.catalogue.entry import CELLS, CURVES, Entry, TableEntry, by_name
from twostage.catalogue.figure_entries import FIGURES
from twostage.catalogue.table_entries import TABLES, TABLES_OF_OURS, excluded
from twostage.common.errors import UserError
from twostage.design.design import Design
from twostage.design.paths import Branch
from twostage.laws.declarations import GRID_FORMS
from twostage.study import Study, load_study, study_file

#: Tables that are not in the paper. They are made for every study that has the cells; `tables` does not select them.
OTHER_TABLES: dict[str, TableEntry] = TABLES_OF_OURS | by_name(
    TableEntry(
        name="not-drawn",
        title="Not drawn",
        draw="twostage.tables.not_drawn:make_not_drawn",
        choice=lambda study: not_drawn(study),
        rule="list_not_drawn",
        message="list the figures and tables that study {study.name} lacks the cells for",
        caption="""
**Figures and tables that this study does not draw.** Those that the study lacks the cells for, with the key of the study file to
change, and those that it does not select.
""",
    ),
    TableEntry(
        name="claims",
        title="What the paper says",
        draw="twostage.tables.summary:make_summary",
        reads=lambda study: [CELLS, *_claimed_tables(study)],
        choice=lambda study: [drawable_figures(study), excluded(study)],
        page="summary.md",
        rule="write_summary",
        message="write what study {study.name} found, next to what the paper says",
        caption="""
**The paper's claims and this study's results.** For each claim that the study can test, the methods and base models for which it
holds, does not hold, or is not decided. Where numbers have 95 % intervals, all of them must agree for a claim to hold or fail;
otherwise it is not decided. The single findings are in ``claims.csv``; ``summary.md`` has this table and all others.
""",
    ),
)


#: Every declaration.
ALL: tuple[Entry, ...] = (*FIGURES.values(), *TABLES.values(), *OTHER_TABLES.values())


def _claimed_tables(study: Study) -> list[str]:
    """Return the tables of this study that the claims of the paper are tested with."""
    wanted = [
        TABLES[name]
        for name in drawable_tables(study)
        if name in ("table-1", "table-2", "table-7", "table-8")
    ]
    wanted += [OTHER_TABLES[name] for name in ("alpha3", "crossover") if not OTHER_TABLES[name].lacks(study)]
    return [entry.files["csv"] for entry in wanted]


# What a study gets ----------------------------------------------------------------------------------------------------


def _get(entries: Mapping[str, Entry], key: str, name: str) -> Entry:
    if name not in entries:
        raise UserError(f"{key}: {name!r} is not in the catalogue; choose from {', '.join(entries)}")
    return entries[name]


def figure_obstacle(study: Study, name: str) -> str:
    """Return why the study cannot have a figure, with the key to change and the fix; "" if it can.

    Raises:
        UserError: there is no figure of that name.
    """
    return _get(FIGURES, "figures", name).lacks(study)


def table_obstacle(study: Study, name: str) -> str:
    """Return why the study cannot have a table; see `figure_obstacle`."""
    return _get(TABLES, "tables", name).lacks(study)


def drawable_figures(study: Study) -> tuple[str, ...]:
    """Return the figures selected by `figures` (default: all) that the study has the cells for."""
    chosen = tuple(FIGURES) if study.figures is None else study.figures
    return tuple(name for name in chosen if not figure_obstacle(study, name))


def drawable_tables(study: Study) -> tuple[str, ...]:
    """Return the tables selected by `tables` (default: all) that the study has the cells for."""
    chosen = tuple(TABLES) if study.tables is None else study.tables
    return tuple(name for name in chosen if not table_obstacle(study, name))


def drawn_entries(study: Study) -> list[Entry]:
    """Return the declarations of all figures and tables that the study gets."""
    figures = [FIGURES[name] for name in drawable_figures(study)]
    tables = [TABLES[name] for name in drawable_tables(study)]
    return [*figures, *tables, *(entry for entry in OTHER_TABLES.values() if not entry.lacks(study))]


def not_drawn(study: Study) -> list[tuple[str, str]]:
    """Return (name, reason) of every figure and table that the study lacks the cells for or does not select."""
    drawn = drawn_entries(study)
    return [
        (entry.name, entry.lacks(study) or f"{entry.key}: not selected; add {entry.name!r}")
        for entry in [*FIGURES.values(), *TABLES.values()]
        if entry not in drawn
    ]


def wanted_branches(design: Design) -> list[Branch]:
    """Return the decay branches whose loss curves the study's figures draw, each once."""
    figures = [FIGURES[name] for name in drawable_figures(design.study)]
    return list(dict.fromkeys(branch for figure in figures for branch in figure.curves(design)))


def curves_wanted(study: Study) -> bool:
    """Return whether the study has a table of loss curves: one that figures need, or an imported one."""
    if study.cells_table is not None:
        return study.cells_table.curves is not None
    return any(CURVES in FIGURES[name].reads(study) for name in drawable_figures(study))


def check_chosen(study: Study) -> None:
    """Check that the study can have each law, figure and table that it selects.

    Raises:
        UserError: it cannot; the message names the key and the fix.
    """
    for name in study.laws.forms:
        if name not in GRID_FORMS:
            raise UserError(
                f"laws.forms: {name!r} is not a law of D1 and D2; choose from {', '.join(GRID_FORMS)}"
            )
    for entries, key, chosen in ((FIGURES, "figures", study.figures), (TABLES, "tables", study.tables)):
        for name in chosen or ():
            if reason := _get(entries, key, name).lacks(study):
                raise UserError(f"{key}: {name!r} cannot be drawn: {reason}, or leave {name!r} out of {key}")


def load_checked(path: str | Path) -> Study:
    """Load a study file like `study.load_study`, and check the laws, figures and tables that it selects.

    Raises:
        UserError: as `load_study`, or as `check_chosen`.
    """
    # A subset may lack the cells of a figure that the complete study has, so the complete study is checked.
    check_chosen(load_study(f"{study_file(path)}:full"))
    return load_study(path)
