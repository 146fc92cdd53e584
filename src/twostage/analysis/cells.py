"""Gathers the measured losses of a study into `cells.csv`, one row per cell, and refuses cells that are not comparable.

Reads the evaluation and metrics files of every cell in the study's design. There are two tables: `cells` (stage-2 runs,
and all stage-1 runs on their own corpus as method `scratch`) and `base_cells` (base checkpoints on the corpora that
methods continue on: the loss at D2 = 0). They are separate because a law needs D2 > 0. The loss of a base checkpoint on
its own corpus is only in `cells`.
"""

from __future__ import annotations

import difflib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from twostage.common.advice import remake
from twostage.common.errors import UserError
from twostage.common.storage import write_atomic
from twostage.design.design import Cell, Design
from twostage.design.paths import Branch, Stage1Run, Stage2Run, grown_manifest
from twostage.design.specs import Spec, branch_spec, evaluate_spec

#: Columns that identify a cell in `cells.csv`.
KEY = ("method", "model", "seed", "d1_tokens", "d2_tokens", "valid_corpus")
#: Columns that must be equal in all cells. The git commit may differ: a change of numerics changes a revision.
UNIFORM = (
    "revision_data",
    "revision_train",
    "revision_grow",
    "revision_evaluate",
    "precision",
    "device_train",
    "device_evaluate",
    "attention_backend",
)
_TEXT = (
    "method",
    "model",
    "valid_corpus",
    "precision",
    "device_train",
    "device_evaluate",
    "attention_backend",
    "git_commit",
    "evaluation",
    "excluded",
)
_REQUIRED = (*KEY, "n_base", "n_final", "loss_nats")
#: Columns of the cells that the table of base checkpoints does not have.
_NOT_OF_BASE = ("method", "d2_tokens", "forgetting_loss_nats", "epochs_2")
_SHOWN = 5  # files named in an error


@dataclass(frozen=True)
class CellTables:
    """The two tables of one study; columns as in `aggregate_cells`."""

    cells: pd.DataFrame
    base_cells: pd.DataFrame


def aggregate_cells(design: Design, results: Path, *, only: tuple[str, str] | None = None) -> CellTables:
    """Read every cell of the study from `results` (the study's results folder), or those of one (method, base model).

    Columns of `cells`: method (`scratch` for stage 1), model (the base model), n_base, n_final (non-embedding
    parameters before and after growth), d1_tokens (0 for scratch), d2_tokens, seed, valid_corpus, loss_nats (per
    token), loss_se, loss_nats_per_byte, forgetting_loss_nats (on the base corpus; empty where that is the run's own),
    epochs_1, epochs_2 (passes over the base corpus in stage 1 and over the run's own corpus in stage 2),
    grad_norm_mean (pre-clip, post-warmup trunk), revision_*, precision, device_*, attention_backend, git_commit (of
    the training), evaluation (the file, relative to `results`), excluded (the study's reason, or empty).
    `base_cells` has no method, d2_tokens, forgetting or epochs_2.

    Raises:
        UserError: a file is missing or damaged, was made from another spec than the study's, belongs to a model of
            another size, is a copy of another cell, or differs from the other cells in a column of `UNIFORM`. The
            message names the files and the fix.
    """
    excluded = _excluded(design)
    reader = _Reader(design, results, excluded)
    wanted = [
        cell
        for cell in (design.cells() if only is None else design.cells_of(*only))
        if cell.path not in excluded or (results / cell.path).is_file()
    ]
    reader.require_files(wanted)
    continued = {design.study.corpus_of(name) for name in design.study.methods}
    rows, base_rows = [], []
    for cell in wanted:
        run = cell.branch.run
        if cell.corpus == design.corpus(run):
            rows.append(reader.row(cell))
        elif design.is_base(cell.branch) and cell.corpus in continued:
            base_rows.append(reader.base_row(cell))
    compared = [row for row in [*rows, *base_rows] if not row["excluded"]]
    _refuse_mixtures(compared, results)
    for cell in wanted:
        if cell.path not in excluded:
            reader.check_identity(cell)
    _refuse_copies(compared, results)
    cells = _frame(rows)
    base_columns = [name for name in cells.columns if name not in _NOT_OF_BASE]
    return CellTables(cells, _frame(base_rows) if base_rows else pd.DataFrame(columns=base_columns))


def _excluded(design: Design) -> dict[str, str]:
    known = [cell.path for cell in design.cells()]
    for index, entry in enumerate(design.study.excluded_cells):
        if entry.cell not in known:
            near = difflib.get_close_matches(entry.cell, known, n=1, cutoff=0)
            raise UserError(
                f"excluded_cells[{index}].cell: {entry.cell!r} is not a cell of study {design.study.name}; nearest: {near[0]}"
            )
    return {entry.cell: entry.reason for entry in design.study.excluded_cells}


