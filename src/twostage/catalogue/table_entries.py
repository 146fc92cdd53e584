"""Every table, declared once: what it shows, needs and reads, the function that makes it, and its caption.

docs/recipe-figure.md explains how to add one. The functions that make them are given by name and not imported, so that building the
DAG stays fast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twostage.catalogue import obstacles
from twostage.catalogue.entry import CELLS, TableEntry, by_name
from twostage.catalogue.laws_over_sizes import sizes_fits, sizes_obstacle
from twostage.catalogue.scratch_controls import control_obstacle
from twostage.catalogue.shown_methods import fit_path, fitted_pairs, main_pairs, variant_pairs
from twostage.design.design import Design
from twostage.evaluation.downstream_spec import downstream_branches, scores_file
from twostage.study import Study

_GRID = "add points to grid.d1 and grid.d2 (or to d1_steps and d2_steps)"


def _of_laws(pairs: Callable[[Study], list[tuple[str, str]]], lack: str, **fields: Any) -> TableEntry:
    """Declare a table with one row for each (method, base model) of `pairs`, made from their fits."""
    return TableEntry(
        needs="methods with two or more D1 and D2",
        lacks=lambda study: "" if pairs(study) else obstacles.no_grid(study) or lack,
        reads=lambda study: [fit_path(*pair) for pair in pairs(study)],
        choice=excluded,
        **fields,
    )


def _of_study(*sections: str, **fields: Any) -> TableEntry:
    """Declare a table of some sections of the study file."""
    return TableEntry(
        lacks=obstacles.no_training,
        choice=lambda study: study.model_dump_json(include=set(sections)),
        **fields,
    )


def excluded(study: Study) -> list[dict[str, Any]]:
    """Return the excluded cells of the study, which tables list."""
    return [entry.model_dump() for entry in study.excluded_cells]


#: By name, in the paper's order.
TABLES: dict[str, TableEntry] = by_name(
    _of_laws(
        main_pairs,
        f"methods: no main method has two or more D1 and D2; {_GRID}",
        name="table-1",
        title="Table 1",
        shows="leave-one-out errors of the laws, main methods",
        draw="twostage.tables.laws:make_table_1",
        message="make Table 1: leave-one-out errors",
        caption="""
**Comparison of laws (Table 1 of the paper).** Leave-one-out RMS error of four laws, in 10⁻³ nats per token: multiplicative with
interaction (Eq. 2), the same with α₃ = 0, additive (Eq. 3), hybrid (Eq. 4). Each cell (D1, D2) is left out in turn, with all its
seeds, and predicted from the others. Rows are the main methods (default settings of their kind, any corpus of continual
pretraining), at every size with two or more D1 and D2. The same numbers are in ``table-1.csv``.
""",
    ),
    _of_laws(
        variant_pairs,
        "methods: none with two or more D1 and D2 deviates from its kind's defaults; add one, e.g. with replay: 0.25",
        name="table-2",
        title="Table 2",
        shows="leave-one-out errors of the laws, variants",
        draw="twostage.tables.laws:make_table_2",
        message="make Table 2: leave-one-out errors of variants",
        caption="""
**Comparison of laws for variants (Table 2 of the paper).** As Table 1, for methods that differ from the default settings of their
kind: replay, start from the stable phase, another growth factor, another corpus in growth, other learning rates, and so on. The
same numbers are in ``table-2.csv``.
""",
    ),
    _of_study(
        *("models", "context", "tokenizer"),
        name="table-3",
        title="Table 3",
        shows="models and their sizes",
        draw="twostage.tables.setup:make_table_3",
        message="make Table 3: models",
        caption="""
**Base models (Table 3 of the paper).** Shapes and non-embedding parameters N of the study's models; in brackets the paper's, for
models of the same name. The same numbers are in ``table-3.csv``.
""",
    ),
    _of_study(
        *("recipe", "context", "tokenizer"),
        name="table-4",
        title="Table 4",
        shows="recipe of all runs",
        draw="twostage.tables.setup:make_table_4",
        message="make Table 4: recipe",
        caption="""
