# Study, paths and ALL input and parameter functions. Rules hold only wiring; what a path means is decided in
# src/twostage/design.py and paths.py.
import functools
import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

from twostage import paths, specs
from twostage.analysis import imported
from twostage.cluster.folders import check_folder
from twostage.corpora import dataspecs
from twostage.design import Design
from twostage.errors import UserError
from twostage.exchange import downstream_spec as downstream_specs
from twostage.exhibits import (
    catalogue,
    comparisons,
    controls,
    joint_design,
    presentation,
)
from twostage.planning import jobs
from twostage.study import load_study

# Jobs use the environment that runs Snakemake, activated or not, and find the scripts from any working directory. In a
# container (envs/README.md) they use the image's Python, with this checkout's code.
CONTAINED = bool(workflow.deployment_settings) and (
    DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method
)
IMAGE = Path("envs/twostage.sif")
if CONTAINED and not IMAGE.is_file():
    # Snakemake would start every job and let each of them fail.
    raise WorkflowError(
        f"{IMAGE}: the image for jobs is missing; make it with: apptainer build {IMAGE} envs/twostage.def"
    )
shell.prefix(
    "set -euo pipefail; export "
    + (
        f"PYTHONPATH={shlex.quote(str(Path(workflow.basedir, 'src')))} "
        if CONTAINED
        else f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH "
    )
    + f"SCRIPTS={shlex.quote(str(Path(workflow.basedir, 'workflow', 'scripts')))}; "
)