class _Reader:
    """Reads and caches the small JSON files of one results folder."""

    def __init__(self, design: Design, results: Path, excluded: Mapping[str, str]) -> None:
        self.design, self.results, self.excluded = design, results, excluded
        self._cache: dict[str, dict[str, Any]] = {}

    def require_files(self, cells: Iterable[Cell]) -> None:
        paths = dict.fromkeys(path for cell in cells for path in (cell.path, cell.branch.metrics))
        missing = [path for path in paths if not (self.results / path).is_file()]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(paths)} files of study {self.design.study.name} are missing: "
                f"{self._names(missing)}; make them with: {remake(self.results / missing[0])}, "
                "or list cells that cannot be measured under excluded_cells"
            )

    def _names(self, paths: list[str]) -> str:
        shown = ", ".join(str(self.results / path) for path in paths[:_SHOWN])
        return shown + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")

    def load(self, path: str) -> dict[str, Any]:
        if path not in self._cache:
            try:
                value = json.loads((self.results / path).read_text(encoding="utf-8"))
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise UserError(
                    f"{self.results / path}: not valid JSON ({error}); remake it with: {remake(self.results / path)}"
                ) from None
            if not isinstance(value, dict):
                raise UserError(
                    f"{self.results / path}: not a JSON object; remake it with: {remake(self.results / path)}"
                )
            self._cache[path] = value
        return self._cache[path]

    def get(self, path: str, *keys: str) -> Any:
        value: Any = self.load(path)
        for key in keys:
            if not isinstance(value, dict) or key not in value:
                raise UserError(
                    f"{self.results / path}: key {'.'.join(keys)} is missing; remake it with: {remake(self.results / path)}"
                )
            value = value[key]
        return value

    def row(self, cell: Cell) -> dict[str, Any]:
        """Return one row of `cells`."""
        design, branch, run = self.design, cell.branch, cell.branch.run
        base = design.study.stage1.corpus
        start: dict[str, Any]
        if isinstance(run, Stage2Run):
            parent = design.base(run)
            start = {
                "method": run.method,
                "d1_tokens": run.d1_tokens,
                "epochs_1": self.get(parent.metrics, "epochs", base),
            }
            grow = self.get(grown_manifest(run), "origin", "revision") if design.grows(run) else None
        else:
            start = {"method": design.label(branch), "d1_tokens": 0, "epochs_1": 0.0}
            grow = None
        return {
            "method": start["method"],
            "model": run.model,
            "n_base": self._n_base(branch),
            "n_final": self.get(cell.path, "n_final"),
            "d1_tokens": start["d1_tokens"],
            "d2_tokens": branch.tokens,
            "seed": run.seed,
            **self._losses(cell),
            "forgetting_loss_nats": None if cell.corpus == base else self._forgetting(branch),
            "epochs_1": start["epochs_1"],
            "epochs_2": self.get(branch.metrics, "epochs", cell.corpus),
            **self._provenance(cell, grow),
        }

    def base_row(self, cell: Cell) -> dict[str, Any]:
        """Return one row of `base_cells`."""
        branch, run = cell.branch, cell.branch.run
        return {
            "model": run.model,
            "n_base": self._n_base(branch),
            "n_final": self.get(cell.path, "n_final"),
            "d1_tokens": branch.tokens,
            "seed": run.seed,
            **self._losses(cell),
            "epochs_1": self.get(branch.metrics, "epochs", self.design.corpus(run)),
            **self._provenance(cell, None),
        }

    def _n_base(self, branch: Branch) -> int:
        return self.design.study.architecture(branch.run.model).n_params

    def _losses(self, cell: Cell) -> dict[str, Any]:
        names = ("loss_nats", "loss_se", "loss_nats_per_byte")
        return {"valid_corpus": cell.corpus} | {name: float(self.get(cell.path, name)) for name in names}

    def _forgetting(self, branch: Branch) -> float | None:
        """Loss on the base corpus; None for runs from scratch and for cells that the study excludes."""
        path = branch.evaluation(self.design.study.stage1.corpus)
        if isinstance(branch.run, Stage1Run) or path in self.excluded:
            return None
        return float(self.get(path, "loss_nats"))

    def _provenance(self, cell: Cell, revision_grow: int | None) -> dict[str, Any]:
        metrics = cell.branch.metrics
        return {
            "grad_norm_mean": self.get(metrics, "grad_norm_mean"),
            "revision_data": self.get(cell.path, "revision_data"),
            "revision_train": self.get(metrics, "spec", "revision"),
            "revision_grow": revision_grow,
            "revision_evaluate": self.get(cell.path, "spec", "revision"),
            "precision": self.get(metrics, "spec", "recipe", "precision"),
            "device_train": self.get(metrics, "device"),
            "device_evaluate": self.get(cell.path, "device"),
            "attention_backend": self.get(metrics, "attention_backend"),
            "git_commit": self.get(metrics, "git_commit") or "",
            "evaluation": cell.path,
            "excluded": self.excluded.get(cell.path, ""),
        }

    def check_identity(self, cell: Cell) -> None:
        """Refuse a cell that was trained or measured with another spec than the study's."""
        branch = cell.branch
        self._same_spec(branch.metrics, branch_spec(self.design, branch))
        self._same_spec(cell.path, evaluate_spec(self.design, branch, cell.corpus))
        expected, found = self.design.architecture(branch.run).n_params, self.get(cell.path, "n_final")
        if found != expected:
            raise UserError(
                f"{self.results / cell.path}: measured on a model of {found} parameters, but the study's model has {expected}; "
                f"remake it with: {remake(self.results / cell.path)}"
            )

    def _same_spec(self, path: str, expected: Spec) -> None:
        recorded = self.get(path, "spec")
        if not isinstance(recorded, dict):
            raise UserError(
                f"{self.results / path}: spec: {recorded!r} is not an object; remake it with: {remake(self.results / path)}"
            )
        changed = expected.changes(recorded)
        if changed:
            name, (theirs, ours) = next(iter(changed.items()))
            raise UserError(
                f"{self.results / path}: made with another spec than the study's ({', '.join(changed)} differ; "
                f"{name}: {theirs!r} in the file, {ours!r} in the study); "
                f"remake it with: {remake(self.results / path)}"
            )


