"""What an edit makes out of date, from the outputs alone: the key that is named, and the jobs below it."""

from __future__ import annotations

import json

import pytest
from finished_outputs import finish
from results_tree import make_design

from twostage.design.design import Design
from twostage.planning.changes import grouped, warning
from twostage.planning.recorded import outdated, unknown
from twostage.study import Study

DESIGN = make_design(
    steps=(100, 200), tokenizer={"kind": "bpe", "vocab_size": 2048, "corpora": ["generic", "code"]}
)
FIELDS = DESIGN.study.model_dump()


def edited(path: str, value) -> Design:
    """The study with one value replaced."""
    fields = json.loads(json.dumps(FIELDS))
    fields["tokenizer"]["corpora"] = ["generic", "code"]  # not in the dump, because it is not in the spec
    *above, last = path.split("/")
    section = fields
    for name in above:
        section = section[name]
    section[last] = value
    return Design(Study(**fields))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    finish(DESIGN, folder)
    return folder


def rules(found) -> set[str]:
    return {job.rule for job in found}


def test_nothing_is_outdated_in_a_finished_study(results):
    assert outdated(DESIGN, results) == {}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("validation", {"every_steps": 10, "samples": 8}),
        ("corpora/code/max_bytes", 1_000_000),  # above the size of the text
        ("corpora/more", {"source": "embedded", "domain": "math"}),
        ("evaluation", {"batch_size": 32}),
        ("description", "the same study with another description"),
        ("grid/d2/trunk_steps", [100, 200, 400]),
        ("seeds", [0, 1]),
    ],
)  # fmt: skip
def test_an_edit_that_changes_no_finished_number_makes_nothing_outdated(path, value, results):
    assert outdated(edited(path, value), results) == {}


@pytest.mark.parametrize(
    ("path", "value", "key", "unaffected"),
    [
        ("models/33k/peak_lr", 4e-3, "models.33k.peak_lr", {"prepare_corpus", "tokenize_corpus"}),
        ("models/33k/batch_size", 16, "models.33k.batch_size", {"prepare_corpus", "tokenize_corpus"}),
        ("recipe/weight_decay", 0.2, "recipe.weight_decay", {"prepare_corpus", "tokenize_corpus"}),
        ("recipe/final_lr_fraction", 0.2, "recipe.final_lr_fraction", {"tokenize_corpus", "prepare_corpus"}),
        ("context", 64, "context", {"prepare_corpus", "tokenize_corpus"}),
        ("methods/stack/factor", 3, "methods.stack.factor", {"tokenize_corpus", "train_tokenizer"}),
        ("evaluation/batch_size", 16, "evaluation.batch_size", {"train_decay_branch", "train_trunk_segment"}),
        ("corpora/code/max_bytes", 1500, "corpora.code.max_bytes", set()),
        ("corpora/code/domain", "math", "corpora.code.domain", set()),
        ("tokenizer/vocab_size", 4096, "tokenizer.vocab_size", {"prepare_corpus"}),
    ],
)  # fmt: skip
def test_the_key_that_changed_is_the_reason(path, value, key, unaffected, results):
    found = outdated(edited(path, value), results)
    assert found
    assert not rules(found) & unaffected
    for job, changes in found.items():
        assert any(name.startswith(key) for name in changes), (job.outputs, changes)


def test_jobs_below_a_changed_one_are_outdated_for_the_same_reason(results):
    found = outdated(edited("corpora/code/domain", "math"), results)
    methods = {
        job.work.run.method for job in found if job.rule == "train_trunk_segment" and job.work.run.stage == 2
    }
    # The tokenizer is trained on both corpora, so everything is.
    assert methods == {"cpt-code", "stack"}


def test_an_output_of_other_inputs_is_outdated(tmp_path):
    finish(DESIGN, tmp_path)
    manifest = next(tmp_path.glob("stage1/*/*/*/trunk/*/checkpoint/manifest.json"))
    manifest.write_text('{"payload": {}, "made_by": "another run"}')
    found = outdated(DESIGN, tmp_path)
    name = str(manifest.relative_to(tmp_path))
    assert found
    assert all(any(name in key for key in changes) for changes in found.values())
    assert {"train_decay_branch", "evaluate_checkpoint"} <= rules(found)


def test_a_damaged_record_is_outdated_and_named(tmp_path):
    finish(DESIGN, tmp_path)
    metrics = next(tmp_path.glob("stage2/*/*/*/*/decay/*/metrics.json"))
    metrics.write_text("{}")
    found = outdated(DESIGN, tmp_path)
    assert {job.outputs[1] for job in found if len(job.outputs) == 2} == {str(metrics.relative_to(tmp_path))}


def test_the_warning_has_the_reason_the_jobs_and_their_measured_time(results):
    design = edited("models/33k/peak_lr", 4e-3)
    groups = grouped(design, outdated(design, results), results)
    trained = sum(group.training_jobs for group in groups)
    # 36 s on 2 devices each.
    assert sum(group.device_hours for group in groups) == pytest.approx(trained * 72 / 3600)
    assert sum(group.tokens for group in groups) == sum(
        design.job_tokens(job) for jobs in design.jobs() for job in jobs
    )
    text = warning("config/mine.yaml", groups)
    assert f"{trained} finished training jobs" in text
    assert "models.33k.peak_lr: 0.008 -> 0.004" in text
    assert "--config study=config/mine.yaml refuse_retraining=true" in text


def test_a_frozen_tokenizer_is_not_outdated_by_its_text(tmp_path):
    fields = {"kind": "bpe", "vocab_size": 2048, "corpora": ["generic", "code"], "frozen": True}
    finish(make_design(steps=(100, 200), tokenizer=fields), tmp_path)
    corpora = {name: {"source": "embedded", "domain": name} for name in ("generic", "code")}
    changed = make_design(
        steps=(100, 200), tokenizer=fields, corpora=corpora | {"code": corpora["code"] | {"max_bytes": 500}}
    )
    found = outdated(changed, tmp_path)
    assert "train_tokenizer" not in rules(found)
    assert {job.work.run.method for job in found if job.rule == "train_decay_branch"} == {"cpt-code"}


def test_what_version_0_1_did_not_record_is_said(results):
    [note] = unknown(results)
    assert "tokenizer.vocab_size" in note


def test_no_warning_if_no_training_is_discarded(results):
    design = edited("evaluation/batch_size", 16)
    assert warning("config/mine.yaml", grouped(design, outdated(design, results), results)) == ""
