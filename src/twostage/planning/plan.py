"""The bill of a study, before anything runs: jobs, tokens, FLOPs, and how often each corpus is read.

Pure functions of the design; sizes of corpora that exist already come in as numbers. Disk space is `planning/disk.py`'s job,
printing `cli/plan.py`'s. Training is all that is billed: evaluation and validation losses are forward passes over the
held-out split, tables and figures take seconds on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from twostage.design.design import Design
from twostage.design.flops import flops_6nd, flops_per_token
from twostage.design.paths import Branch, Run, Segment, Stage2Run
from twostage.planning.disk import Disk, disk_of
from twostage.planning.jobs import BASE, Jobs, label, planned_jobs, releases
from twostage.study import Study


@dataclass(frozen=True, kw_only=True)
class Work:
    """Training that is added up: tokens and FLOPs (6 N D with non-embedding N; exact with causal attention).

    Attributes:
        flops_by_n: the exact ones, by the non-embedding parameters of what is trained.
    """

    tokens: int = 0
    flops_6nd: float = 0.0
    flops_by_n: Mapping[int, int] = field(default_factory=dict)

    @property
    def flops(self) -> int:
        """Exact FLOPs of all sizes."""
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
class Row:
    """One line of the bill: the runs of one method (or of stage 1) on one base model.

    Attributes:
        method: `base`, `scratch-<corpus>`, `<schedule>` of the ablation, or a method of the study.
        n_params: non-embedding parameters of the model that is trained.
        runs, jobs: trunks, and training jobs (segments and branches).
        naive: the same cells, each trained alone from scratch.
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
class Held:
    """What a corpus holds for training: tokens (None: not known before it is prepared), and where the number is from."""

    tokens: int | None
    source: str


@dataclass(frozen=True, kw_only=True)
class CorpusUse:
    """How much of a corpus the run that reads most of it needs; `epochs` is None where the corpus' size is unknown."""

    corpus: str
    held: Held
    tokens: int
    epochs: float | None
    run: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that `twostage plan` shows, for one study or a part of it."""

    study: str
    rules: dict[str, int]
    rows: tuple[Row, ...]
    second_stages: int
    disk: Disk
    corpora: tuple[CorpusUse, ...]

    @property
    def work(self) -> Work:
        """All training."""
        return sum((row.work for row in self.rows), Work())

    @property
    def naive(self) -> Work:
        """The same cells, each trained alone: D1 and D2 again for every cell."""
        return sum((row.naive for row in self.rows), Work())

    @property
    def jobs(self) -> int:
        """All jobs but tables, fits and figures."""
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


def plan_study(study: Study, held: Mapping[str, Held]) -> Plan:
    """Return the plan of a study; `held`: what each of its corpora holds."""
    design = Design(study)
    jobs = planned_jobs(design)
    released = releases(design, jobs)
    return Plan(
        study=study.name,
        rules=_rules(design, jobs, list(released)),
        rows=_rows(design, jobs),
        second_stages=_second_stages_of_largest(design, jobs),
        disk=disk_of(design, jobs, released, {name: entry.tokens for name, entry in held.items()}),
        corpora=_corpus_uses(design, jobs, held),
    )


def _rules(design: Design, jobs: Jobs, released: list[str]) -> dict[str, int]:
    """Jobs by rule, as a dry-run on a clean folder counts them."""
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


# The bill -----------------------------------------------------------------------------------------------------------


def _rows(design: Design, jobs: Jobs) -> tuple[Row, ...]:
    groups: dict[tuple[str, str], list[Segment | Branch]] = {}
    for job in jobs.training:
        groups.setdefault((label(design, job.run), job.run.model), []).append(job)
    rows = []
    for (method, model), members in groups.items():
        branches = [job for job in members if isinstance(job, Branch)]
        rows.append(
            Row(
                method=method,
                model=model,
                n_params=design.architecture(members[0].run).n_params,
                runs=len({job.run for job in members}),
                jobs=len(members),
                cells=len(branches),
                work=sum((_work(design, job.run, design.job_tokens(job)) for job in members), Work()),
                naive=sum((_alone(design, branch) for branch in branches), Work()),
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


def _alone(design: Design, branch: Branch) -> Work:
    """One cell with nothing shared: its base from scratch to D1, then its second stage to D2."""
    work = _work(design, branch.run, branch.tokens)
    if isinstance(branch.run, Stage2Run):
        work += _work(design, design.base_run(branch.run), branch.run.d1_tokens)
    return work


def _second_stages_of_largest(design: Design, jobs: Jobs) -> int:
    """How many second-stage trunks the largest base model has."""
    models = {run.model for run in jobs.runs if isinstance(run, Stage2Run)}
    if not models:
        return 0
    largest = max(models, key=lambda model: design.study.architecture(model).n_params)
    return sum(isinstance(run, Stage2Run) and run.model == largest for run in jobs.runs)


# Corpora ------------------------------------------------------------------------------------------------------------


def estimated(study: Study, corpus: str, bytes_per_token: float) -> Held:
    """What a corpus holds as far as the study tells: `max_bytes` of text, less the held-out share."""
    section = study.corpora[corpus]
    limit = getattr(section, "max_bytes", None)
    if limit is None:
        return Held(tokens=None, source="unknown until prepared (no max_bytes)")
    tokens = int(limit * (1 - section.valid_fraction) / bytes_per_token)
    return Held(
        tokens=tokens, source=f"at most: max_bytes at {bytes_per_token:g} bytes a token (an assumption)"
    )


def _corpus_uses(design: Design, jobs: Jobs, held: Mapping[str, Held]) -> tuple[CorpusUse, ...]:
    """The hungriest run of each corpus; samples skipped by fresh data count, since they are used up."""
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
            size = held[corpus].tokens
            epochs = None if not size else tokens / _whole_samples(size, design.study.context)
            uses.append(
                CorpusUse(corpus=corpus, held=held[corpus], tokens=tokens, epochs=epochs, run=run.path)
            )
    return tuple(uses)


def _whole_samples(tokens: int, context: int) -> int:
    """Tokens that an epoch trains: whole samples of context + 1 at stride context."""
    return max(1, (tokens - 1) // context) * context


# The paper's own estimate ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PaperEstimate:
    """Appendix B.4 of arXiv 2510.06548, and what it is made of.

    "The largest first and second-stage models with maximum iterations using the 6ND approximation": around 1e9 TFLOPs,
    at 400 TFLOP/s. With N of Table 3 (1B: 30 layers of width 1504) and D of Table 5 (70,400 iterations of 1,024 x
    1,024 tokens), continual pretraining (second stage at N) gives 0.96e21, growth (at 2N) 1.44e21: it is the former.
    """

    n_params: int = 30 * (16 * 1504**2 + 2 * 1504) + 1504  # Table 3
    tokens: int = 70_400 * 1024 * 1024  # Table 5
    flops: float = 1e21  # "around 10^9 TFLOPs"
    tflops: float = 400  # B.4
    all_gpu_hours: float = 3000  # B.4, "additional experimentation and ablation runs" included
    all_cost: float = 6000  # B.4, USD

    @property
    def gpu_hours(self) -> float:
        """Of one first and one second stage."""
        return self.flops / (self.tflops * 1e12) / 3600

    def recomputed(self, growth: int) -> float:
        """6ND of both stages with a second stage of `growth` times N."""
        return flops_6nd(self.n_params, self.tokens) * (1 + growth)


PAPER = PaperEstimate()