def _refuse_mixtures(rows: list[dict[str, Any]], results: Path) -> None:
    for name in UNIFORM:
        groups: dict[Any, list[str]] = {}
        for row in rows:
            if row[name] is not None:
                groups.setdefault(row[name], []).append(row["evaluation"])
        if len(groups) > 1:
            listed = "; ".join(
                f"{value!r}: {len(files)} cells, e.g. {files[0]}" for value, files in groups.items()
            )
            few = min(groups.values(), key=len)
            raise UserError(
                f"{name} differs between cells ({listed}); only losses with equal {name} are comparable. "
                f"Measure the smaller group again ({remake(*(results / file for file in few[:_SHOWN]))}) or list it under excluded_cells"
            )


def _refuse_copies(rows: list[dict[str, Any]], results: Path) -> None:
    """Refuse equal losses: two trained models never agree to the last bit, so one file is a copy of the other."""
    seen: dict[tuple[str, float, float], str] = {}
    for row in rows:
        number = (row["valid_corpus"], row["loss_nats"], row["loss_se"])
        first = seen.setdefault(number, row["evaluation"])
        if first != row["evaluation"]:
            raise UserError(
                f"{first} and {row['evaluation']} have the same loss to the last digit ({row['loss_nats']!r} nats), so one is "
                f"a copy of the other; remake both with: {remake(results / first, results / row['evaluation'])}"
            )


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    for name in ("revision_grow", "forgetting_loss_nats", "grad_norm_mean"):
        if name in frame:
            frame[name] = frame[name].astype("Int64" if name == "revision_grow" else "float64")
    return frame


# Files ---------------------------------------------------------------------------------------------------------------


def table_csv(frame: pd.DataFrame) -> str:
    """Return a table as CSV text. Floats have 17 significant digits, so reading the text back gives the same numbers."""
    buffer = io.StringIO()
    frame.to_csv(buffer, index=False, float_format="%.17g", lineterminator="\n")
    return buffer.getvalue()


def write_table(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table atomically, in the format of `table_csv`."""
    write_atomic(path, table_csv(frame))


def read_cells(path: str | Path) -> pd.DataFrame:
    """Read a `cells.csv`; empty text fields become "".

    Raises:
        UserError: a column is missing, or two rows are the same cell. The message names their lines.
    """
    path = Path(path)
    text = dict.fromkeys(_TEXT, str)
    frame = pd.read_csv(path, dtype=text)
    if missing := [name for name in _REQUIRED if name not in frame.columns]:
        raise UserError(
            f"{path}: column {missing[0]!r} is missing; make the table again with: {remake(path)}"
        )
    for name in ("evaluation", "excluded"):  # optional in an imported table
        if name not in frame:
            frame[name] = ""
    for name in (name for name in _TEXT if name in frame):
        frame[name] = frame[name].fillna("")
    keys = list(KEY)
    twice = frame[frame.duplicated(keys, keep=False)]
    if len(twice):
        first = twice.iloc[0][keys]
        lines = [int(str(i)) + 2 for i in twice.index if (twice.loc[i, keys] == first).all()]
        raise UserError(
            f"{path}: lines {lines[0]} and {lines[1]} are the same cell ({first.to_dict()}); remove one of them"
        )
    return frame


def method_cells(cells: pd.DataFrame, method: str, model: str) -> pd.DataFrame:
    """Return the rows of one method and base model that are not excluded, sorted by D1, D2 and seed.

    Raises:
        UserError: there are no such rows.
    """
    chosen = cells[(cells["method"] == method) & (cells["model"] == model) & (cells["excluded"] == "")]
    if chosen.empty:
        known = sorted({(str(a), str(b)) for a, b in zip(cells["method"], cells["model"], strict=True)})
        raise UserError(f"no cells of method {method!r} and model {model!r}; the table has {known}")
    return chosen.sort_values(["d1_tokens", "d2_tokens", "seed"], kind="stable").reset_index(drop=True)
