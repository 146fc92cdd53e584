"""The jobs of a study's section `downstream`: checkpoints to evaluate, their files, and the spec of the evaluation.

For rules and scripts: imports neither torch nor the harness.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from twostage.common.errors import UserError
from twostage.common.revisions import DOWNSTREAM_REVISION, EXPORT_REVISION
from twostage.design.design import Design
from twostage.design.paths import Branch, Stage1Run
from twostage.design.specs import Spec
from twostage.study import Downstream, DownstreamPoint

#: Supported release series of the harness. Scores of different series are not comparable.
HARNESS_SERIES = "0.4"


class ExportSpec(Spec):
    """Export of a checkpoint to a Hugging Face folder. Weights and tokenizer are inputs of the job."""

    revision: int = EXPORT_REVISION


class DownstreamSpec(Spec):
    """Zero-shot scores of one exported checkpoint. The study's task files are inputs of the job."""

    revision: int = DOWNSTREAM_REVISION
    tasks: tuple[str, ...]
    harness: str = HARNESS_SERIES
    dtype: Literal["float32"] = "float32"
    limit: int | None = None
    batch_size: int = 8


def scores_file(branch: Branch) -> str:
    """Return the path of a checkpoint's scores, relative to `results/<study>/`."""
    return f"{branch.folder}/downstream.json"


def section(design: Design) -> Downstream:
    """Return the study's section `downstream`.

    Raises:
        UserError: the study has none.
    """
    if design.study.downstream is None:
        raise UserError(
            f"study {design.study.name} has no section `downstream`; add it to evaluate benchmarks (docs/downstream.md)"
        )
    return design.study.downstream


def downstream_spec(design: Design) -> DownstreamSpec:
    """Return the spec of the study's downstream evaluations."""
    chosen = section(design)
    return DownstreamSpec(tasks=chosen.tasks, limit=chosen.limit, batch_size=chosen.batch_size)


def own_task_files(design: Design) -> list[str]:
    """Return all files below the study's `task_folder`, sorted. They are inputs of the evaluation.

    Raises:
        UserError: the study has no section `downstream`, or the folder has no task file.
    """
    folder = section(design).task_folder
    if folder is None:
        return []
    files = [path for path in Path(folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    if not any(path.suffix == ".yaml" for path in files):
        raise UserError(
            f"downstream.task_folder: {folder} has no .yaml file; set it to the folder of your task files, relative to "
            "the working directory, or remove the key"
        )
    return sorted(str(path) for path in files)


def downstream_branches(design: Design) -> list[Branch]:
    """Return the base checkpoints of Table 6, in the study's order.

    Raises:
        UserError: the study has no section `downstream`, or it does not have the model or D1 of a point.
    """
    study = design.study
    points = section(design).points or (DownstreamPoint(model=_largest(design)),)
    branches = []
    for index, point in enumerate(points):
        key = f"downstream.points[{index}]"
        if point.model not in study.base_models:
            raise UserError(
                f"{key}.model: {point.model!r} is not a base model of the study; choose one of {sorted(study.base_models)}"
            )
        grid = study.grid_of(point.model).d1.points
        steps = grid[-1] if point.d1_steps is None else point.d1_steps
        if steps not in grid:
            nearest = min(grid, key=lambda value: abs(value - steps))
            raise UserError(
                f"{key}.d1_steps: {steps} is not on the grid {list(grid)} of model {point.model}; nearest: {nearest}"
            )
        run = Stage1Run(study.stage1.corpus, point.model, study.seeds[0])
        branches.append(Branch(run, design.branch_tokens(point.model, steps)))
    if len(set(branches)) != len(branches):
        raise UserError("downstream.points: a checkpoint is listed twice; list it once")
    return branches


def _largest(design: Design) -> str:
    return max(design.study.base_models, key=lambda model: design.study.architecture(model).n_params)
