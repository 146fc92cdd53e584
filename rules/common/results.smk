# Figures and tables: the tables, fits and code that each is made from, its files, and what it shows of the study.


LAWS_CODE = [f"laws/{path.name}" for path in sorted(Path(LIBRARY, "laws").glob("*.py"))]
OVER_SIZES_CODE = [
    "analysis/joint_fit.py",
    "exhibits/joint_design.py",
    "figures/from_fits.py",
    *LAWS_CODE,
]
CURVES_CODE = ["exhibits/comparisons.py", "figures/loss_curves.py"]
CROSSOVER_CODE = [
    "analysis/cells.py",
    "analysis/measured_crossover.py",
    "exhibits/controls.py",
    "laws/points.py",
    "laws/selection.py",
]


def figure_input(figure, *code):
    """Inputs of a figure: the tables and fits it is drawn from, and its own code under figures/ and elsewhere."""

    def fits(wildcards):
        if figure in joint_design.JOINT_FIGURES:
            return joint_design.joint_source(study, figure).fits
        return presentation.figure_fits(study, figure)

    from_curves = figure in comparisons.CURVE_FIGURES
    from_cells = figure not in joint_design.JOINT_FIGURES
    return {
        "cells": CELLS if from_cells else [],
        "curves": CURVES if from_curves and imported.curves_wanted(study) else [],
        "fits": (
            []
            if from_curves or figure == "crossover"
            else explained(lambda wildcards: [in_results(p) for p in fits(wildcards)])
        ),
        "script": f"{SCRIPTS}/plot_figure.py",
        "code": library_code(
            "exhibits/presentation.py",
            "figures/drawing.py",
            "figures/notes.py",
            "figures/style.py",
            *code,
        ),
    }


def figure_output(figure):
    """PDF, PNG (in the report, with its caption) and the plotted numbers."""
    stem = f"{RESULTS}/figures/{figure}"
    return {
        "pdf": f"{stem}.pdf",
        "png": report(
            f"{stem}.png",
            caption=f"../report/{figure}.rst",
            category="Figures",
            labels={"figure": catalogue.FIGURES[figure].title},
        ),
        "csv": f"{stem}.csv",
    }


def figure_choice(figure):
    """What a figure shows of the study, so that another choice draws it again."""
    if catalogue.figure_obstacle(study, figure):
        return []
    if figure in comparisons.COMPARED:
        return [repr(panel) for panel in comparisons.panels(study, figure)]
    if figure == "crossover":
        return [repr(control) for control in controls.shown_controls(study)]
    if figure == "figure-5":
        return [study.ablations.schedule.model_dump_json()]
    if figure in joint_design.JOINT_FIGURES:
        return [str(study.laws.catch_up_n_final)]
    return [
        presentation.method_title(study, name)
        for name, _ in presentation.figure_pairs(study, figure)
    ]


def table_input(table, *code, fits=(), published=()):
    """Inputs of a table: fit files (paths below the results), the paper's tables beside it, and its code."""
    return {
        "fits": [in_results(path) for path in fits],
        "published": [f"{PUBLISHED}/table_{number}.csv" for number in published],
        "script": f"{SCRIPTS}/make_table.py",
        "code": library_code("exhibits/presentation.py", "tables/table.py", *code),
    }


def study_content():
    """What the pictures of the study itself show: all but what becomes of its checkpoints."""
    return study.model_dump_json(exclude={"checkpoints"})


def table_settings(table):
    """The study's own numbers in a table, so that it is made again when they change."""
    sections = {
        "table-3": {"models", "context", "tokenizer"},
        "table-4": {"recipe", "context", "tokenizer"},
        "table-5": {"models", "grid", "methods", "seeds"},
    }
    return study.model_dump_json(include=sections[table])


def table_output(table):
    """The numbers, and a page for the report."""
    stem = f"{RESULTS}/tables/{table}"
    return {
        "csv": f"{stem}.csv",
        "html": report(
            f"{stem}.html",
            caption=f"../report/{table}.rst",
            category="Tables",
            labels={"table": catalogue.TABLES[table].title},
        ),
    }


@explained
def summarised_tables(wildcards):
    """Those of the study's tables that bear on what the paper says."""
    names = {"table-1", "table-2", "table-7", "table-8"}
    tables = [name for name in catalogue.drawable_tables(study) if name in names]
    if presentation.fitted_pairs(study):
        tables.append("alpha3")
    if not controls.control_obstacle(study):
        tables.append("crossover")
    return [f"{RESULTS}/tables/{table}.csv" for table in tables]


@explained
def downstream_scores(wildcards):
    """The scores behind Table 6."""
    branches = downstream_specs.downstream_branches(design)
    return [in_results(downstream_specs.scores_file(branch)) for branch in branches]


@explained
def own_tasks(wildcards):
    """Every file of the study's own benchmark tasks; none where it uses the harness's."""
    return downstream_specs.own_task_files(design)
