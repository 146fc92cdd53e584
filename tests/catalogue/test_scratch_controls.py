"""Which methods have measured controls: from the study before any job runs, and from its cells afterwards."""

from __future__ import annotations

import pytest
from results_tree import WITH_CONTROLS, build, make_design

from twostage.analysis.cells import aggregate_cells
from twostage.analysis.measured_crossover import compare
from twostage.catalogue.scratch_controls import (
    control_obstacle,
    controls,
    nearest_size,
    scratch_models,
    shown_controls,
)

MODELS, METHODS, SCRATCH = (WITH_CONTROLS[section] for section in ("models", "methods", "scratch"))


def study(**changes):
    return make_design(**(WITH_CONTROLS | changes)).study


def test_the_control_has_the_corpus_and_the_size_after_stage_2():
    found = {(one.method, one.model): one.scratch for one in controls(study())}
    assert found == {
        ("stack", "33k"): "33k-2N",
        ("stack", "13k"): "",  # 25,780 parameters: no such model
        ("cpt-code", "33k"): "33k",
        ("cpt-code", "13k"): "",  # `scratch` lists 33k alone
        ("expand", "33k"): "33k-2N",  # 0.2 % smaller
        ("stack-x4", "33k"): "",
        ("stack-code", "33k"): "",  # the right size on another corpus
        ("stack-one", "33k"): "33k-2N",
    }


def test_common_d2_are_tokens_of_both():
    design = make_design(**WITH_CONTROLS)
    found = {(one.method, one.model): one.d2_tokens for one in controls(design.study)}
    assert found["cpt-code", "33k"] == tuple(design.branch_tokens("33k", steps) for steps in (100, 200))
    assert len(found["stack", "33k"]) == 4
    assert found["stack-one", "33k"] == (design.branch_tokens("33k", 200),)


def test_another_batch_size_has_other_tokens():
    twice = MODELS | {"33k-2N": MODELS["33k-2N"] | {"batch_size": 16}}
    found = {one.method: len(one.d2_tokens) for one in controls(study(models=twice))}
    assert found["expand"] == 3  # steps of 100, 200, 400 there are 200, 400, 800 here


def test_cells_agree_with_the_study(tmp_path):
    design = make_design(**WITH_CONTROLS)
    cells = aggregate_cells(design, build(design, tmp_path)).cells
    for one in controls(design.study):
        measured = compare(cells, one.method, one.model)
        assert measured.scratch_model == one.scratch
        for d1 in measured.rows:
            assert tuple(measured.differences(d1).d2) == one.d2_tokens


def test_base_models_are_from_scratch_on_the_base_corpus():
    assert scratch_models(study(), "generic") == ["33k", "13k", "33k-2N"]
    assert scratch_models(study(), "code") == ["33k"]
    assert scratch_models(study(), "math") == []


def test_panels_show_methods_with_a_control():
    assert [(one.method, one.model) for one in shown_controls(study())] == [
        ("cpt-code", "33k"),
        ("stack", "33k"),
        ("expand", "33k"),
    ]
    assert control_obstacle(study()) == ""


def test_a_panel_shows_the_size_that_most_methods_have():
    more = {"code": {"corpus": "code", "models": ["13k", "33k"]}, "generic-2N": SCRATCH["generic-2N"]}
    order = {
        "models": {"13k": MODELS["13k"], **MODELS},
        "stage1": {"corpus": "generic", "models": ["13k", "33k"]},
    }
    assert {one.method: one.model for one in shown_controls(study(scratch=more, **order))}[
        "cpt-code"
    ] == "33k"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scratch": {}}, ["'code'", "add code: {corpus: code}"]),
        ({"scratch": {}, "methods": {"stack": METHODS["stack"]}}, ["size of 33k after stack", "65,824 parameters", "stage1.models"]),
        ({"methods": {"stack-one": METHODS["stack-one"]}}, ["stack-one at 33k", "at least two are needed", "[225280]"]),
    ],
    ids=["nothing", "growth", "one D2"],
)  # fmt: skip
def test_a_missing_control_is_named_with_its_fix(changes, words):
    reason = control_obstacle(study(**changes))
    for word in ["scratch", *words]:
        assert word in reason
    assert shown_controls(study(**changes)) == []


def test_nearest_size():
    assert nearest_size({"a": 99.0, "b": 100.5, "c": 100.6}, 100.0) == "b"
    assert nearest_size({"a": 99.01}, 100.0) == "a"
    assert nearest_size({"a": 98.9, "b": 101.1}, 100.0) == ""
    assert nearest_size({}, 100.0) == ""
