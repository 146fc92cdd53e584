"""Every figure and table of the paper: what it shows, and what a study lacks for it.

Pure functions of a study, for its own checks, for rules, for `twostage figures` and for the table of what is not drawn;
without torch, pandas or matplotlib. What a study does not choose, it gets as far as it has the cells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from twostage.common.errors import UserError
from twostage.exhibits.comparisons import ablation_pairs
from twostage.exhibits.controls import control_obstacle
from twostage.exhibits.joint_design import joint_obstacle, sizes_obstacle
from twostage.exhibits.presentation import figure_pairs, table_pairs
from twostage.laws.declarations import GRID_FORMS
from twostage.study import Study, load_study, study_file

Obstacle = Callable[[Study], str]


@dataclass(frozen=True)
class Entry:
    """One figure or table. `obstacle` says why a study cannot have it, naming key and fix; "" where it can."""

    title: str
    shows: str
    obstacle: Obstacle


def _never(study: Study) -> str:
    return ""


def _no_grid(study: Study) -> str:
    if figure_pairs(study, "figure-1"):
        return ""
    return (
        "methods: none has two or more D1 and two or more D2 at one size; add points to grid.d1 and grid.d2"
    )


def _no_others(study: Study) -> str:
    if problem := _no_grid(study):
        return problem
    if figure_pairs(study, "figure-8"):
        return ""
    return "methods: Figure 3 shows all that have two or more D1 and D2; add another continual-pretraining or growth method"


def _no_curves(study: Study) -> str:
    if study.cells_table is not None:
        missing = study.cells_table.curves is None
        return "cells_table.curves: there are no loss curves; name a curves.csv" if missing else ""
    if study.validation is None:
        return (
            "validation: there are no losses during training; add validation: {every_steps: 20, samples: 64}"
        )
    return ""


def _no_schedule_ablation(study: Study) -> str:
    ablation = study.ablations.schedule
    if ablation is None:
        return (
            "ablations.schedule: no run under another schedule; add schedule: {model: "
            f"{study.base_models[0]}, total_steps: ...}}"
        )
    if ablation.model not in study.base_models:
        return f"ablations.schedule.model: {ablation.model!r} is not in this part of the study; take one that has it"
    return _no_curves(study)


def _no_fresh_data(study: Study) -> str:
    if ablation_pairs(study, "figure-6"):
        return _no_curves(study)
    return "methods: no growth method with data: fresh stands beside one that is equal in all else; add such a copy of one"


def _no_changed_rate(study: Study) -> str:
    if ablation_pairs(study, "figure-7"):
        return _no_curves(study)
    return (
        "methods: none with its own schedule, peak_lr_fraction or warmup_steps stands beside one that is equal in all else; "
        "add such a copy of one, e.g. with schedule: constant and peak_lr_fraction: 0.1"
    )


def _over_sizes(figure: str) -> Obstacle:
    return lambda study: joint_obstacle(study, figure)


def _rows(table: str, problem: str) -> Obstacle:
    return lambda study: "" if table_pairs(study, table) else problem


def _no_downstream(study: Study) -> str:
    if study.cells_table is not None:
        return "cells_table: scores of tasks are measured on checkpoints, and nothing is trained; remove cells_table"
    if getattr(study, "downstream", None) is None:
        return "downstream: no tasks are evaluated; add this section"
    return ""


_GRID = "add points to grid.d1 and grid.d2 (or to d1_steps and d2_steps)"
#: Name -> entry, in the paper's order.
FIGURES: dict[str, Entry] = {
    "figure-1": Entry("Figure 1", "loss against D2 for each D1; exponent and factor against D1", _no_grid),
    "figure-2": Entry("Figure 2", "illustration: the two stages", _never),
    "figure-3": Entry("Figure 3", "loss against D1 for each D2, methods of Figure 1", _no_grid),
    "figure-4-left": Entry(
        "Figure 4 (left)", "joint law of continual pretraining, tested", _over_sizes("figure-4-left")
    ),
    "figure-4-right": Entry("Figure 4 (right)", "D*: growth or from scratch", _over_sizes("figure-4-right")),
    "figure-5": Entry("Figure 5", "loss curves: two schedules from scratch", _no_schedule_ablation),
    "figure-6": Entry("Figure 6", "loss curves: repeated or fresh data in growth", _no_fresh_data),
    "figure-7": Entry("Figure 7", "loss curves: other learning rates in stage 2", _no_changed_rate),
    "figure-8": Entry("Figure 8", "as Figure 3, the other methods", _no_others),
    "figure-9": Entry("Figure 9", "joint law of stacking, tested", _over_sizes("figure-9")),
    "figure-10": Entry(
        "Figure 10", "tokens from scratch to catch up with stacking", _over_sizes("figure-10")
    ),
    "figure-11": Entry(
        "Figure 11",
        "tokens from scratch to catch up with continual pretraining",
        _over_sizes("figure-11"),
    ),
    "gradient-norm": Entry("Gradient norms", "against D2 for each D1, and their mean against D1", _no_grid),
    "crossover": Entry(
        "Crossover", "reuse minus models from scratch at equal D2, both measured", control_obstacle
    ),
    "dag": Entry("DAG", "the study's jobs and what they depend on", _never),
}
TABLES: dict[str, Entry] = {
    "table-1": Entry(
        "Table 1",
        "leave-one-out errors of the laws, main methods",
        _rows("table-1", f"methods: no main method has two or more D1 and D2; {_GRID}"),
    ),
    "table-2": Entry(
        "Table 2",
        "leave-one-out errors of the laws, variants",
        _rows(
            "table-2",
            "methods: none with two or more D1 and D2 deviates from its kind's defaults; add one, e.g. with replay: 0.25",
        ),
    ),
    "table-3": Entry("Table 3", "models and their sizes", _never),
    "table-4": Entry("Table 4", "recipe of all runs", _never),
    "table-5": Entry("Table 5", "recipe of each model", _never),
    "table-6": Entry("Table 6", "scores of benchmark tasks", _no_downstream),
    "table-7": Entry(
        "Table 7",
        "exponents of the multiplicative law",
        _rows("table-7", f"methods: none has two or more D1 and D2; {_GRID}"),
    ),
    "table-8": Entry("Table 8", "coefficients of the laws over N", sizes_obstacle),
}


def _obstacle(entries: dict[str, Entry], kind: str, study: Study, name: str) -> str:
    if name not in entries:
        raise UserError(f"{kind} {name!r} is not in the paper; choose one of {', '.join(entries)}")
    return entries[name].obstacle(study)


def figure_obstacle(study: Study, name: str) -> str:
    """Why the study cannot draw a figure: one sentence with key and fix; "" where it can. `UserError`: no such figure."""
    return _obstacle(FIGURES, "figure", study, name)


def table_obstacle(study: Study, name: str) -> str:
    """Why the study cannot fill a table, as `figure_obstacle`."""
    return _obstacle(TABLES, "table", study, name)


def drawable_figures(study: Study) -> tuple[str, ...]:
    """The figures that are drawn: those that `figures` chooses (default: all), as far as the study has the cells."""
    chosen = tuple(FIGURES) if study.figures is None else study.figures
    return tuple(name for name in chosen if not figure_obstacle(study, name))


def drawable_tables(study: Study) -> tuple[str, ...]:
    """The tables that are made, as `drawable_figures`."""
    chosen = tuple(TABLES) if study.tables is None else study.tables
    return tuple(name for name in chosen if not table_obstacle(study, name))


def not_drawn(study: Study) -> list[tuple[str, str]]:
    """(name, reason) of every figure and table that is not drawn: what the study lacks, or that it does not choose it."""
    rows = []
    for key, entries, drawn in (
        ("figures", FIGURES, drawable_figures(study)),
        ("tables", TABLES, drawable_tables(study)),
    ):
        for name, entry in entries.items():
            if name not in drawn:
                rows.append(
                    (name, entry.obstacle(study) or f"{key}: the study does not choose it; add {name!r}")
                )
    return rows


def check_chosen(study: Study) -> None:
    """Raise `UserError` where the study asks for a law, figure or table that it cannot have; key and fix are named."""
    for name in study.laws.forms:
        if name not in GRID_FORMS:
            raise UserError(
                f"laws.forms: {name!r} is not a law of D1 and D2; choose from {', '.join(GRID_FORMS)}"
            )
    for key, entries, chosen in (("figures", FIGURES, study.figures), ("tables", TABLES, study.tables)):
        for name in chosen or ():
            if reason := entries[name].obstacle(study):
                raise UserError(f"{key}: {name!r} cannot be drawn: {reason}, or leave {name!r} out of {key}")


def load_checked(path: str | Path) -> Study:
    """Load a study file as `study.load_study` does, and refuse figures and tables that it asks for but cannot have.

    Raises:
        UserError: as `load_study`, or as `check_chosen`.
    """
    whole = load_study(f"{study_file(path)}:full")  # a part may lack the cells of a figure that the whole has
    check_chosen(whole)
    return load_study(path)
