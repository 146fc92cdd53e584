"""Specs of growth jobs: they hold the options of their kind, and refuse what the kind does not have."""

from __future__ import annotations

import json

import pytest

from twostage.common.architecture import Architecture
from twostage.common.errors import UserError
from twostage.design.specs import GrowSpec
from twostage.methods import Expand, Stack
from twostage.methods.stack import stacked_architecture

BASE = Architecture(n_layer=2, d_model=32, n_head=2, head_dim=16, d_mlp=128, vocab_size=61, context=16)
STACK = GrowSpec(source=BASE, target=stacked_architecture(BASE, 3), kind="stack", factor=3, seed=0)


def test_a_spec_gives_back_the_method_with_its_options():
    assert GrowSpec.parse(STACK.canonical()) == STACK
    assert STACK.growth == Stack(kind="stack", factor=3)
    wide = STACK.model_copy(
        update={"kind": "expand", "factor": None, "split": "equal", "init": "zero", "init_std": 0.02}
    )
    assert wide.growth == Expand(kind="expand", split="equal", init="zero")


def test_the_keys_of_the_first_specs_stay():
    """Keys that a kind does not use are null, as in specs that finished studies hold."""
    assert {key for key, value in json.loads(STACK.canonical()).items() if value is None} == {
        "split",
        "init",
        "init_std",
    }
    assert len(json.loads(STACK.canonical())) == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "shrink"}, "'shrink'"),
        ({"kind": "cpt", "corpus": "code", "factor": None}, "'cpt' does not grow the model"),
        ({"split": "equal"}, "split"),
        ({"factor": 1}, "factor"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_the_kind_does_not_have_is_refused(changes, message):
    fields = json.loads(STACK.canonical()) | changes
    with pytest.raises(UserError, match=rf"(?s)--spec is not a valid GrowSpec.*{message}"):
        GrowSpec.parse(json.dumps(fields))
