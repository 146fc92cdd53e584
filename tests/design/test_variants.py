"""Variants of methods, schedules, repeats and subsets: the resulting runs, parents, specs and tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from design_totals import planned_tokens, run_identity
from test_design import BASE, UNIT, make

from twostage.common.errors import UserError
from twostage.design.design import SCRATCH
from twostage.design.paths import (
    Branch,
    Segment,
    Stage1Run,
    Stage2Run,
    grown_manifest,
    parse_artifact,
    parse_run,
)
from twostage.design.specs import branch_spec, grow_spec, segment_spec
from twostage.study import load_study, study_file

ROOT = Path(__file__).parents[2]
LOW = {"schedule": "constant", "peak_lr_fraction": 0.1, "warmup_steps": 0}


def only(design, method):
    (run,) = design.stage2_runs(method)
    return run


def test_stable_variants_start_at_the_trunk_and_count_its_tokens():
    design = make(methods__stable={"kind": "cpt", "corpus": "code", "start": "trunk", "d1_steps": [400]})
    run = only(design, "stable")
    assert run.d1_tokens == 400 * UNIT  # without a decay
    trunk = Segment(BASE, 400 * UNIT)
    assert design.base(run) == trunk
    first = design.segments(run)[0]
    assert design.parent_manifest(first) == trunk.manifest
    spec = segment_spec(design, first)
    assert (spec.origin, spec.start_step) == ("carried", 0)
    assert spec.schedule.rate(1) == 8e-3  # at the peak rate from the first step


def test_a_stable_stack_carries_the_optimizer_through_the_growth():
    design = make(methods__stable={"kind": "stack", "start": "trunk", "d1_steps": [400]})
    run = only(design, "stable")
    assert grow_spec(design, run).carries_optimizer
    assert design.parent_manifest(design.segments(run)[0]) == grown_manifest(run)
    (plain, *_) = design.stage2_runs("stack")
    assert not grow_spec(design, plain).carries_optimizer


def test_a_constant_schedule_evaluates_its_trunk():
    design = make(methods__low={"kind": "cpt", "corpus": "code", "d1_steps": [400], **LOW})
    run = only(design, "low")
    assert [design.segment_steps(s) for s in design.segments(run)] == [
        (0, 110),
        (110, 220),
        (220, 440),
        (440, 880),
    ]
    assert [design.branch_steps(b) for b in design.branches(run)] == [(n, n) for n in (110, 220, 440, 880)]
    # The same D2 as the method it is compared with, and no more tokens than its longest run.
    (plain, *_) = design.stage2_runs("cpt-code")
    assert [b.tokens for b in design.branches(run)] == [b.tokens for b in design.branches(plain)]
    assert sum(design.job_tokens(job) for job in [*design.segments(run), *design.branches(run)]) == 880 * UNIT
    last = branch_spec(design, design.branches(run)[-1])
    assert not last.is_trunk
    assert segment_spec(design, design.segments(run)[-1]).is_trunk
    assert [last.schedule.rate(step) for step in (1, 50, 880)] == pytest.approx([8e-4] * 3)


def test_fresh_data_starts_where_the_base_stopped():
    design = make(methods__fresh={"kind": "stack", "data": "fresh", "d1_steps": [200]})
    spec = segment_spec(design, design.segments(only(design, "fresh"))[0])
    assert spec.first_sample == 220 * 8  # trunk and decay, eight samples per step


def test_growth_and_another_corpus_combine():
    design = make(methods__both={"kind": "stack", "corpus": "code", "replay": 0.5, "d1_steps": [100]})
    run = only(design, "both")
    assert design.grows(run)
    assert design.mixture(run) == {"code": 1, "generic": 1}
    assert design.corpus(run) == "code"


PAIRS = {
    "schedule": ("cpt-code", {"kind": "cpt", "corpus": "code", **LOW}),
    "first_sample": ("stack", {"kind": "stack", "data": "fresh"}),
    "mixture": ("cpt-code", {"kind": "cpt", "corpus": "code", "replay": 0.25}),
    "architecture": ("stack", {"kind": "stack", "factor": 4}),
}


@pytest.mark.parametrize("key", PAIRS)
def test_ablation_pairs_differ_in_exactly_one_key(key):
    twin, section = PAIRS[key]
    design = make(methods__arm=section)
    for ours, theirs in zip(design.stage2_runs("arm"), design.stage2_runs(twin), strict=True):
        assert design.base(ours) == design.base(theirs)
        a, b = (run_identity(segment_spec(design, design.segments(run)[0])) for run in (ours, theirs))
        assert {name for name in a if a[name] != b[name]} == {key}


def test_the_schedule_ablation_is_one_run_and_one_side_segment():
    design = make(ablations={"schedule": {"model": "33k", "total_steps": 500}})
    arm = Stage1Run("generic", "33k", 0, "cosine")
    assert arm in design.runs()
    assert parse_run(arm.path) == arm
    (cosine,) = design.branches(arm)
    assert parse_artifact(cosine.manifest) == cosine
    assert design.segments(arm) == []
    assert design.branch_steps(cosine) == (0, 500)
    assert design.parent_manifest(cosine) is None
    wsd = Branch(BASE, 500 * UNIT)
    assert design.branch_steps(wsd) == (450, 500)
    assert design.branch_parent(wsd) == Segment(BASE, 450 * UNIT)
    assert design.segment_parent(Segment(BASE, 450 * UNIT)) == Segment(BASE, 400 * UNIT)
    assert [design.label(branch) for branch in (cosine, wsd, design.branches(BASE)[0])] == [
        f"{SCRATCH}-cosine",
        f"{SCRATCH}-wsd",
        SCRATCH,
    ]
    a, b = branch_spec(design, cosine), branch_spec(design, wsd)
    one, other = run_identity(a), run_identity(b)
    assert {name for name in one if one[name] != other[name]} == {"schedule"}
    assert a.schedule.rate(500) == b.schedule.rate(500) == 0.1 * 8e-3
    assert planned_tokens(design) == planned_tokens(make()) + (500 + 50 + 50) * UNIT


def test_a_schedule_ablation_on_the_grid_trains_no_second_wsd_run():
    design = make(ablations={"schedule": {"model": "33k", "total_steps": 440}})
    assert design.segments(BASE) == make().segments(BASE)
    assert planned_tokens(design) == planned_tokens(make()) + 440 * UNIT


@pytest.mark.parametrize("kind", ["constant", "cosine"])
def test_studies_with_other_schedules(kind):
    design = make(recipe={"schedule": kind})
    segments, branches = design.jobs()
    assert len(branches) == 9 * 4
    for branch in branches:
        start, stop = design.branch_steps(branch)
        assert start == (stop if kind == "constant" else 0)
    if kind == "cosine":  # one unshared run per D
        assert segments == []
        assert planned_tokens(design) == 9 * (110 + 220 + 440 + 880) * UNIT
    else:
        assert planned_tokens(design) == 9 * 880 * UNIT


def test_repeats_add_seeds_on_part_of_the_grid():
    repeat = {"seeds": [7], "methods": ["stack"], "d1_steps": [200], "d2_steps": [100, 400]}
    design = make(repeats=[repeat])
    run = Stage2Run("stack", "33k", 7, 220 * UNIT)
    base = Stage1Run("generic", "33k", 7)
    assert [r for r in design.runs() if r.seed == 7] == [base, run]
    assert [design.branch_steps(b)[0] for b in design.branches(run)] == [100, 400]
    assert [design.branch_steps(b)[0] for b in design.branches(base)] == [200]
    # The chain up to the longest chosen point is complete, so that adding points later changes no segment.
    assert [design.segment_steps(s)[1] for s in design.segments(run)] == [100, 200, 400]
    more = make(repeats=[repeat | {"d2_steps": [100, 200, 400, 800]}])
    ours = {segment_spec(design, s).canonical() for s in design.segments(run)}
    assert ours < {segment_spec(more, s).canonical() for s in more.segments(run)}


def test_models_that_are_not_base_models_have_runs_from_scratch_only():
    wide = {"n_layer": 4, "d_model": 32, "n_head": 2, "batch_size": 8, "warmup_steps": 50, "peak_lr": 8e-3}
    design = make(
        models__66k=wide,
        stage1={"corpus": "generic", "models": ["33k"]},
        scratch={"twice": {"corpus": "generic", "models": ["66k"], "steps": [100, 400]}},
    )
    run = Stage1Run("generic", "66k", 0)
    assert run in design.runs()
    assert [design.branch_steps(b)[0] for b in design.branches(run)] == [100, 400]
    assert {r.model for r in design.stage2_runs()} == {"33k"}
    assert not design.is_base(design.branches(run)[0])


def test_a_run_that_is_not_in_the_study_is_refused():
    with pytest.raises(UserError, match="seed-5: this run is not in study tiny"):
        make().branch_steps(Branch(Stage1Run("generic", "33k", 5), 110 * UNIT))


# Impossible combinations ---------------------------------------------------------------------------------------------

BAD = {
    "expand from the trunk": ({"kind": "expand", "start": "trunk"}, "no exact rule"),
    "warmup from the trunk": ({"kind": "stack", "start": "trunk", "warmup_steps": 5}, "remove warmup_steps"),
    "replay into itself": ({"kind": "stack", "replay": 0.25}, "mixes the base corpus into itself"),
    "fresh code": ({"kind": "cpt", "corpus": "code", "data": "fresh"}, "remove data"),
    "cosine from the trunk": (
        {"kind": "stack", "start": "trunk", "schedule": "cosine"},
        "remove one of the two",
    ),
    "rate above the peak": ({"kind": "stack", "peak_lr_fraction": 1.5}, "less than or equal to 1"),
    "warmup beyond the grid": ({"kind": "stack", "warmup_steps": 500}, "longer than the shortest trunk"),
    "not on the grid": ({"kind": "stack", "d2_steps": [150]}, "nearest: 100"),
    "no such corpus": ({"kind": "stack", "corpus": "physics"}, "'physics'"),
}


@pytest.mark.parametrize("name", BAD)
def test_combinations_that_make_no_sense_are_refused(name):
    section, words = BAD[name]
    with pytest.raises(ValueError, match=words):
        make(methods__arm=section)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"repeats": [{"seeds": [0]}]}, r"repeats\[0\]\.seeds: \[0\] are in the study's `seeds`"),
        ({"repeats": [{"seeds": [1], "d1_steps": [150]}]}, r"repeats\[0\]\.d1_steps: 150"),
        ({"repeats": [{"seeds": [1], "methods": ["grow"]}]}, r"repeats\[0\]\.methods: 'grow'"),
        (
            {"ablations": {"schedule": {"model": "7B", "total_steps": 500}}},
            r"ablations\.schedule\.model: '7B'",
        ),
        (
            {"ablations": {"schedule": {"model": "33k", "total_steps": 50}}},
            "leaves no steps between the warmup",
        ),
        (
            {"ablations": {"schedule": {"model": "33k", "total_steps": 500, "against": "wsd"}}},
            "already the schedule of `recipe`",
        ),
        (
            {"subsets": {"part": {"description": "a part of it", "methods": ["grow"]}}},
            r"subsets\.part\.methods",
        ),
        ({"subsets": {"full": {"description": "a part of it"}}}, "full is reserved"),
        ({"default_subset": "part"}, "default_subset: 'part'"),
        ({"stage1": {"corpus": "generic", "models": ["7B"]}}, r"stage1\.models: '7B'"),
    ],
)
def test_sections_that_name_what_is_not_there_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        make(**changes)


# Subsets -------------------------------------------------------------------------------------------------------------


def test_a_subset_has_the_same_identities_as_the_full_study(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        (ROOT / "tests/studies/tiny.yaml").read_text()
        + "\nrepeats: [{seeds: [1], methods: [stack]}]\nsubsets:\n  half: {description: one method, methods: [stack]}\n"
        "  bare: {description: no repeats, repeats: false}\n"
    )
    from twostage.design.design import Design

    whole, half, bare = (Design(load_study(f"{file}{part}")) for part in ("", ":half", ":bare"))
    assert study_file(f"{file}:half") == file
    assert half.study.name == whole.study.name == "mine"
    assert {run.method for run in half.stage2_runs()} == {"stack"}
    assert {run.seed for run in bare.runs()} == {0}
    for job in half.jobs()[0]:
        assert segment_spec(half, job) == segment_spec(whole, job)
    assert set(half.cells()) < set(whole.cells())
    assert Design(load_study(f"{file}:full")).cells() == whole.cells()
    with pytest.raises(UserError, match=r"'quarter' is not in study mine; it has \['bare', 'full', 'half'\]"):
        load_study(f"{file}:quarter")
