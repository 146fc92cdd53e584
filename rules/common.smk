# The study and its paths. All input and parameter functions are in common/, by topic; those for clusters are in cluster.smk.
# The meaning of a path is defined in src/twostage/design/design.py and paths.py.
import difflib
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
from twostage.common import advice
from twostage.common.errors import UserError
from twostage.common.imports import code_files
from twostage.evaluation import downstream_spec as downstream_specs
from twostage.catalogue import lookup, compared_methods, entry, imported_tables
from twostage.catalogue import laws_over_sizes, shown_methods
from twostage.planning import jobs

# Jobs use the environment that runs Snakemake, activated or not, and find the scripts from any working directory. In a
# container (envs/README.md) they use the image's Python, with this checkout's code.
CONTAINED = bool(workflow.deployment_settings) and (
    DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method
)
IMAGE = Path("envs/twostage.sif")
if CONTAINED and not IMAGE.is_file():
    # Otherwise Snakemake would start every job, and each would fail.
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
    """Decorator: turn a `UserError` into Snakemake's `WorkflowError`, which prints the message without a traceback."""

    @functools.wraps(function)  # Snakemake reads the parameters' names
    def wrapper(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except UserError as error:
            raise WorkflowError(str(error)) from None

    return wrapper


CONFIG_KEYS = ("study", "site", "refuse_retraining")
for key in config:
    if key not in CONFIG_KEYS:
        near = difflib.get_close_matches(key, CONFIG_KEYS, n=1)
        raise WorkflowError(
            f"--config {key}: unknown; "
            + (
                f"did you mean {near[0]}?"
                if near
                else f"known are {', '.join(CONFIG_KEYS)}"
            )
        )
STUDY_FILE = config["study"]
study = explained(lookup.load_checked)(STUDY_FILE)
# The command in messages of jobs, which do not know how Snakemake was started.
PROFILE = (
    sys.argv[sys.argv.index("--profile") + 1]
    if "--profile" in sys.argv
    else "profiles/local"
)
os.environ.setdefault(
    advice.VARIABLE, f"snakemake --profile {PROFILE} --config study={STUDY_FILE}"
)
design = Design(study)

RESULTS = f"results/{study.name}"
ROLLING = f"rolling/{study.name}"
LOGS = f"{RESULTS}/logs"
# Tables, fits and figures of the study, or of the part of it that is run.
ANALYSIS = f"results/{study.analysis_folder}"
ANALYSIS_LOGS = f"{ANALYSIS}/logs"
for folder in (RESULTS, ROLLING):
    explained(check_folder)(folder)
# Relative, because Snakemake compares inputs by name: a moved or cloned project must not run its jobs again.
ROOT = Path(os.path.relpath(workflow.basedir))
LIBRARY = ROOT / "src/twostage"

# The tables that fits and figures are made from. They are measured (cells.smk) or imported (imported.smk).
CELLS = f"{ANALYSIS}/{entry.CELLS}"
BASE_CELLS = f"{ANALYSIS}/{entry.BASE_CELLS}"
CURVES = f"{ANALYSIS}/{entry.CURVES}"
explained(imported_tables.check_headers)(study, RESULTS)


wildcard_constraints:
    run=paths.RUN_PATTERN,
    tokens=r"\d+",
    branch=r"D[12]-\d+",
    corpus=r"[A-Za-z0-9][A-Za-z0-9.-]*",


def in_results(path):
    return f"results/{study.place(path)}"


def study_folder(wildcards):
    """The folder of the jobs' results, which is also that of the parts of the study."""
    return RESULTS


def program(script, *modules):
    """Return the inputs `script` and `code` (all modules that script and `modules` import) of a rule that takes seconds.

    The rule then runs again if its code changes. Training rules do not use this.
    """
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
include: "common/figures_and_tables.smk"
include: "common/identity.smk"
include: "common/checkpoints.smk"
include: "common/records.smk"
