"""What a study's section `downstream` implies: the checkpoints, their files, and the identity of the evaluation.

Pure functions of the study, for rules and scripts; neither torch nor the harness is imported.
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

#: Releases of the harness that this project is written for; a score is only comparable within them.
HARNESS_SERIES = "0.4"


class ExportSpec(Spec):
    """A checkpoint as a Hugging Face folder; weights and tokenizer are inputs."""

    revision: int = EXPORT_REVISION


class DownstreamSpec(Spec):
    """Zero-shot scores of one exported checkpoint; own task files are inputs."""

    revision: int = DOWNSTREAM_REVISION
    tasks: tuple[str, ...]
    harness: str = HARNESS_SERIES
    dtype: Literal["float32"] = "float32"
    limit: int | None = None
    batch_size: int = 8


def export_manifest(branch: Branch) -> str:
    """Manifest of the exported folder, relative to `results/<study>/`."""
    return f"{branch.folder}/hf/manifest.json"


def scores_file(branch: Branch) -> str:
    """Scores of a checkpoint, relative to `results/<study>/`."""
    return f"{branch.folder}/downstream.json"


def section(design: Design) -> Downstream:
    """Return the study's section `downstream`; `UserError` where it has none."""
    if design.study.downstream is None:
        raise UserError(
            f"study {design.study.name} evaluates no benchmarks; add a section `downstream:` (docs/downstream.md)"
        )
    return design.study.downstream


def downstream_spec(design: Design) -> DownstreamSpec:
    """Return the identity of the study's downstream evaluations."""
    chosen = section(design)
    return DownstreamSpec(tasks=chosen.tasks, limit=chosen.limit, batch_size=chosen.batch_size)


def own_task_files(design: Design) -> list[str]:
    """Return every file below the study's `task_folder`, sorted: they are inputs of the evaluation.

    Raises:
        UserError: the study has no section `downstream`, or its folder holds no task file.
    """
    folder = section(design).task_folder
    if folder is None:
        return []
    files = [path for path in Path(folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    if not any(path.suffix == ".yaml" for path in files):
        raise UserError(
            f"downstream.task_folder: {folder} holds no .yaml file; give the folder of your task files, relative to "
            "the working directory, or leave the key out"
        )
    return sorted(str(path) for path in files)


def downstream_branches(design: Design) -> list[Branch]:
    """Return the base checkpoints of Table 6, in the study's order.

    Raises:
        UserError: the study has no such section, or a point names a model or D1 that the study does not have.
    """
    study = design.study
    points = section(design).points or (DownstreamPoint(model=_largest(design)),)
    branches = []
    for index, point in enumerate(points):
        key = f"downstream.points[{index}]"
        if point.model not in study.base_models:
            raise UserError(
                f"{key}.model: {point.model!r} is not one of the study's base models {sorted(study.base_models)}"
            )
        grid = study.grid_of(point.model).d1.points
        steps = grid[-1] if point.d1_steps is None else point.d1_steps
        if steps not in grid:
            nearest = min(grid, key=lambda value: abs(value - steps))
            raise UserError(
                f"{key}.d1_steps: {steps} is not on the grid {list(grid)} of model {point.model}; nearest: {nearest}"
            )
        run = Stage1Run(study.stage1.corpus, point.model, study.seeds[0])
        branches.append(Branch(run, design.decay_tokens(point.model, steps)))
    if len(set(branches)) != len(branches):
        raise UserError("downstream.points: a checkpoint is listed twice; write each once")
    return branches


def _largest(design: Design) -> str:
    return max(design.study.base_models, key=lambda model: design.study.architecture(model).n_params)
