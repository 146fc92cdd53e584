"""What finished outputs were made from, compared with what the study would make now.

Every output of a job that takes more than seconds carries its identity: its spec, and the digest of what it was made from.
This module compares them with the study's plan. It does not use Snakemake's records, so the answer is the same after a copy or
a move. The rules (`rules/common/records.smk`), `twostage status` and `twostage plan --changes` use it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twostage.common.storage import json_digest, read_manifest, sha256_file
from twostage.corpora import dataspecs
from twostage.design import paths, specs
from twostage.design.design import Cell, Design
from twostage.design.paths import Branch, Segment, Stage2Run
from twostage.planning.jobs import planned_jobs

Changes = dict[str, tuple[Any, Any]]
"""Key of the study file (or a phrase that names an input) -> (value that the output was made with, value now)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CostlyJob:
    """A data, training, growth or evaluation job. Paths are relative to the study's results folder.

    Attributes:
        rule: name of its rule.
        outputs: its declared outputs.
        inputs: its declared inputs.
        spec: returns the spec that the study has for the job.
        compare: (spec, results folder) -> why the outputs do not belong to the study; see `changes`.
        frozen: whether its outputs are kept although its inputs change.
        work: the segment, branch, run or cell; None for a data job.
    """

    rule: str
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    spec: Callable[[], specs.Spec]
    compare: Callable[[Any, Path], Changes]
    frozen: bool = False
    work: Segment | Branch | Stage2Run | Cell | None = None

    def is_finished(self, results: Path) -> bool:
        """Return whether all outputs exist."""
        return all((results / output).is_file() for output in self.outputs)

    def changes(self, results: Path) -> Changes:
        """Return why the job's finished outputs do not belong to the study as it is now; empty if they do."""
        try:
            return self.compare(self.spec(), results)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            return {f"content of {self.outputs[0]}": (f"damaged or of another version ({error})", "")}


def costly_jobs(design: Design) -> list[CostlyJob]:
    """Return the planned jobs whose outputs carry their identity, in the order data, growth, training, evaluation."""
    jobs = planned_jobs(design)
    if not jobs.evaluations:
        return []
    return [
        *(_preparation(design, corpus) for corpus in jobs.prepared(design)),
        _tokenizer(design),
        *(_tokenising(corpus) for corpus in jobs.tokenised(design)),
        *(_growth(design, run) for run in jobs.grown),
        *(_training(design, job) for job in jobs.training),
        *(_evaluation(design, cell) for cell in jobs.evaluations),
    ]


def outdated(design: Design, results: Path) -> dict[CostlyJob, Changes]:
    """Return the finished jobs that would run again, with the reason: changes of a job, or of one that it depends on.

    Args:
        results: the study's results folder.
    """
    return with_dependents(
        costly_jobs(design), results, lambda job: job.changes(results) if job.is_finished(results) else {}
    )


def unknown(results: Path) -> list[str]:
    """Return what cannot be compared, because version 0.1 did not record it."""
    made, record = results / paths.TOKENIZER, results / paths.TOKENIZER_RECORD
    if made.is_file() and not record.is_file():
        return [
            f"{made}: was made by version 0.1, which did not record its settings; only tokenizer.vocab_size is compared, and other "
            "changes of the section tokenizer are not applied"
        ]
    return []


def with_dependents(
    jobs: list[CostlyJob], results: Path, changes_of: Callable[[CostlyJob], Changes]
) -> dict[CostlyJob, Changes]:
    """Return the finished jobs with changes, and the finished jobs below them, with the changes of all jobs above."""
    maker = {output: job for job in jobs for output in job.outputs}

    @functools.cache
    def reasons(output: str) -> tuple[tuple[str, tuple[Any, Any]], ...]:
        job = maker[output]
        above: Changes = {}
        for path in () if job.frozen else job.inputs:
            above |= dict(reasons(path)) if path in maker else {}
        own = {
            name: values
            for name, values in changes_of(job).items()
            if not (above and name.startswith(_SHAPE))
        }
        return tuple((own | above).items())

    found = {job: dict(reasons(job.outputs[0])) for job in jobs if job.is_finished(results)}
    return {job: changes for job, changes in found.items() if changes}


# Data --------------------------------------------------------------------------------------------------------------------


def _corpus_manifest(corpus: str) -> str:
    return f"corpora/{corpus}/manifest.json"


