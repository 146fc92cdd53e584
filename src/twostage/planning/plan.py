"""The plan of a study before it runs: jobs, tokens, FLOPs, and how often each corpus is read.

Computed from the design and the sizes of the corpora. `disk` computes the disk space, `cli.plan` prints the plan. Only
training counts: evaluations are forward passes over the held-out split, tables and figures take seconds on a CPU.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from twostage.common.errors import UserError
from twostage.corpora.files import corpus_files
from twostage.corpora.packed import PACKINGS
from twostage.design.design import Design
from twostage.design.flops import flops_6nd, flops_per_token
from twostage.design.paths import Branch, Run, Segment, Stage2Run
from twostage.planning.disk import Disk, disk_of
from twostage.planning.jobs import BASE, Jobs, least_split_tokens, planned_jobs, releases, run_label
from twostage.study import FilesCorpus, Study


@dataclass(frozen=True, kw_only=True)
class Work:
    """An amount of training.

    Attributes:
        tokens: training tokens.
        flops_6nd: FLOPs by the approximation 6 N D, with non-embedding N.
        flops_by_n: non-embedding parameters of the trained model -> exact FLOPs, with causal attention.
    """

    tokens: int = 0
    flops_6nd: float = 0.0
    flops_by_n: Mapping[int, int] = field(default_factory=dict)

    @property
    def flops(self) -> int:
        """Exact FLOPs, summed over model sizes."""
        return sum(self.flops_by_n.values())

    def __add__(self, other: Work) -> Work:
        sizes = {**self.flops_by_n, **other.flops_by_n}
        return Work(
            tokens=self.tokens + other.tokens,
            flops_6nd=self.flops_6nd + other.flops_6nd,
            flops_by_n={n: self.flops_by_n.get(n, 0) + other.flops_by_n.get(n, 0) for n in sizes},
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"tokens": self.tokens, "flops_6nd": self.flops_6nd, "flops": self.flops}


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """One line of the plan: the runs of one method (or of stage 1) on one base model.

    Attributes:
        method: a method of the study, `base`, `scratch-<corpus>`, or `<schedule> schedule` for the ablation.
        n_params: non-embedding parameters of the trained model.
        runs: number of runs.
        jobs: number of training jobs (segments and branches).
        cells: number of evaluated checkpoints.
        work: the training.
        naive: the training if every cell were trained separately, with nothing shared.
    """

    method: str
    model: str
    n_params: int
    runs: int
    jobs: int
    cells: int
    work: Work
    naive: Work

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"work": self.work.to_json(), "naive": self.naive.to_json()}


@dataclass(frozen=True, kw_only=True)
class CorpusSize:
    """Tokens of a corpus for training and held out (None: unknown until it is prepared), and the source of the numbers."""

    tokens: int | None
    source: str
    valid_tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class CorpusUse:
    """The run that reads most of a corpus, and how much it reads. `epochs` is None if the corpus' size is unknown."""

    corpus: str
    held: CorpusSize
    tokens: int
    epochs: float | None
    run: str


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """The plan of a study or a subset, as `twostage plan` shows it."""

    study: str
    rules: dict[str, int]
    rows: tuple[PlanRow, ...]
    second_stages: int
    disk: Disk
    corpora: tuple[CorpusUse, ...]

    @property
    def work(self) -> Work:
        """All training."""
        return sum((row.work for row in self.rows), Work())

    @property
    def naive(self) -> Work:
        """All training if every cell were trained separately: D1 and D2 again for every cell."""
        return sum((row.naive for row in self.rows), Work())

    @property
    def jobs(self) -> int:
        """Number of jobs, without tables, fits and figures."""
        return sum(self.rules.values())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, totals included."""
        return asdict(self) | {
            "rows": [row.to_json() for row in self.rows],
            "work": self.work.to_json(),
            "naive": self.naive.to_json(),
            "jobs": self.jobs,
            "disk": asdict(self.disk)
            | {"total_bytes": self.disk.total_bytes, "final_bytes": self.disk.final_bytes},
        }


def plan_study(study: Study, sizes: Mapping[str, CorpusSize]) -> StudyPlan:
    """Return the plan of a study; `sizes`: the size of each corpus."""
    design = Design(study)
    jobs = planned_jobs(design)
    released = releases(design, jobs)
    return StudyPlan(
        study=study.name,
        rules=_rules(design, jobs, list(released)),
        rows=_rows(design, jobs),
        second_stages=_second_stages_of_largest(design, jobs),
        disk=disk_of(design, jobs, released, {name: size.tokens for name, size in sizes.items()}),
        corpora=_corpus_uses(design, jobs, sizes),
    )


def cautions(study: Study) -> Iterator[str]:
    """Yield what would stop a job on this machine, although the study is valid: it may run elsewhere."""
    design = Design(study)
    corpora = planned_jobs(design).prepared(design)
    for name in corpora:
        corpus = study.corpora[name]
        if isinstance(corpus, FilesCorpus):
            try:
                corpus_files(corpus)
            except UserError as error:
                yield f"corpora.{name}: {error}"
    if study.recipe.precision == "bf16" and corpora and shutil.which("nvidia-smi") is None:
        yield (
            "recipe.precision: bf16 needs CUDA, and this machine has no NVIDIA driver: training jobs fail here; run them where "
            "there are GPUs, or set precision: fp32"
        )


def short_splits(study: Study, sizes: Mapping[str, CorpusSize]) -> Iterator[str]:
    """Yield the held-out splits that are too short for the study, as `tokenize_corpus` will find."""
    design = Design(study)
    for name, size in sizes.items():
        least = least_split_tokens(design, name)["valid"]
        if size.valid_tokens is not None and size.valid_tokens < least:
            yield (
                f"corpora.{name}: about {size.valid_tokens:,} tokens are held out ({size.source}), but the study's evaluations need "
                f"{least:,}; raise valid_fraction ({study.corpora[name].valid_fraction:g}), add text, or lower context or "
                "validation.samples"
            )


def _rules(design: Design, jobs: Jobs, released: list[str]) -> dict[str, int]:
    """Count the jobs by rule, as a dry run in an empty folder does."""
    if not jobs.evaluations:
        return {}
    grown = sum("/init/" in manifest for manifest in released)
    counts = {
        "prepare_corpus": len(jobs.prepared(design)),
        "train_tokenizer": 1,
        "tokenize_corpus": len(jobs.tokenised(design)),
        "train_trunk_segment": len(jobs.segments),
        "train_decay_branch": len(jobs.branches),
        "grow_checkpoint": len(jobs.grown),
        "evaluate_checkpoint": len(jobs.evaluations),
        "release_trunk": len(released) - grown,
        "release_grown": grown,
    }
    return {rule: count for rule, count in counts.items() if count}


# Training -----------------------------------------------------------------------------------------------------------


def _rows(design: Design, jobs: Jobs) -> tuple[PlanRow, ...]:
    groups: dict[tuple[str, str], list[Segment | Branch]] = {}
    for job in jobs.training:
        groups.setdefault((run_label(design, job.run), job.run.model), []).append(job)
    rows = []
    for (method, model), members in groups.items():
        branches = [job for job in members if isinstance(job, Branch)]
        rows.append(
            PlanRow(
                method=method,
                model=model,
                n_params=design.architecture(members[0].run).n_params,
                runs=len({job.run for job in members}),
                jobs=len(members),
                cells=len(branches),
                work=sum((_work(design, job.run, design.job_tokens(job)) for job in members), Work()),
                naive=sum((_naive_work(design, branch) for branch in branches), Work()),
            )
        )
    order = {name: place for place, name in enumerate(design.study.methods)}
    return tuple(sorted(rows, key=lambda row: (order.get(row.method, -1), row.method != BASE, row.method)))


def _work(design: Design, run: Run, tokens: int) -> Work:
    shape = design.architecture(run)
    return Work(
        tokens=tokens,
        flops_6nd=flops_6nd(shape.n_params, tokens),
        flops_by_n={shape.n_params: flops_per_token(shape) * tokens},
    )


def _naive_work(design: Design, branch: Branch) -> Work:
    """Return the training of one cell with nothing shared: its base model to D1, then its second stage to D2."""
    work = _work(design, branch.run, branch.tokens)
    if isinstance(branch.run, Stage2Run):
        work += _work(design, design.base_run(branch.run), branch.run.d1_tokens)
    return work


def _second_stages_of_largest(design: Design, jobs: Jobs) -> int:
    """Return the number of stage-2 runs of the largest base model."""
    models = {run.model for run in jobs.runs if isinstance(run, Stage2Run)}
    if not models:
        return 0
    largest = max(models, key=lambda model: design.study.architecture(model).n_params)
    return sum(isinstance(run, Stage2Run) and run.model == largest for run in jobs.runs)


# Corpora ------------------------------------------------------------------------------------------------------------


def estimated_size(study: Study, corpus: str, bytes_per_token: float) -> CorpusSize:
    """Estimate the size of a corpus from its `max_bytes` and its local files, less the held-out fraction."""
    section = study.corpora[corpus]
    local = _local_bytes(section) if isinstance(section, FilesCorpus) else None
    limits = [(section.max_bytes, "at most: max_bytes"), (local, "at most: size of the files, unpacked")]
    known = [(size, source) for size, source in limits if size is not None]
    if not known:
        return CorpusSize(tokens=None, source="unknown until prepared (no max_bytes)")
    size, source = min(known)
    valid_tokens = int(size * section.valid_fraction / bytes_per_token)
    return CorpusSize(
        tokens=int(size * (1 - section.valid_fraction) / bytes_per_token),
        source=f"{source} at {bytes_per_token:g} bytes per token (assumed)",
        valid_tokens=valid_tokens,
    )


#: Bytes of text for each byte of a compressed file: typical for text with gzip, zstd or in parquet.
_UNPACKED = 3


def _local_bytes(corpus: FilesCorpus) -> int | None:
    """Estimate the bytes of text in the files of a corpus; None if they are not on this machine."""
    try:
        files = [file.path for file in corpus_files(corpus) if file.path.exists()]
    except UserError:
        return None
    return sum(
        path.stat().st_size * (_UNPACKED if path.suffix in (*PACKINGS, ".parquet") else 1) for path in files
    )


def _corpus_uses(design: Design, jobs: Jobs, sizes: Mapping[str, CorpusSize]) -> tuple[CorpusUse, ...]:
    """Find the run that reads most of each corpus. Samples skipped by `data: fresh` count, because the base run read them."""
    needs: dict[str, tuple[int, Run]] = {}
    for branch in jobs.branches:
        mixture = design.mixture(branch.run)
        total = branch.tokens + design.first_sample(branch.run) * design.study.context
        for corpus, weight in mixture.items():
            tokens = total * weight // sum(mixture.values())
            needs[corpus] = max(needs.get(corpus, (0, branch.run)), (tokens, branch.run), key=lambda n: n[0])
    uses = []
    for corpus in design.study.corpora:
        if corpus in needs:
            tokens, run = needs[corpus]
            size = sizes[corpus]
            epochs = tokens / _epoch_tokens(size.tokens, design.study.context) if size.tokens else None
            uses.append(CorpusUse(corpus=corpus, held=size, tokens=tokens, epochs=epochs, run=run.path))
    return tuple(uses)


def _epoch_tokens(tokens: int, context: int) -> int:
    """Return the tokens of one epoch: complete samples of context + 1 tokens, at stride context."""
    return max(1, (tokens - 1) // context) * context


# The paper's own estimate ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PaperEstimate:
    """The compute estimate of appendix B.4 of arXiv 2510.06548, and the numbers it follows from.

    "The largest first and second-stage models with maximum iterations using the 6ND approximation": around 1e9 TFLOPs,
    at 400 TFLOP/s. With N of Table 3 (1B: 30 layers of width 1504) and D of Table 5 (70,400 iterations of 1,024 x
    1,024 tokens), continual pretraining (second stage at N) gives 0.96e21 FLOPs and growth (at 2N) 1.44e21,
    so the estimate is for continual pretraining.
    """

    n_params: int = 30 * (16 * 1504**2 + 2 * 1504) + 1504  # Table 3
    tokens: int = 70_400 * 1024 * 1024  # Table 5
    flops: float = 1e21  # "around 10^9 TFLOPs"
    tflops: float = 400  # B.4
    all_gpu_hours: float = 3000  # B.4, "additional experimentation and ablation runs" included
    all_cost: float = 6000  # B.4, USD

    @property
    def gpu_hours(self) -> float:
        """GPU-hours of one first and one second stage."""
        return self.flops / (self.tflops * 1e12) / 3600

    def recomputed(self, growth: int) -> float:
        """Return 6ND of both stages, with `growth` times N parameters in the second."""
        return flops_6nd(self.n_params, self.tokens) * (1 + growth)


PAPER = PaperEstimate()
