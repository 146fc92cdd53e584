"""Archive the results of a study in a folder small enough for git: tables, fits, figures and every job's record.

An archive has no checkpoints and no logs. It is enough to redraw all figures and tables (`cells_table`), and it records
the commit, package versions, machine, corpora and seed of every number.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import platform
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from twostage.common.errors import UserError
from twostage.common.storage import sha256_file, write_atomic
from twostage.design.design import Design
from twostage.study import load_study, study_file
from twostage.study.layers import read_layers

#: Files that are copied as they are, relative to the study's results.
COPIED = ("summary.md", "tables/*.csv", "cells/*/*.csv", "fits/**/*.json", "figures/*.png", "figures/*.csv")
#: Every job's `metrics.json` and `eval-<corpus>.json`, one per line.
RECORDS = "jobs.jsonl.gz"
#: Packages that can affect the numbers; their versions are recorded.
RECORDED_PACKAGES = ("megatron-core", "torch", "numpy", "scipy", "lmfit", "tokenizers", "pandas", "snakemake")


def archive_study(path: str, out: Path, results: Path = Path("results")) -> dict[str, Any]:
    """Copy a study's tables, fits and figures to `out`, and write its jobs' records and a manifest.

    An existing archive in `out` is replaced; other files there (such as a README) are kept. An unfinished study is
    archived as it is; the manifest counts planned and measured jobs.

    Args:
        path: study file, with or without a subset; the complete study is archived.
        out: folder to write.
        results: folder that contains `<study>/`.

    Returns:
        The manifest.

    Raises:
        UserError: the study has no cells yet, or `out` is inside its results.
    """
    study = load_study(f"{study_file(path)}:full")
    folder = results / study.name
    if not (folder / "tables/cells.csv").is_file():
        raise UserError(
            f"{folder}/tables/cells.csv: does not exist, so there is nothing to archive; run the study first"
        )
    if out.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"--out {out}: is inside {folder}, the folder to archive; choose another folder")
    records = dict(_records(folder))
    _remove_archive(out)
    out.mkdir(parents=True, exist_ok=True)
    names = sorted({file.relative_to(folder) for pattern in COPIED for file in folder.glob(pattern)})
    for name in names:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, out / name)
    lines = (json.dumps({"file": name, **record}, sort_keys=True) for name, record in sorted(records.items()))
    # No time or name in the header, so that equal records give equal bytes.
    write_atomic(out / RECORDS, gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))
    segments, branches = Design(study).jobs()
    planned = [job.metrics for job in (*segments, *branches)]
    manifest = {
        "study": [
            {"file": str(file), "sha256": sha256_file(file)} for file in read_layers(study_file(path)).files
        ],
        "seeds": sorted({record["spec"]["seed"] for name, record in records.items() if name in planned}),
        "training_jobs": {"planned": len(planned), "measured": sum(name in records for name in planned)},
        "corpora": dict(_corpora(folder)),
        **_totals(records),
        "training_wall_hours": round(busy_hours(_training_times(folder, records)), 3),
        "machine": _machine(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in RECORDED_PACKAGES},
        },
        "files": {str(name): sha256_file(out / name) for name in [*names, Path(RECORDS)]},
    }
    write_atomic(out / "manifest.json", json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return manifest


def busy_hours(times: Iterable[tuple[float, float]]) -> float:
    """Return the hours in which at least one job ran; `times`: (start, end) of each job in seconds, in any order."""
    seconds, until = 0.0, -math.inf
    for start, end in sorted(times):
        seconds += max(0.0, end - max(start, until))
        until = max(until, end)
    return seconds / 3600


def _training_times(folder: Path, records: dict[str, dict[str, Any]]) -> Iterator[tuple[float, float]]:
    """Yield (start, end) of each training job, from the modification time of its record and the duration in it.

    If the folder was copied without modification times, the result is meaningless.
    """
    for name, record in records.items():
        if name.endswith("metrics.json"):
            end = (folder / name).stat().st_mtime
            yield end - record["train_seconds"], end


def _remove_archive(out: Path) -> None:
    """Remove the files that the manifest of an earlier archive lists, and no others."""
    manifest = out / "manifest.json"
    if not manifest.is_file():
        return
    for name in json.loads(manifest.read_text(encoding="utf-8"))["files"]:
        (out / name).unlink(missing_ok=True)
    manifest.unlink()


def _records(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for stage in ("stage1", "stage2"):
        for pattern in ("metrics.json", "eval-*.json"):
            for file in (folder / stage).rglob(pattern):
                yield str(file.relative_to(folder)), json.loads(file.read_text(encoding="utf-8"))


def _corpora(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted(folder.glob("tokens/*/manifest.json")):
        data = json.loads(file.read_text(encoding="utf-8"))
        keys = ("splits", "counts", "documents_sha256", "tokenizer_sha256", "vocab_size", "revision")
        yield data["corpus"], {key: data[key] for key in keys}


def _totals(records: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return commits and devices of all records, and the tokens and core-hours of training."""
    trained = [record for name, record in records.items() if name.endswith("metrics.json")]
    tokens = sum(
        (record["spec"]["stop_step"] - record["spec"]["start_step"])
        * record["spec"]["batch_size"]
        * record["spec"]["architecture"]["context"]
        for record in trained
    )
    return {
        "git_commits": dict(Counter(str(record["git_commit"]) for record in records.values())),
        "devices": dict(Counter(record["device"] for record in records.values())),
        "tokens_trained": tokens,
        "training_core_hours": round(
            sum(record["train_seconds"] * record["execution"]["threads"] for record in trained) / 3600, 3
        ),
    }


def _machine() -> dict[str, Any]:
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "byte_order": sys.byteorder,
        "archived": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )
