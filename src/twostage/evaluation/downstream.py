"""Zero-shot scores of an exported checkpoint, by the lm-eval harness itself.

The harness loads the folder through `transformers`, as any user of the export would. Nothing is scored here: tasks,
prompts and metrics are the harness's, and what it reports is written down with its versions.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from twostage.common import provenance
from twostage.common.errors import UserError
from twostage.common.storage import verify_payload
from twostage.evaluation.downstream_spec import DownstreamSpec

# Only metrics without a closed form (perplexity) draw; 100,000, the harness's default, takes longer than a small task.
_BOOTSTRAP_DRAWS = 1000


def evaluate_downstream(
    spec: DownstreamSpec,
    *,
    export: Path,
    task_folder: Path | None = None,
    device: str = "cpu",
    threads: int = 1,
) -> dict[str, Any]:
    """Return the scores of an exported checkpoint, as the record that goes into `downstream.json`.

    `tasks` holds for each task its version, the number of questions asked and in all, and every metric with value and
    standard error (None where the harness has none). Accuracies are fractions.

    Args:
        spec: tasks, precision, limit and batch.
        export: manifest of the exported folder (`export.export_checkpoint`).
        task_folder: own task files, found before the harness's.
        device: `cpu` or `cuda`.
        threads: of the CPU.

    Raises:
        UserError: harness missing or of another series, task unknown, its data out of reach, or a damaged export.
    """
    harness = _harness_version(spec)
    if task_folder is not None and not task_folder.is_dir():
        raise UserError(f"downstream.task_folder: {task_folder} is not a folder")
    content = verify_payload(export)
    torch.set_num_threads(threads)
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=None if task_folder is None else str(task_folder))
    tasks = [task for name in spec.tasks for task in _load_task(manager, name, task_folder)]
    result = simple_evaluate(
        model="hf",
        model_args={
            "pretrained": str(export.parent),
            "dtype": spec.dtype,
            # Training adds no token before a document, so neither does the evaluation.
            "add_bos_token": False,
        },
        tasks=tasks,
        num_fewshot=0,
        batch_size=spec.batch_size,
        device=device,
        limit=spec.limit,
        bootstrap_iters=_BOOTSTRAP_DRAWS,
        log_samples=False,
        task_manager=manager,
    )
    return {
        "spec": spec.model_dump(mode="json"),
        "checkpoint": content["payload"]["model.safetensors"]["sha256"],
        "architecture": content["architecture"],
        "harness_version": harness,
        "transformers_version": version("transformers"),
        "tasks": {task.task_name: _scores(result, task.task_name) for task in tasks},
        "device": provenance.device_kind(device),
        "git_commit": provenance.git_commit(),
    }


def _harness_version(spec: DownstreamSpec) -> str:
    found = version("lm_eval")
    if not found.startswith(f"{spec.harness}."):
        raise UserError(
            f"lm_eval {found} is installed, {spec.harness}.x is needed: pip install 'lm_eval=={spec.harness}.*'"
        )
    return found


def _load_task(manager: Any, name: str, task_folder: Path | None) -> list[Any]:
    """The tasks of one name (several for a group or tag), data included."""
    if name not in manager.all_tasks:
        searched = f" and no file in {task_folder} defines it" if task_folder else ""
        raise UserError(
            f"downstream.tasks: {name!r} is not a task of lm_eval {version('lm_eval')}{searched}; "
            "`lm-eval ls tasks` lists the names, downstream.task_folder adds your own"
        )
    try:
        return list(manager.load([name])["tasks"].values())
    # The harness, `datasets`, the hub's client and sockets all raise classes of their own.
    except Exception as error:
        raise UserError(
            f"task {name}: its data could not be loaded ({type(error).__name__}: {_first_line(error)}). "
            "Where jobs have no internet, fill a cache once where there is one (export HF_HOME=<shared folder>; "
            f'python -c "from lm_eval.tasks import TaskManager; TaskManager().load([{name!r}])"), then run with the same '
            "HF_HOME and HF_HUB_OFFLINE=1; or give the task with local data in downstream.task_folder "
            "(docs/downstream.md)"
        ) from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")


def _scores(result: Any, task: str) -> dict[str, Any]:
    reported = result["results"][task]
    count = result["n-samples"][task]
    metrics = {}
    # Keys are `metric,filter` and `metric_stderr,filter`; the filter is `none` where a task names no other.
    for key, value in reported.items():
        if (match := re.fullmatch(r"(?P<metric>.+?),(?P<filter>.+)", key)) is None:
            continue
        metric, filtered = match["metric"], match["filter"]
        if metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = reported.get(f"{metric}_stderr,{filtered}")
        name = metric if filtered == "none" else f"{metric},{filtered}"
        metrics[name] = {
            "value": float(value),
            "stderr": float(error) if isinstance(error, int | float) else None,
        }
    return {
        "version": result["versions"][task],
        "n_asked": count["effective"],
        "n_questions": count["original"],
        "metrics": metrics,
    }
