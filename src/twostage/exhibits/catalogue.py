"""Every figure and table, each declared once: what it shows, what it needs, what it is made from and what makes it.

From a declaration follow the names that a study may choose, why a study lacks a figure, the workflow's rule, the report
and `twostage figures`. Pure functions of a study, without torch, pandas, matplotlib or numpy, so that parsing the DAG stays
fast: the function that draws is only named here. CONTRIBUTING.md says how to add a figure or a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from twostage.common.errors import UserError
from twostage.design.design import Design
from twostage.design.paths import Branch
from twostage.evaluation.downstream_spec import downstream_branches, scores_file
from twostage.exhibits import obstacles
from twostage.exhibits.comparisons import (
    DATA_KEYS,
    RATE_KEYS,
    panel_branches,
    panels,
    schedule_branches,
    trajectory_branches,
)
from twostage.exhibits.controls import control_obstacle, shown_controls
from twostage.exhibits.entry import Entry, FigureEntry, TableEntry
from twostage.exhibits.joint_design import joint_fits, joint_obstacle, sizes_fits, sizes_obstacle
from twostage.exhibits.presentation import (
    fit_path,
    fitted_pairs,
    main_pairs,
    method_title,
    other_pairs,
    shown_pairs,
    variant_pairs,
)
from twostage.study import Study, load_study

#: Tables that figures and tables are made from, relative to `results/<study>/`.
CELLS, BASE_CELLS, CURVES = "tables/cells.csv", "tables/base-cells.csv", "tables/curves.csv"
Pairs = Callable[[Study], list[tuple[str, str]]]

# Declarations of one kind ---------------------------------------------------------------------------------------------


def _fits(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [fit_path(*pair) for pair in pairs]


def _of_methods(pairs: Pairs, **fields: Any) -> FigureEntry:
    """A figure of the cells and fits of some methods."""
    return FigureEntry(
        reads=lambda study: [CELLS, *_fits(pairs(study))],
        choice=lambda study: [method_title(study, name) for name, _ in pairs(study)],
        **fields,
    )


def _of_twins(keys: tuple[str, ...], **fields: Any) -> FigureEntry:
    """A figure of the loss curves of methods that differ in some keys only."""
    return FigureEntry(
        reads=lambda study: [CELLS, CURVES],
        choice=lambda study: [repr(panel) for panel in panels(study, keys)],
        curves=lambda design: panel_branches(design, keys),
        **fields,
    )


def _over_sizes(kind: str, *, scratch: bool, **fields: Any) -> FigureEntry:
    """A figure of the joint law of the first method of a kind, and of models from scratch."""
    return FigureEntry(
        lacks=lambda study: joint_obstacle(study, kind, scratch=scratch),
        reads=lambda study: joint_fits(study, kind, scratch=scratch),
        choice=lambda study: study.laws.catch_up_n_final,
        **fields,
    )


def _of_laws(pairs: Pairs, lack: str, **fields: Any) -> TableEntry:
    """A table with a row for each of some methods, from their fits."""
    return TableEntry(
        needs="methods with two or more D1 and D2",
        lacks=lambda study: "" if pairs(study) else lack,
        reads=lambda study: _fits(pairs(study)),
        choice=_excluded,
        **fields,
    )


def _of_study(*sections: str, **fields: Any) -> TableEntry:
    """A table of some sections of the study file."""
    return TableEntry(choice=lambda study: study.model_dump_json(include=set(sections)), **fields)


def _excluded(study: Study) -> list[dict[str, Any]]:
    return [entry.model_dump() for entry in study.excluded_cells]


def _all_but_checkpoints(study: Study) -> str:
    return study.model_dump_json(exclude={"checkpoints"})


def _named(*entries: Any) -> dict[str, Any]:
    return {entry.name: entry for entry in entries}


# Figures --------------------------------------------------------------------------------------------------------------

_GRID = "add points to grid.d1 and grid.d2 (or to d1_steps and d2_steps)"
_ONE_GRID = "a method with two or more D1 and D2 at one size"
_SIZES = "three sizes over 4x in N"
#: By name, in the paper's order.
FIGURES: dict[str, FigureEntry] = _named(
    _of_methods(
        shown_pairs,
        name="figure-1",
        title="Figure 1",
        shows="loss against D2 for each D1; exponent and factor against D1",
        needs=_ONE_GRID,
        lacks=obstacles.no_grid,
        draw="twostage.figures.figure_1:draw_study",
    ),
    FigureEntry(
        name="figure-2",
        title="Figure 2",
        shows="illustration: the two stages",
        draw="twostage.figures.figure_2:draw_study",
        choice=_all_but_checkpoints,
    ),
    _of_methods(
        shown_pairs,
        name="figure-3",
        title="Figure 3",
        shows="loss against D1 for each D2, methods of Figure 1",
        needs=_ONE_GRID,
        lacks=obstacles.no_grid,
        draw="twostage.figures.figure_3:draw_study",
    ),
    _over_sizes(
        "cpt",
        scratch=False,
        name="figure-4-left",
        title="Figure 4 (left)",
        shows="joint law of continual pretraining, tested",
        needs=f"continual pretraining at {_SIZES}",
        draw="twostage.figures.figures_4_9:draw_study",
    ),
    _over_sizes(
        "stack",
        scratch=True,
        name="figure-4-right",
        title="Figure 4 (right)",
        shows="D*: growth or from scratch",
        needs=f"stacking at {_SIZES}, and models from scratch on its corpus",
        draw="twostage.figures.figure_4_right:draw_study",
        published="twostage.figures.published:draw_figure_4_right",
    ),
    FigureEntry(
        name="figure-5",
        title="Figure 5",
        shows="loss curves: two schedules from scratch",
        needs="ablations.schedule, validation",
        lacks=obstacles.no_schedule_ablation,
        draw="twostage.figures.figure_5:draw_study",
        reads=lambda study: [CELLS, CURVES],
        choice=lambda study: repr(study.ablations.schedule),
        curves=schedule_branches,
    ),
    _of_twins(
        DATA_KEYS,
        name="figure-6",
        title="Figure 6",
        shows="loss curves: repeated or fresh data in growth",
        needs="a growth method and its copy with data: fresh; validation",
        lacks=obstacles.no_fresh_data,
        draw="twostage.figures.figures_6_7:draw_figure_6",
    ),
    _of_twins(
        RATE_KEYS,
        name="figure-7",
        title="Figure 7",
        shows="loss curves: other learning rates in stage 2",
        needs="a method and its copy with another schedule, peak_lr_fraction or warmup_steps; validation",
        lacks=obstacles.no_changed_rate,
        draw="twostage.figures.figures_6_7:draw_figure_7",
    ),
    _of_methods(
        other_pairs,
        name="figure-8",
        title="Figure 8",
        shows="as Figure 3, the other methods",
        needs="more methods than Figure 3 shows",
        lacks=obstacles.no_others,
        draw="twostage.figures.figure_3:draw_study",
    ),
    _over_sizes(
        "stack",
        scratch=False,
        name="figure-9",
        title="Figure 9",
        shows="joint law of stacking, tested",
        needs=f"stacking at {_SIZES}",
        draw="twostage.figures.figures_4_9:draw_study",
    ),
    _over_sizes(
        "stack",
        scratch=True,
        name="figure-10",
        title="Figure 10",
        shows="tokens from scratch to catch up with stacking",
        needs=f"stacking at {_SIZES}, and models from scratch on its corpus",
        draw="twostage.figures.figure_10:draw_study",
        published="twostage.figures.published:draw_figure_10",
    ),
    _over_sizes(
        "cpt",
        scratch=True,
        name="figure-11",
        title="Figure 11",
        shows="tokens from scratch to catch up with continual pretraining",
        needs=f"continual pretraining at {_SIZES}, and models from scratch on its corpus (scratch)",
        draw="twostage.figures.figure_11:draw_study",
        published="twostage.figures.published:draw_figure_11",
    ),
    FigureEntry(
        name="gradient-norm",
        title="Gradient norms",
        shows="against D2 for each D1, and their mean against D1",
        needs=f"{_ONE_GRID}; without validation the means alone",
        lacks=obstacles.no_grid,
        draw="twostage.figures.gradient_norm:draw_study",
        reads=lambda study: [CELLS] if obstacles.no_curves(study) else [CELLS, CURVES],
        choice=lambda study: [method_title(study, name) for name, _ in shown_pairs(study)],
        curves=trajectory_branches,
        columns=(("cells", "grad_norm_mean"), ("curves", "grad_norm")),
        message="draw gradient norms",
    ),
    FigureEntry(
        name="crossover",
        title="Crossover",
        shows="reuse minus models from scratch at equal D2, both measured",
        needs="models from scratch on a method's corpus, at its size after stage 2, at two or more of its D2",
        lacks=control_obstacle,
        draw="twostage.figures.crossover:draw_study",
        reads=lambda study: [CELLS],
        choice=lambda study: [repr(control) for control in shown_controls(study)],
        message="draw the measured crossover",
    ),
    FigureEntry(
        name="dag",
        title="The DAG",
        shows="the study's jobs and what they depend on",
        draw="twostage.figures.dag:draw_study",
        choice=_all_but_checkpoints,
        message="draw the rule graph of study {study.name}",
    ),
)

# Tables ---------------------------------------------------------------------------------------------------------------

TABLES: dict[str, TableEntry] = _named(
    _of_laws(
        main_pairs,
        f"methods: no main method has two or more D1 and D2; {_GRID}",
        name="table-1",
        title="Table 1",
        shows="leave-one-out errors of the laws, main methods",
        draw="twostage.tables.laws:make_table_1",
        message="make Table 1: leave-one-out errors",
    ),
    _of_laws(
        variant_pairs,
        "methods: none with two or more D1 and D2 deviates from its kind's defaults; add one, e.g. with replay: 0.25",
        name="table-2",
        title="Table 2",
        shows="leave-one-out errors of the laws, variants",
        draw="twostage.tables.laws:make_table_2",
        message="make Table 2: leave-one-out errors of variants",
    ),
    _of_study(
        *("models", "context", "tokenizer"),
        name="table-3",
        title="Table 3",
        shows="models and their sizes",
        draw="twostage.tables.setup:make_table_3",
        message="make Table 3: models",
    ),
    _of_study(
        *("recipe", "context", "tokenizer"),
        name="table-4",
        title="Table 4",
        shows="recipe of all runs",
        draw="twostage.tables.setup:make_table_4",
        message="make Table 4: recipe",
    ),
    _of_study(
        *("models", "grid", "methods", "seeds"),
        name="table-5",
        title="Table 5",
        shows="recipe of each model",
        draw="twostage.tables.setup:make_table_5",
        message="make Table 5: recipe of each model",
    ),
    TableEntry(
        name="table-6",
        title="Table 6",
        shows="scores of benchmark tasks",
        needs="downstream",
        lacks=obstacles.no_downstream,
        draw="twostage.tables.downstream:make_table_6",
        reads=lambda study: [scores_file(branch) for branch in downstream_branches(Design(study))],
        message="make Table 6: benchmarks",
    ),
    _of_laws(
        fitted_pairs,
        f"methods: none has two or more D1 and D2; {_GRID}",
        name="table-7",
        title="Table 7",
        shows="exponents of the multiplicative law",
        draw="twostage.tables.laws:make_table_7",
        message="make Table 7: exponents of the multiplicative law",
    ),
    TableEntry(
        name="table-8",
        title="Table 8",
        shows="coefficients of the laws over N",
        needs=_SIZES,
        lacks=sizes_obstacle,
        draw="twostage.tables.sizes:make_table_8",
        reads=sizes_fits,
        choice=_excluded,
        message="make Table 8: coefficients of the laws over model sizes",
    ),
)
#: Not the paper's: made for every study that has the cells, whatever `tables` chooses.
OTHER_TABLES: dict[str, TableEntry] = _named(
    TableEntry(
        name="alpha3",
        title="How certain alpha3 is",
        lacks=TABLES["table-7"].lacks,
        draw="twostage.tables.alpha3:make_alpha3",
        reads=lambda study: [CELLS, *_fits(fitted_pairs(study))],
        choice=_excluded,
        rule="estimate_alpha3",
        message="estimate how certain alpha3 is",
    ),
    TableEntry(
        name="crossover",
        title="Crossover",
        lacks=control_obstacle,
        draw="twostage.tables.crossover:make_crossover",
        reads=lambda study: [CELLS],
        choice=lambda study: [study.laws.huber_delta, _excluded(study)],
        rule="measure_crossover",
        message="compare reuse with models trained from scratch",
        caption="crossover-table",
    ),
    TableEntry(
        name="not-drawn",
        title="Not drawn",
        draw="twostage.tables.not_drawn:make_not_drawn",
        choice=lambda study: not_drawn(study),
        rule="list_not_drawn",
        message="list the figures and tables that study {study.name} lacks the cells for",
    ),
    TableEntry(
        name="claims",
        title="What the paper says",
        draw="twostage.tables.summary:make_summary",
        reads=lambda study: [CELLS, *_claimed_tables(study)],
        choice=lambda study: [drawable_figures(study), _excluded(study)],
        page="summary.md",
        rule="write_summary",
        message="write what study {study.name} found, next to what the paper says",
    ),
)


#: Every declaration.
ALL: tuple[Entry, ...] = (*FIGURES.values(), *TABLES.values(), *OTHER_TABLES.values())


def _claimed_tables(study: Study) -> list[str]:
    """Tables that the claims of the paper are judged by, as far as the study has them."""
    wanted = [TABLES[name] for name in drawable_tables(study) if name in ("table-1", "table-2", "table-7", "table-8")]
    wanted += [OTHER_TABLES[name] for name in ("alpha3", "crossover") if not OTHER_TABLES[name].lacks(study)]
    return [entry.files["csv"] for entry in wanted]


# What a study gets ----------------------------------------------------------------------------------------------------


def _get(entries: Mapping[str, Entry], key: str, name: str) -> Entry:
    if name not in entries:
        raise UserError(f"{key}: {name!r} is not in the catalogue; choose from {', '.join(entries)}")
    return entries[name]


def figure_obstacle(study: Study, name: str) -> str:
    """Why the study cannot draw a figure: one sentence with key and fix; "" where it can. `UserError`: no such figure."""
    return _get(FIGURES, "figures", name).lacks(study)


def table_obstacle(study: Study, name: str) -> str:
    """Why the study cannot fill a table, as `figure_obstacle`."""
    return _get(TABLES, "tables", name).lacks(study)


def drawable_figures(study: Study) -> tuple[str, ...]:
    """The figures that are drawn: those that `figures` chooses (default: all), as far as the study has the cells."""
    chosen = tuple(FIGURES) if study.figures is None else study.figures
    return tuple(name for name in chosen if not figure_obstacle(study, name))


def drawable_tables(study: Study) -> tuple[str, ...]:
    """The tables that are made, as `drawable_figures`."""
    chosen = tuple(TABLES) if study.tables is None else study.tables
    return tuple(name for name in chosen if not table_obstacle(study, name))


def drawn_entries(study: Study) -> list[Entry]:
    """Declarations of all figures and tables that the study gets."""
    figures = [FIGURES[name] for name in drawable_figures(study)]
    tables = [TABLES[name] for name in drawable_tables(study)]
    return [*figures, *tables, *(entry for entry in OTHER_TABLES.values() if not entry.lacks(study))]


def not_drawn(study: Study) -> list[tuple[str, str]]:
    """(name, reason) of every figure and table that is not drawn: what the study lacks, or that it does not choose it."""
    drawn = drawn_entries(study)
    return [
        (entry.name, entry.lacks(study) or f"{entry.key}: the study does not choose it; add {entry.name!r}")
        for entry in [*FIGURES.values(), *TABLES.values()]
        if entry not in drawn
    ]


def wanted_branches(design: Design) -> list[Branch]:
    """The branches whose loss curves the study's figures draw, each once; the trunk segments before belong to a curve."""
    figures = [FIGURES[name] for name in drawable_figures(design.study)]
    return list(dict.fromkeys(branch for figure in figures for branch in figure.curves(design)))


def curves_wanted(study: Study) -> bool:
    """Tell whether anything is drawn from loss curves, or they are given."""
    if study.cells_table is not None:
        return study.cells_table.curves is not None
    return any(CURVES in FIGURES[name].reads(study) for name in drawable_figures(study))


def check_chosen(study: Study) -> None:
    """Raise `UserError` where the study asks for a figure or table by name that it cannot have; key and fix are named."""
    for entries, key, chosen in ((FIGURES, "figures", study.figures), (TABLES, "tables", study.tables)):
        for name in chosen or ():
            if reason := _get(entries, key, name).lacks(study):
                raise UserError(f"{key}: {name!r} cannot be drawn: {reason}, or leave {name!r} out of {key}")


def load_checked(path: str | Path) -> Study:
    """Load a study file as `study.load_study` does, and refuse figures and tables that it asks for but cannot have.

    Raises:
        UserError: as `load_study`, or as `check_chosen`.
    """
    study = load_study(path)
    check_chosen(study)
    return study
