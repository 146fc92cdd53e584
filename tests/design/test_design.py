"""The design of a study: grid arithmetic, parents, cells, specs, and that nothing is trained twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from design_totals import planned_tokens

from twostage.common.errors import UserError
from twostage.design.design import Design
from twostage.design.paths import Branch, Segment, Stage1Run, Stage2Run, parse_artifact, parse_run
from twostage.design.specs import TrainSpec, branch_spec, evaluate_spec, grow_spec, segment_spec
from twostage.study import Study

ROOT = Path(__file__).parents[2]
UNIT = 8 * 128  # tokens per step of the tiny model
BASE = Stage1Run("generic", "33k", 0)


def make(**changes) -> Design:
    fields = yaml.safe_load((ROOT / "tests/studies/tiny.yaml").read_text())
    for path, value in changes.items():
        *parents, last = path.split("__")
        section = fields
        for key in parents:
            section = section[key]
        section[last] = value
    return Design(Study(name="tiny", **fields))


@pytest.fixture(scope="module")
def tiny():
    return make()


def test_tokens_of_the_papers_longest_runs():
    """Table 5's iterations are 1.1 x 16,000 / 32,000 / 64,000, with the decay; tokens calculated by hand."""
    hand = {(128, 16_000): 2_306_867_200, (512, 16_000): 9_227_468_800, (1024, 64_000): 73_819_750_400}
    for (batch, trunk), tokens in hand.items():
        design = make(
            context=1024,
            models__33k={
                "n_layer": 9,
                "d_model": 320,
                "n_head": 4,
                "batch_size": batch,
                "warmup_steps": 200,
                "peak_lr": 8e-3,
            },
            grid={stage: {"trunk_steps": [1000, trunk]} for stage in ("d1", "d2")},
        )
        assert design.branch_tokens("33k", trunk) == tokens


def test_every_d_is_an_integer_multiple_and_round_trips(tiny):
    segments, branches = tiny.jobs()
    for segment in segments:
        assert parse_artifact(segment.manifest) == segment
        assert parse_run(segment.run.path) == segment.run
        assert tiny.segment_steps(segment)[1] * UNIT == segment.tokens
    for branch in branches:
        assert parse_artifact(branch.metrics) == branch
        start, stop = tiny.branch_steps(branch)
        assert stop * UNIT == branch.tokens
        assert (stop - start) * 10 == start


def test_chain_and_branches_of_the_base(tiny):
    steps = [tiny.segment_steps(segment) for segment in tiny.segments(BASE)]
    assert steps == [(0, 100), (100, 200), (200, 400), (400, 800)]
    parents = [tiny.segment_parent(segment) for segment in tiny.segments(BASE)]
    assert parents == [None, *tiny.segments(BASE)[:3]]
    assert [tiny.branch_parent(branch) for branch in tiny.branches(BASE)] == tiny.segments(BASE)


def test_stage_2_starts_from_the_decayed_base_checkpoint(tiny):
    for run in tiny.stage2_runs():
        assert tiny.base(run) == Branch(BASE, run.d1_tokens)
        assert tiny.segment_parent(tiny.segments(run)[0]) is None


def test_cells_are_the_full_grid_each_once(tiny):
    cells = tiny.cells()
    assert len(set(cells)) == len(cells)
    # 4 x 4 x (own corpus + forgetting) for cpt-code, 4 x 4 for stack, 4 base checkpoints on generic and on code.
    assert len(cells) == 32 + 16 + 8


def test_planned_tokens_are_the_minimum(tiny):
    """By hand: each run trains its longest trunk once, and a decay of a tenth at each point."""
    chain = 800 + (100 + 200 + 400 + 800) // 10
    runs = 1 + 4 + 4  # the base, and one stage-2 run per D1 and method
    assert planned_tokens(tiny) == runs * chain * UNIT


def intervals(design: Design):
    """Yield every interval of training as (run, state that it starts from, spec)."""
    segments, branches = design.jobs()
    for job in segments:
        run = job.run
        origin = "" if isinstance(run, Stage1Run) else f"{run.method} from {design.base(run).manifest}"
        yield (run.path.rsplit("/D1")[0], origin, segment_spec(design, job).canonical())
    for job in branches:
        yield (job.run.path, design.branch_parent(job).manifest, branch_spec(design, job).canonical())


def test_no_interval_is_trained_twice(tiny):
    found = list(intervals(tiny))
    assert len(set(found)) == len(found)


def test_appending_a_point_changes_no_earlier_spec(tiny):
    longer = make(grid__d2={"trunk_steps": [100, 200, 400, 800, 1600]})
    before, after = set(intervals(tiny)), set(intervals(longer))
    assert before < after
    # One segment and one branch per D1 and method.
    assert len(after - before) == 2 * 4 * 2


