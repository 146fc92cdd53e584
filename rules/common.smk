# The study, its paths, and in common/ ALL input and parameter functions by topic (those of a cluster: cluster.smk). Rules
# hold only wiring; what a path means is decided in src/twostage/design/design.py and paths.py.
import functools
import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

from twostage.design import paths, specs
from twostage.cluster.folders import check_folder
from twostage.corpora import dataspecs
from twostage.design.design import Design
from twostage.common.errors import UserError
from twostage.common.imports import code_files
from twostage.evaluation import downstream_spec as downstream_specs
from twostage.exhibits import catalogue, comparisons, entry, given_tables
from twostage.exhibits import joint_design, presentation
from twostage.planning import jobs

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
study = explained(catalogue.load_checked)(STUDY_FILE)
design = Design(study)

RESULTS = f"results/{study.name}"
ROLLING = f"rolling/{study.name}"
LOGS = f"{RESULTS}/logs"
for folder in (RESULTS, ROLLING):
    explained(check_folder)(folder)
# Relative, since inputs are compared by name too: a project that is moved or cloned must not look new.
ROOT = Path(os.path.relpath(workflow.basedir))
LIBRARY = ROOT / "src/twostage"

# What everything is fitted to and drawn from: measured (cells.smk), or taken from elsewhere (imported.smk).
CELLS = f"{RESULTS}/{entry.CELLS}"
BASE_CELLS = f"{RESULTS}/{entry.BASE_CELLS}"
CURVES = f"{RESULTS}/{entry.CURVES}"
explained(given_tables.check_headers)(study, RESULTS)


wildcard_constraints:
    run=paths.RUN_PATTERN,
    tokens=r"\d+",
    branch=r"D[12]-\d+",
    corpus=r"[A-Za-z0-9][A-Za-z0-9.-]*",


def in_results(path):
    return f"{RESULTS}/{path}"


def program(script, *modules):
    """Inputs `script` and `code`, what script and modules import: rules that take seconds run again when it changes."""
    path = ROOT / "workflow/scripts" / script
    code = [str(file) for file in code_files(LIBRARY, path, *modules) if file != path]
    return {"script": str(path), "code": code}


# Jobs from wildcards --------------------------------------------------------------------------------------------------


def segment_of(wildcards):
    return paths.Segment(paths.parse_run(wildcards.run), int(wildcards.tokens))


def branch_of(wildcards):
    return paths.Branch(
        paths.parse_run(wildcards.run), int(wildcards.branch.split("-")[1])
    )


include: "common/inputs.smk"
include: "common/exhibits.smk"
include: "common/identity.smk"
include: "common/checkpoints.smk"
