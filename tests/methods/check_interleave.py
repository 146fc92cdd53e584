"""The test of `interleave`, as its author would write it; `test_new_kind.py` runs it in a copy of the project."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from drawn_text import texts_of

from twostage.catalogue.shown_methods import fitted_pairs, main_methods, method_title, variant_pairs
from twostage.common.canonical import canonical_shapes
from twostage.common.errors import UserError
from twostage.design.design import Design
from twostage.design.specs import GrowSpec, grow_spec
from twostage.figures import figure_2
from twostage.model.checkpoint import load_weights, save_weights
from twostage.study import load_study
from twostage.training.grow import grow_checkpoint

TINY = Path(__file__).parent / "studies/tiny.yaml"
METHODS = {"interleave": {"kind": "interleave"}, "interleave-x3": {"kind": "interleave", "factor": 3}}


def design_with(tmp_path, methods):
    fields = yaml.safe_load(TINY.read_text())
    fields["methods"] |= methods
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(fields, sort_keys=False))
    return Design(load_study(path))


def test_a_study_with_the_new_kind_is_designed_drawn_and_grown(tmp_path):
    design = design_with(tmp_path, METHODS)
    study = design.study
    run = next(design.stage2_runs("interleave-x3"))
    base = design.architecture(design.base_run(run))
    assert design.grows(run)
    assert design.architecture(run) == base.with_shape(n_layer=3 * base.n_layer)
    assert design.parent_manifest(design.segments(run)[0]) == f"{run.path}/init/checkpoint/manifest.json"

    # Titles, tables and figures.
    assert method_title(study, "interleave-x3") == "Model growth by interleaving ×3 (interleave-x3)"
    assert main_methods(study) == ["cpt-code", "stack", "interleave"]
    assert variant_pairs(study) == [("interleave-x3", "33k")]
    assert ("interleave", "33k") in fitted_pairs(study)
    figure, table = figure_2.draw(study, design)
    assert "interleave" in set(table["kind"])
    assert any("by interleaving layers" in text for text, _ in texts_of(figure))

    # The growth job.
    spec = GrowSpec.parse(grow_spec(design, run).canonical())
    state = {name: torch.randn(shape) for name, shape in canonical_shapes(base).items()}
    save_weights(tmp_path / "base", state, base, {})
    grow_checkpoint(spec, base=tmp_path / "base/manifest.json", out=tmp_path / "grown")
    grown, architecture = load_weights(tmp_path / "grown/manifest.json")
    assert architecture == design.architecture(run)
    name = "model.layers.{}.mlp.up_proj.weight"
    origins = [0, 0, 0, 1, 1, 1]
    assert all(
        torch.equal(grown[name.format(i)], state[name.format(origin)]) for i, origin in enumerate(origins)
    )


def test_it_can_start_from_the_trunk(tmp_path):
    stable = {"interleave-stable": {"kind": "interleave", "start": "trunk", "d1_steps": [400]}}
    design = design_with(tmp_path, stable)
    assert grow_spec(design, next(design.stage2_runs("interleave-stable"))).carries_optimizer


def test_its_keys_are_checked(tmp_path):
    with pytest.raises(UserError, match=r"methods\.interleave\S*\.factor"):
        design_with(tmp_path, {"interleave": {"kind": "interleave", "factor": 1}})
