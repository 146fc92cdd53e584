"""config/paper.yaml against the paper's tables, and its job counts against hand calculations."""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path

import pytest
from design_totals import planned_tokens, run_identity

from twostage.catalogue.compared_methods import DATA_KEYS, RATE_KEYS, ablation_pairs
from twostage.catalogue.shown_methods import PAPER_VARIANTS
from twostage.design.design import SCRATCH, Design
from twostage.design.paths import Branch, Segment, Stage1Run, Stage2Run
from twostage.design.specs import branch_spec, segment_spec
from twostage.measured.bundled import data_set
from twostage.paper.published import published_table
from twostage.study import load_study

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "config/paper.yaml"
SIZES = ("15M", "44M", "0.1B", "0.2B", "0.5B", "1B")

# Runs; each has five segments and five branches unless stated otherwise.
BASE_RUNS = 6  # one trunk per size
CODE_SCRATCH_RUNS = 6  # Table 8, "From-scratch (code)"
JOINT_RUNS = 2 * 6 * 5  # cpt-code and stack: six sizes, five D1
VARIANT_RUNS = 7 * 5  # at 0.1B, five D1: the other six rows of Tables 1 and 2, and our expand-zero
ARM_RUNS = 3  # stack-fresh with two D2; cpt-code-low-lr and stack-low-lr with five
REPEAT_RUNS = 2 * 3 * 2  # cpt-code and stack at 0.1B: three D1, seeds 1 and 2; three D2 each
FULL_RUNS = BASE_RUNS + CODE_SCRATCH_RUNS + JOINT_RUNS + VARIANT_RUNS

SEGMENTS = (
    5 * (FULL_RUNS + ARM_RUNS + REPEAT_RUNS)
    + 1  # Figure 5: the side segment of the base, 3,000 to 3,600 steps
    + 2 * 5  # base trunks of the repeats' two seeds
)
BRANCHES = (
    5 * FULL_RUNS
    + (2 + 5 + 5)  # arms
    + 3 * REPEAT_RUNS
    + 2  # Figure 5: WSD and cosine
    + 2 * 3  # bases of the repeats
)
GROWN = (
    6 * 5  # stack
    + 4 * 5  # expand, stack-x4, stack-stable and expand-zero at 0.1B
    + 2  # stack-fresh, stack-low-lr
    + 3 * 2  # stack, repeated
)
EVALUATIONS = (
    5 * 5 * 2
    + 5 * 3  # base checkpoints: on generic and code, at 0.1B on math too
    + 2 * 3 * 3  # those of the repeats
    + 2  # Figure 5
    + 5 * CODE_SCRATCH_RUNS
    + 2 * (5 * 5 * 6 + 3 * 25 + 5 + 3 * 3 * 2)  # continual pretraining: on its own corpus and on the base's
    + (5 * 5 * 6 + 4 * 25 + 2 + 5 + 3 * 3 * 2)  # growth
)


@pytest.fixture(scope="module")
def paper():
    return Design(load_study(STUDY))


def test_job_counts_are_those_of_the_arithmetic(paper):
    segments, branches = paper.jobs()
    assert len(segments) == SEGMENTS
    assert len(branches) == BRANCHES
    assert len(paper.cells()) == EVALUATIONS


def test_models_are_those_of_tables_3_and_5(paper):
    shapes, training = published_table(3), published_table(5)
    for name in SIZES:
        model, row, settings = paper.study.models[name], shapes.loc[name], training.loc[name]
        assert paper.study.architecture(name).n_params == int(row["n_parameters"])
        for key in ("n_layer", "d_model", "n_head"):
            assert getattr(model, key) == int(row[key])
        assert model.batch_size == int(settings["batch_size"])
        assert model.warmup_steps == int(settings["warmup_iterations"])
        assert model.peak_lr == float(settings["learning_rate"])
        assert round(model.effective_init_std, 3) == float(settings["init_std"])
        longest = max(paper.branches(Stage1Run("generic", name, 0)), key=lambda branch: branch.tokens)
        assert paper.branch_steps(longest)[1] == int(settings["max_iterations"])


def test_no_cell_of_tables_1_and_2_is_missing(paper):
    """Each variant has its 5 x 5 grid at 0.1B, measured on its stage-2 corpus."""
    measured = {
        (cell.branch.run, cell.branch.tokens)
        for cell in paper.cells()
        if cell.corpus == paper.corpus(cell.branch.run)
    }
    for method in PAPER_VARIANTS:
        runs = [run for run in paper.stage2_runs(method) if run.model == "0.1B" and run.seed == 0]
        assert len({run.d1_tokens for run in runs}) == 5, method
        for run in runs:
            assert sum((run, branch.tokens) in measured for branch in paper.branches(run)) == 5, method


