# Study, paths and ALL input and parameter functions. Rules hold only wiring; what a path means is decided in
# src/twostage/design.py and paths.py.
import functools
import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

from twostage import dataspecs, joint_design, paths, presentation, specs
from twostage import downstream_spec as downstream_specs
from twostage.design import Design
from twostage.errors import UserError
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
# Relative, since inputs are compared by name too: a project that is moved or cloned must not look new.
ROOT = Path(os.path.relpath(workflow.basedir))
SCRIPTS = str(ROOT / "workflow/scripts")
LIBRARY = str(ROOT / "src/twostage")
PUBLISHED = str(ROOT / "results/published")


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


def measured_cells():
    """All cells but those that the study excludes, which may not be measurable at all."""
    excluded = {entry.cell for entry in study.excluded_cells}
    return [cell for cell in design.cells() if cell.path not in excluded]


def all_evaluations(wildcards):
    return [in_results(cell.path) for cell in measured_cells()]


def all_metrics(wildcards):
    """The metrics of every evaluated branch, each once."""
    return [
        in_results(branch.metrics)
        for branch in dict.fromkeys(cell.branch for cell in measured_cells())
    ]


@explained
def joint_cells(wildcards):
    """The cells, for a method whose joint law can be fitted."""
    joint_design.check_joint(study, wildcards.method)
    return rules.aggregate_cells.output.cells


@explained
def scratch_cells(wildcards):
    """The cells, for a corpus whose from-scratch law can be fitted."""
    joint_design.check_scratch(study, wildcards.corpus)
    return rules.aggregate_cells.output.cells


def joint_fits(figure):
    """Input function: the fits behind a figure, the joint law first."""

    @explained
    def fits(wildcards):
        return [
            in_results(path) for path in joint_design.joint_source(study, figure).fits
        ]

    return fits


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