def _preparation(design: Design, corpus: str) -> CostlyJob:
    manifest = _corpus_manifest(corpus)

    def compare(spec: dataspecs.CorpusSpec, results: Path) -> Changes:
        return {
            f"corpora.{corpus}.{name}": values
            for name, values in spec.manifest_changes(read_manifest(results / manifest)).items()
        }

    return CostlyJob(
        rule="prepare_corpus",
        outputs=(manifest,),
        inputs=(),
        spec=functools.partial(dataspecs.corpus_spec, design.study, corpus),
        compare=compare,
    )


def _tokenizer(design: Design) -> CostlyJob:
    spec = dataspecs.tokenizer_spec(design.study)

    def compare(spec: dataspecs.TokenizerSpec, results: Path) -> Changes:
        record = results / paths.TOKENIZER_RECORD
        if not record.is_file():  # made by version 0.1
            found, wanted = _entries(results / paths.TOKENIZER), design.study.tokenizer.vocab_size
            return {} if found == wanted else {"tokenizer.vocab_size": (found, wanted)}
        changes = spec.changes(read_manifest(record)["spec"])
        if design.study.tokenizer.frozen:
            changes.pop("corpora", None)
            changes.pop("tokenizer.train_bytes", None)
        return {
            name if name.startswith("tokenizer.") else f"tokenizer.{name}": values
            for name, values in changes.items()
        }

    return CostlyJob(
        rule="train_tokenizer",
        outputs=(paths.TOKENIZER,),
        inputs=tuple(map(_corpus_manifest, spec.corpora)),
        spec=lambda: spec,
        compare=compare,
        frozen=design.study.tokenizer.frozen,
    )


def _entries(tokenizer: Path) -> int:
    """Return the size of a tokenizer's vocabulary."""
    content = json.loads(tokenizer.read_text())
    vocabulary = content["model"]["vocab"]
    names = vocabulary if isinstance(vocabulary, dict) else [entry[0] for entry in vocabulary]
    return len({*names, *(token["content"] for token in content["added_tokens"])})


def _tokenising(corpus: str) -> CostlyJob:
    documents, tokens = _corpus_manifest(corpus), paths.tokens_manifest(corpus)

    def compare(spec: dataspecs.TokenizeSpec, results: Path) -> Changes:
        recorded = read_manifest(results / tokens)
        changes = spec.changes({"revision": recorded["revision"]})
        if (results / documents).is_file():
            splits = read_manifest(results / documents)["splits"]
            texts = {name: split["documents_sha256"] for name, split in splits.items()}
            if texts != recorded["documents_sha256"]:
                changes[f"text of corpus {corpus}"] = ("other documents", "")
        if (results / paths.TOKENIZER).is_file() and sha256_file(results / paths.TOKENIZER) != recorded[
            "tokenizer_sha256"
        ]:
            changes[paths.TOKENIZER] = ("another tokenizer", "")
        return changes

    return CostlyJob(
        rule="tokenize_corpus",
        outputs=(tokens,),
        inputs=(documents, paths.TOKENIZER),
        spec=dataspecs.TokenizeSpec,
        compare=compare,
    )


# Training, growth and evaluation -------------------------------------------------------------------------------------------


def _training(design: Design, job: Segment | Branch) -> CostlyJob:
    data = [paths.tokens_manifest(corpus) for corpus in design.mixture(job.run)]
    parent = design.parent_manifest(job)

    def compare(spec: specs.TrainSpec, results: Path) -> Changes:
        metrics = read_manifest(results / job.metrics)
        if changes := spec.changes(metrics["spec"]):
            return {_training_key(design, job, name): values for name, values in changes.items()}
        return _input_changes(metrics, results, parent, data)

    kind = "trunk_segment" if isinstance(job, Segment) else "decay_branch"
    make_spec = specs.segment_spec if isinstance(job, Segment) else specs.branch_spec
    return CostlyJob(
        rule=f"train_{kind}",
        outputs=(job.manifest, job.metrics),
        inputs=(*data, *([parent] if parent else [])),
        spec=functools.partial(make_spec, design, job),  # type: ignore[arg-type]
        compare=compare,
        work=job,
    )