def test_no_cell_of_table_8_is_missing(paper):
    cells = {
        (paper.label(cell.branch), cell.branch.run.model, cell.corpus, cell.branch.tokens)
        for cell in paper.cells()
    }
    for model in SIZES:
        for corpus in ("generic", "code"):
            assert sum(cell[:3] == (SCRATCH, model, corpus) for cell in cells) >= 5
        for method in ("cpt-code", "stack"):
            runs = [run for run in paper.stage2_runs(method) if run.model == model and run.seed == 0]
            assert sum(len(paper.branches(run)) for run in runs) == 25


def test_grids_span_what_the_paper_says(paper):
    """About 200 tokens per parameter for the smaller sizes (section 2), and Table 5's iterations for all sizes."""
    for name, tokens in (
        ("15M", 2.31e9),
        ("44M", 4.61e9),
        ("0.1B", 9.23e9),
        ("0.2B", 18.45e9),
        ("0.5B", 36.91e9),
        ("1B", 73.82e9),
    ):
        longest = paper.branches(Stage1Run("generic", name, 0))[-1].tokens
        assert longest == pytest.approx(tokens, rel=2e-3)


def test_grids_are_those_of_the_sister_study(paper):
    """D1 and D2, token by token, of the complete grids that the same authors measured at the same six sizes."""
    rows = csv.DictReader(io.StringIO(data_set("upcycling").text))
    measured = {name: set() for name in SIZES}
    for row in rows:
        if row["method"] == "upcycle-8x-top2":
            measured[row["model"]].add((int(row["d1_tokens"]), int(row["d2_tokens"])))
    for name in SIZES:
        runs = [run for run in paper.stage2_runs("stack") if run.model == name and run.seed == 0]
        planned = {(run.d1_tokens, branch.tokens) for run in runs for branch in paper.branches(run)}
        assert planned == measured[name]


def test_planned_tokens_are_the_minimum(paper):
    """By hand, in trunk steps: each run trains its longest trunk, and a tenth of each of its points."""

    def run(points):
        return max(points) + sum(points) / 10

    five = [2000, 3000, 4000, 8000, 16000]
    grids = {"15M": five, "44M": five, "0.1B": five, "0.2B": [2 * n for n in five]}
    grids |= {"0.5B": [4 * n for n in five], "1B": [4 * n for n in five]}
    batch = {"15M": 128, "44M": 256, "0.1B": 512, "0.2B": 512, "0.5B": 512, "1B": 1024}
    samples = sum(
        (2 + 2 * 5) * run(grids[m]) * batch[m] for m in SIZES
    )  # base, code; cpt-code, stack at five D1
    three = [2000, 4000, 16000]
    steps = 7 * 5 * run(five)
    steps += run([4000, 16000]) + 2 * 17600  # fresh; two constant trunks of 1.1 x 16,000
    steps += 2 * run(three) + 2 * 3 * 2 * run(three)  # repeats: bases and runs
    steps += (3600 - 3000) + 400 + 4000  # Figure 5: side segment, its decay, the cosine run
    assert planned_tokens(paper) == round((samples + 512 * steps) * 1024)


def test_no_interval_is_trained_twice(paper):
    seen = {}
    for job in (*paper.jobs()[0], *paper.jobs()[1]):
        spec = segment_spec(paper, job) if isinstance(job, Segment) else branch_spec(paper, job)
        key = (paper.parent_manifest(job), spec.canonical())
        assert seen.setdefault(key, job) == job
    assert all(isinstance(job, Branch | Segment) for job in seen.values())


def test_stable_variants_count_trunk_tokens(paper):
    runs = {run.d1_tokens for run in paper.stage2_runs("cpt-code-stable")}
    assert runs == {steps * 512 * 1024 for steps in (2000, 3000, 4000, 8000, 16000)}


def test_subsets_nest():
    designs = [Design(load_study(f"{STUDY}:{name}")) for name in ("paper-min", "paper", "full")]
    for smaller, larger in itertools.pairwise(designs):
        assert set(smaller.cells()) < set(larger.cells())
    assert {run.seed for run in designs[0].runs()} == {0}
    assert "1B-2N" in {run.model for run in designs[2].runs()}
    assert not any(isinstance(run, Stage2Run) and run.model.endswith("2N") for run in designs[2].runs())


@pytest.mark.parametrize(
    ("keys", "key", "arms"),
    [
        (DATA_KEYS, "first_sample", {("stack-fresh", "stack")}),
        (RATE_KEYS, "schedule", {("cpt-code-low-lr", "cpt-code"), ("stack-low-lr", "stack")}),
    ],
)
def test_ablation_pairs_differ_in_exactly_one_key(paper, keys, key, arms):
    assert set(ablation_pairs(paper.study, keys)) == arms
    for arm, twin in arms:
        runs = {
            run.d1_tokens: run for run in paper.stage2_runs(twin) if run.model == "0.1B" and run.seed == 0
        }
        for run in paper.stage2_runs(arm):
            other = runs[run.d1_tokens]
            assert paper.base(run) == paper.base(other)
            ours, theirs = (run_identity(segment_spec(paper, paper.segments(r)[0])) for r in (run, other))
            assert {name for name in ours if ours[name] != theirs[name]} == {key}