def test_an_extra_point_is_a_side_segment(tiny):
    side = make(
        grid__d1={"trunk_steps": [100, 200, 400, 800], "extra_steps": [300]},
        methods__stack={"kind": "stack", "d1_steps": [100]},
    )
    assert [side.segment_steps(s) for s in side.segments(BASE)] == [
        (0, 100),
        (100, 200),
        (200, 300),
        (200, 400),
        (400, 800),
    ]
    assert side.segment_parent(Segment(BASE, 300 * UNIT)) == Segment(BASE, 200 * UNIT)
    base_before = [segment_spec(tiny, s) for s in tiny.segments(BASE)]
    base_after = [segment_spec(side, s) for s in side.segments(BASE) if s.tokens != 300 * UNIT]
    assert base_before == base_after


def test_choosing_points_of_a_method():
    design = make(methods__stack={"kind": "stack", "d1_steps": [200], "d2_steps": [100, 400]})
    (run,) = design.stage2_runs("stack")
    assert run == Stage2Run("stack", "33k", 0, 220 * UNIT)
    assert [design.segment_steps(s) for s in design.segments(run)] == [(0, 100), (100, 200), (200, 400)]
    assert [design.branch_steps(b) for b in design.branches(run)] == [(100, 110), (400, 440)]


def test_scratch_runs_share_the_base_where_they_are_the_same():
    design = make(scratch={"base": {"corpus": "generic"}, "code": {"corpus": "code"}})
    assert list(design.stage1_runs()) == [BASE, Stage1Run("code", "33k", 0)]


@pytest.mark.parametrize(
    ("artifact", "words"),
    [
        (Branch(BASE, 150 * UNIT), ["D1 = 153600 tokens is not on the grid", "nearest: 112640"]),
        (Branch(BASE, 1), ["D1 = 1 tokens"]),
        (Segment(BASE, 300 * UNIT), ["trunk length = 307200", "nearest: 204800"]),
        (Branch(Stage2Run("stack", "33k", 0, 112_640), 7), ["D2 = 7 tokens"]),
        (Branch(Stage2Run("stack", "33k", 0, 12), 112_640), ["D1 = 12 tokens", "nearest: 112640"]),
        (Branch(Stage2Run("distill", "33k", 0, 112_640), 112_640), ["'distill'", "['cpt-code', 'stack']"]),
        (Branch(Stage1Run("generic", "7B", 0), 112_640), ["'7B'", "['33k']"]),
    ],
)
def test_off_grid_artifacts_are_refused(tiny, artifact, words):
    def check():
        if isinstance(artifact, Segment):
            return tiny.segment_steps(artifact)
        if isinstance(artifact.run, Stage2Run):
            tiny.base(artifact.run)
        return tiny.branch_steps(artifact)

    with pytest.raises(UserError) as refusal:
        check()
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize("path", ["stage1/generic", "stage2/stack/33k/seed-0", "stage1/a/b/seed-x", "../etc"])
def test_paths_of_other_folders_are_refused(path):
    with pytest.raises(UserError, match="not a run folder"):
        parse_run(path)
    with pytest.raises(UserError, match="not a file of a trunk segment or decay branch"):
        parse_artifact(path + "/metrics.json")


def test_replay_is_an_exact_integer_mixture():
    design = make(methods__replay={"kind": "cpt", "corpus": "code", "replay": 0.25})
    (run, *_) = design.stage2_runs("replay")
    assert design.mixture(run) == {"code": 3, "generic": 1}


def test_growth_doubles_n():
    design = make(methods__expand={"kind": "expand"})
    base = design.architecture(BASE).n_params
    for method in ("stack", "expand"):
        (run, *_) = design.stage2_runs(method)
        assert design.architecture(run).n_params == pytest.approx(2 * base, rel=0.01)


def test_specs_round_trip_without_the_end_of_the_grid(tiny):
    branch = tiny.branches(BASE)[0]
    spec = branch_spec(tiny, branch)
    assert TrainSpec.parse(spec.canonical()) == spec
    assert spec.schedule.rate(spec.stop_step) == 0.1 * 8e-3
    assert "800" not in segment_spec(tiny, tiny.segments(BASE)[0]).canonical()


def test_the_seed_reaches_both_stages_and_the_growth():
    design = make(seeds=[3])
    (run, *_) = design.stage2_runs("stack")
    assert segment_spec(design, design.segments(run)[0]).seed == 3
    assert grow_spec(design, run).seed == 3


def test_specs_of_unknown_corpora_and_growths_are_refused(tiny):
    branch = tiny.branches(BASE)[0]
    with pytest.raises(UserError, match="'math' is not in study tiny"):
        evaluate_spec(tiny, branch, "math")
    (run, *_) = tiny.stage2_runs("cpt-code")
    with pytest.raises(UserError, match="does not grow"):
        grow_spec(tiny, run)


def test_parsing_the_dag_never_imports_torch():
    code = (
        "import sys, twostage.study, twostage.design.design, twostage.design.paths, twostage.design.schedule, twostage.design.specs, twostage.laws;"
        "assert 'torch' not in sys.modules and 'snakemake' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