def _growth(design: Design, run: Stage2Run) -> CostlyJob:
    manifest = paths.grown_manifest(run)

    def compare(spec: specs.GrowSpec, results: Path) -> Changes:
        found = read_manifest(results / manifest)
        recorded = {"source": spec.source.to_json(), "target": found["architecture"], **found["origin"]}
        if changes := spec.changes(recorded):
            return {_growth_key(run.method, name): values for name, values in changes.items()}
        record = (results / manifest).with_name(paths.GROWTH_RECORD)
        return _input_changes(
            _read(record) if record.is_file() else {}, results, design.base(run).manifest, []
        )

    return CostlyJob(
        rule="grow_checkpoint",
        outputs=(manifest,),
        inputs=(design.base(run).manifest,),
        spec=functools.partial(specs.grow_spec, design, run),
        compare=compare,
        work=run,
    )


def _evaluation(design: Design, cell: Cell) -> CostlyJob:
    tokens = paths.tokens_manifest(cell.corpus)

    def compare(spec: specs.EvaluateSpec, results: Path) -> Changes:
        record = read_manifest(results / cell.path)
        if changes := spec.changes(record["spec"]):
            return {_EVALUATION_KEYS.get(name, name): values for name, values in changes.items()}
        return _input_changes(record, results, cell.branch.manifest, [tokens])

    return CostlyJob(
        rule="evaluate_checkpoint",
        outputs=(cell.path,),
        inputs=(cell.branch.manifest, tokens),
        spec=functools.partial(specs.evaluate_spec, design, cell.branch, cell.corpus),
        compare=compare,
        work=cell,
    )


def _input_changes(record: dict[str, Any], results: Path, parent: str | None, data: list[str]) -> Changes:
    """Compare the `key` of an output with its inputs. Version 0.1 wrote it for training only."""
    key = record.get("key")
    if key is None or not all((results / path).is_file() for path in (*data, *([parent] if parent else []))):
        return {}
    # The text of the spec when the job ran, not of the spec as it is parsed now.
    spec = json.dumps(record["spec"], sort_keys=True, separators=(",", ":"))
    now = json_digest(
        spec=spec,
        parent=_read(results / parent) if parent else None,
        data=[_read(results / path) for path in data],
    )
    if now == key:
        return {}
    return {" or ".join([*([parent] if parent else []), *data]): ("other content", "")}


def _read(path: Path) -> dict[str, Any]:
    return _read_version(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)  # many jobs have the same parent and the same data
def _read_version(path: Path, _mtime_ns: int) -> dict[str, Any]:
    return read_manifest(path)


_EVALUATION_KEYS = {
    "batch_size": "evaluation.batch_size",
    "context": "context",
    "revision": "revision of evaluations",
}
#: Field of an `Architecture` that does not depend on the size of a model -> key of the study file.
_SHARED = {
    "vocab_size": "tokenizer.vocab_size",
    "context": "context",
    "norm_eps": "recipe.norm_eps",
    "rope_base": "recipe.rope_base",
}
#: Other fields of a `TrainSpec` -> key of the study file.
_TRAINING_KEYS = {
    "revision": "revision of training in this version of twostage",
    "schedule.kind": "recipe.schedule",
    "schedule.final_fraction": "recipe.final_lr_fraction",
    "attention": "recipe.attention_backend",
}
#: Prefix of the changes of a shape that follows from a growth method. The growth job names the method's key.
_SHAPE = "shape after methods."


def _growth_key(method: str, name: str) -> str:
    side, _, field = name.partition(".")
    if side in ("source", "target"):
        return _SHARED.get(field, f"{_SHAPE}{method} ({name})")
    return (
        "revision of growth in this version of twostage" if name == "revision" else f"methods.{method}.{name}"
    )


def _training_key(design: Design, job: Segment | Branch, name: str) -> str:
    """Return the key of the study file that a field of the training spec comes from."""
    run = job.run
    section, _, field = name.rpartition(".")
    if name in _TRAINING_KEYS or section == "recipe":
        return _TRAINING_KEYS.get(name, name)
    if section == "architecture" and field in _SHARED:
        return _SHARED[field]
    if section == "architecture" and isinstance(run, Stage2Run) and design.grows(run):
        return f"{_SHAPE}{run.method} ({name})"
    if section in ("architecture", "schedule") or name in ("batch_size", "init_std"):
        return f"models.{run.model}.{field}"
    if isinstance(job.run, Stage2Run):
        return f"methods.{job.run.method} ({name})"
    return f"stage1 ({name})"