**Recipe of all runs (Table 4 of the paper).** Settings that all runs of the study share, and the paper's value where its Table 4
has one. The same numbers are in ``table-4.csv``.
""",
    ),
    _of_study(
        *("models", "grid", "methods", "seeds"),
        name="table-5",
        title="Table 5",
        shows="recipe of each model",
        draw="twostage.tables.setup:make_table_5",
        message="make Table 5: recipe of each model",
        caption="""
**Recipe of each model (Table 5 of the paper).** Training settings that depend on the model's size, and the range of its grid; in
brackets the paper's, for models of the same name. The same numbers are in ``table-5.csv``.
""",
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
        caption="""
**Benchmarks (Table 6 of the paper).** Zero-shot accuracy of base checkpoints, in per cent, by the lm-eval harness on the
exported model. The columns marked "published" are constants of the paper's Table 6 and were not measured here. The same
numbers, with acc_norm and versions, are in ``table-6.csv``.
""",
    ),
    _of_laws(
        fitted_pairs,
        f"methods: none has two or more D1 and D2; {_GRID}",
        name="table-7",
        title="Table 7",
        shows="exponents of the multiplicative law",
        draw="twostage.tables.laws:make_table_7",
        message="make Table 7: exponents of the multiplicative law",
        caption="""
**Exponents of the multiplicative law (Table 7 of the paper).** L = A D1^-α₁ D2^(-α₂ + α₃ ln D1) + E, fitted to all cells of a
method. α₃ > 0 is saturation. The same numbers are in ``table-7.csv``; coefficients, covariances and certificates of the
optimum are in the fit files.
""",
    ),
    TableEntry(
        name="table-8",
        title="Table 8",
        shows="coefficients of the laws over N",
        needs="three sizes over 4x in N",
        lacks=sizes_obstacle,
        draw="twostage.tables.sizes:make_table_8",
        reads=sizes_fits,
        choice=excluded,
        message="make Table 8: coefficients of the laws over model sizes",
        caption="""
**Laws over model sizes (Table 8 of the paper).** Coefficients, with 95 % profile-likelihood intervals, of the joint law (Eq. 7) of
every method and of the law of models from scratch on every corpus, where the study has three or more sizes over 4x in N. The same
numbers are in ``table-8.csv``; covariances and certificates of the optimum are in the fit files.
""",
    ),
)
#: Tables of cells and fits that are not in the paper; `lookup.OTHER_TABLES` adds those about the study itself.
TABLES_OF_OURS: dict[str, TableEntry] = by_name(
    TableEntry(
        name="alpha3",
        title="How certain alpha3 is",
        lacks=TABLES["table-7"].lacks,
        draw="twostage.tables.alpha3:make_alpha3",
        reads=lambda study: [CELLS, *(fit_path(*pair) for pair in fitted_pairs(study))],
        choice=excluded,
        rule="estimate_alpha3",
        message="estimate how certain alpha3 is",
        caption="""
**Uncertainty of α₃.** α₃ > 0 in Eq. 2 is saturation, so its uncertainty is given in every way that the cells allow: the
profile-likelihood interval of Table 7; percentiles of refits to resampled points, to resampled first stages (all cells of one D1
and seed) and to resampled seeds; and fits to each seed alone. The table also has the leave-one-out error of the law and the noise
between seeds. The same numbers, unrounded, with a reason for every gap, are in ``alpha3.csv``. Not a table of the paper.
""",
    ),
    TableEntry(
        name="crossover",
        title="Crossover",
        lacks=control_obstacle,
        draw="twostage.tables.crossover:make_crossover",
        reads=lambda study: [CELLS],
        choice=lambda study: [study.laws.huber_delta, excluded(study)],
        rule="measure_crossover",
        message="compare reuse with models trained from scratch",
        caption="""
**Above which D2 is training from scratch better?** One row for each D1 of each method that has models trained from scratch on its
corpus, at the size after stage 2: measured crossings and crossings of the fitted laws. All measured pairs are in
``crossover.csv``.
""",
    ),
)