def explained(function):
    """Turn a user's mistake into Snakemake's own kind of error: the message, no traceback."""

    @functools.wraps(function)  # Snakemake reads the parameters' names
    def wrapper(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except UserError as error:
            raise WorkflowError(str(error)) from None

    return wrapper


STUDY_FILE = config["study"]
study = explained(load_study)(STUDY_FILE)
design = Design(study)

RESULTS = f"results/{study.name}"
ROLLING = f"rolling/{study.name}"
LOGS = f"{RESULTS}/logs"
for folder in (RESULTS, ROLLING):
    explained(check_folder)(folder)
# Relative, since inputs are compared by name too: a project that is moved or cloned must not look new.
ROOT = Path(os.path.relpath(workflow.basedir))
SCRIPTS = str(ROOT / "workflow/scripts")
LIBRARY = str(ROOT / "src/twostage")
PUBLISHED = str(ROOT / "results/published")

# What everything is fitted to and drawn from: measured (cells.smk), or taken from elsewhere (imported.smk).
CELLS = f"{RESULTS}/tables/cells.csv"
BASE_CELLS = f"{RESULTS}/tables/base-cells.csv"
CURVES = f"{RESULTS}/tables/curves.csv"
explained(imported.check_headers)(study, RESULTS)


wildcard_constraints:
    run=paths.RUN_PATTERN,
    tokens=r"\d+",
    branch=r"D[12]-\d+",
    corpus=r"[A-Za-z0-9][A-Za-z0-9.-]*",


def in_results(path):
    return f"{RESULTS}/{path}"


def library_code(*names):
    """Library files as inputs: rules that take seconds are run again when their code changes."""
    return [f"{LIBRARY}/{name}" for name in names]


# Jobs from wildcards --------------------------------------------------------------------------------------------------


def segment_of(wildcards):
    return paths.Segment(paths.parse_run(wildcards.run), int(wildcards.tokens))


def branch_of(wildcards):
    return paths.Branch(
        paths.parse_run(wildcards.run), int(wildcards.branch.split("-")[1])
    )


# Inputs ---------------------------------------------------------------------------------------------------------------


@explained
def training_data(wildcards):
    """Manifests of the run's corpora, in the order of its mixture."""
    run = paths.parse_run(wildcards.run)
    return [in_results(paths.tokens_manifest(corpus)) for corpus in design.mixture(run)]


def _parent(job):
    manifest = design.parent_manifest(job)
    return [] if manifest is None else in_results(manifest)


@explained
def segment_parent(wildcards):
    """The checkpoint a trunk segment starts from; none where a stage-1 run begins."""
    return _parent(segment_of(wildcards))


@explained
def branch_parent(wildcards):
    """The checkpoint a decay branch starts from; none where it is a whole stage-1 run."""
    return _parent(branch_of(wildcards))


@explained
def growth_base(wildcards):
    return in_results(design.base(paths.parse_run(wildcards.run)).manifest)


@explained
def evaluated_checkpoint(wildcards):
    branch = branch_of(wildcards)
    design.branch_steps(branch)
    return in_results(branch.manifest)


def tokenizer_corpora(wildcards):
    """Manifests of the corpora that the tokenizer is trained on, in the study's order; none for an existing file."""
    corpora = dataspecs.tokenizer_spec(study).corpora
    return [f"{RESULTS}/corpora/{corpus}/manifest.json" for corpus in corpora]


def tokenizer_file(wildcards):
    """The study's own tokenizer.json; not yet an input where it is missing, so that a plan can be made without it."""
    path = getattr(study.tokenizer, "path", None)
    return [path] if path and Path(path).is_file() else []


def evaluated_tokens(wildcards):
    return in_results(paths.tokens_manifest(wildcards.corpus))


def all_evaluations(wildcards):
    return [in_results(cell.path) for cell in jobs.measured_cells(design)]


def all_metrics(wildcards):
    """The metrics of every evaluated branch, each once."""
    return [
        in_results(branch.metrics)
        for branch in dict.fromkeys(cell.branch for cell in jobs.measured_cells(design))
    ]


@explained
def method_branches(wildcards):
    """Every evaluated branch of one method (or `scratch`) at one size, and the base checkpoints it starts from."""
    branches = dict.fromkeys(
        cell.branch for cell in design.cells_of(wildcards.method, wildcards.model)
    )
    runs = dict.fromkeys(branch.run for branch in branches if branch.run.stage == 2)
    return [in_results(job.metrics) for job in [*branches, *map(design.base, runs)]]


@explained
def method_evaluations(wildcards):
    cells = design.cells_of(wildcards.method, wildcards.model)
    excluded = {entry.cell for entry in study.excluded_cells}
    return [in_results(cell.path) for cell in cells if cell.path not in excluded]


def curve_branches():
    """The branches whose loss curves are drawn."""
    return comparisons.wanted_branches(design, catalogue.drawable_figures(study))


def curve_metrics(wildcards):
    """The metrics of every job of their curves: trunk segments, then the branch."""
    jobs = [
        job for branch in curve_branches() for job in comparisons.chain(design, branch)
    ]
    return [in_results(job.metrics) for job in dict.fromkeys(jobs)]


@explained
def joint_cells(wildcards):
    """The cells, for a method whose joint law can be fitted."""
    joint_design.check_joint(study, wildcards.method)
    return CELLS


@explained
def scratch_cells(wildcards):
    """The cells, for a corpus whose from-scratch law can be fitted."""
    joint_design.check_scratch(study, wildcards.corpus)
    return CELLS


# Figures and tables ---------------------------------------------------------------------------------------------------


LAWS_CODE = [f"laws/{path.name}" for path in sorted(Path(LIBRARY, "laws").glob("*.py"))]
OVER_SIZES_CODE = [
    "analysis/joint_fit.py",
    "exhibits/joint_design.py",
    "figures/from_fits.py",
    *LAWS_CODE,
]
CURVES_CODE = ["exhibits/comparisons.py", "figures/loss_curves.py"]
CROSSOVER_CODE = [
    "cells.py",
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
def downstream_scores(wildcards):
    """The scores behind Table 6."""
    branches = downstream_specs.downstream_branches(design)
    return [in_results(downstream_specs.scores_file(branch)) for branch in branches]


@explained
def own_tasks(wildcards):
    """Every file of the study's own benchmark tasks; none where it uses the harness's."""
    return downstream_specs.own_task_files(design)


# Identity (params.spec) -----------------------------------------------------------------------------------------------


@explained
def corpus_spec(wildcards):
    return dataspecs.corpus_spec(study, wildcards.corpus).canonical()


def tokenizer_spec(wildcards):
    return dataspecs.tokenizer_spec(study).canonical()


def tokenize_spec(wildcards):
    return dataspecs.TokenizeSpec().canonical()


@explained
def segment_spec(wildcards):
    return specs.segment_spec(design, segment_of(wildcards)).canonical()


@explained
def branch_spec(wildcards):
    return specs.branch_spec(design, branch_of(wildcards)).canonical()


@explained
def growth_spec(wildcards):
    return specs.grow_spec(design, paths.parse_run(wildcards.run)).canonical()


@explained
def evaluation_spec(wildcards):
    return specs.evaluate_spec(
        design, branch_of(wildcards), wildcards.corpus
    ).canonical()


def export_spec(wildcards):
    return downstream_specs.ExportSpec().canonical()


@explained
def downstream_spec(wildcards):
    return downstream_specs.downstream_spec(design).canonical()


@explained
def task_folder_option(wildcards):
    folder = downstream_specs.section(design).task_folder
    return f"--task-folder {shlex.quote(folder)}" if folder else ""


# What becomes of checkpoints (never part of an identity: another policy trains nothing again) -------------------------


@functools.cache
def released_checkpoints():
    """Manifests whose payload is deleted once used -> the manifests of every job planned from it."""
    return jobs.releases(design, jobs.planned_jobs(design))


def all_released(wildcards):
    if study.cells_table:
        return []
    return [
        in_results(f"{Path(manifest).parent}/released.json")
        for manifest in released_checkpoints()
    ]


@explained
def users_of_trunk(wildcards):
    return _users_of(segment_of(wildcards).manifest)


@explained
def users_of_grown(wildcards):
    return _users_of(paths.grown_manifest(paths.parse_run(wildcards.run)))


def _users_of(manifest):
    if manifest not in released_checkpoints():
        raise UserError(
            f"{manifest}: study {study.name} keeps this checkpoint; see its section `checkpoints`"
        )
    return [in_results(user) for user in released_checkpoints()[manifest]]


@explained
def segment_payload(wildcards):
    return _payload(segment_of(wildcards))


@explained
def branch_payload(wildcards):
    return _payload(branch_of(wildcards))


def _payload(job):
    return "protect" if jobs.is_protected(design, job) else "keep"
