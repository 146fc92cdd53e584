"""The catalogue: figures and tables are drawable if the study has the cells; otherwise the reason names key and fix."""

from __future__ import annotations

import importlib
import inspect
import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from results_tree import make_design

from twostage.catalogue.compared_methods import (
    DATA_KEYS,
    RATE_KEYS,
    ablation_pairs,
    chain,
    panel_branches,
    panels,
    schedule_branches,
)
from twostage.catalogue.lookup import (
    ALL,
    FIGURES,
    TABLES,
    check_chosen,
    drawable_figures,
    drawable_tables,
    figure_obstacle,
    not_drawn,
    table_obstacle,
    wanted_branches,
)
from twostage.catalogue.shown_methods import (
    deviations,
    fitted_pairs,
    main_methods,
    main_pairs,
    other_pairs,
    shown_model,
    shown_pairs,
    variant_pairs,
)
from twostage.cli.figures import listing
from twostage.common.errors import UserError
from twostage.study import load_study

ROOT = Path(__file__).parents[2]
CURVES = {"every_steps": 10, "samples": 64}
LOW = {"schedule": "constant", "peak_lr_fraction": 0.1, "d1_steps": [400], "d2_steps": [200, 400]}
CPT = {"kind": "cpt", "corpus": "code"}
STACK = {"kind": "stack"}


def model(width, **changes):
    return {
        "n_layer": 2,
        "d_model": width,
        "n_head": 2,
        "batch_size": 8,
        "warmup_steps": 50,
        "peak_lr": 8e-3,
    } | changes


SIZES = {"33k": model(32), "0.1M": model(64), "0.5M": model(128)}
#: A study with all figures; each test removes what a figure requires.
FULL = {
    "models": SIZES,
    "corpora": {name: {"source": "embedded", "domain": name} for name in ("generic", "code", "math")},
    "methods": {
        "stack": STACK,
        "cpt-code": CPT,
        "cpt-math": {"kind": "cpt", "corpus": "math", "models": ["0.1M"]},
        "expand": {"kind": "expand", "models": ["0.1M"]},
        "cpt-code-replay": CPT | {"replay": 0.25, "models": ["0.1M"]},
        "stack-low": STACK | LOW | {"models": ["0.1M", "0.5M"]},
        "cpt-code-low": CPT | LOW | {"models": ["0.1M"]},
        "stack-fresh": STACK | {"data": "fresh", "models": ["0.1M"], "d1_steps": [200, 800]},
    },
    "scratch": {"code": {"corpus": "code"}},
    "validation": CURVES,
    "ablations": {"schedule": {"model": "33k", "total_steps": 400}},
}


def full(**changes):
    return make_design(**(FULL | changes)).study


def without(*methods):
    return {"methods": {name: method for name, method in FULL["methods"].items() if name not in methods}}


def test_a_full_study_draws_everything_that_its_sections_allow():
    study = full()
    assert drawable_figures(study) == tuple(FIGURES)
    assert set(TABLES) - set(drawable_tables(study)) <= {"table-6"}


#: Figure -> the change to the full study, and the text that the reason must contain.
TAKEN = {
    "figure-1": ({"grid": {"d1": {"trunk_steps": [100]}, "d2": {"trunk_steps": [100]}}, "methods": {"stack": STACK}}, ["methods", "two or more D1", "grid.d1"]),
    "figure-3": ({"grid": {"d1": {"trunk_steps": [100, 200]}, "d2": {"trunk_steps": [100]}}, "methods": {"stack": STACK}}, ["methods", "grid.d2"]),
    "figure-4-left": ({"methods": {"stack": STACK}}, ["kind cpt", "has none", "add one"]),
    "figure-4-right": ({"methods": {"cpt-code": CPT}}, ["kind stack", "has none"]),
    "figure-5": ({"ablations": {}}, ["ablations.schedule", "add schedule: {model: 33k"]),
    "figure-6": (without("stack-fresh"), ["data: fresh", "add such a copy"]),
    "figure-7": (without("stack-low", "cpt-code-low"), ["peak_lr_fraction", "add such a copy"]),
    "figure-8": ({"methods": {"stack": STACK, "cpt-code": CPT}}, ["Figure 3 shows all", "add another"]),
    "figure-9": ({"methods": {"stack": STACK | {"models": ["33k"]}}}, ["methods.stack.models", "list more models"]),
    "figure-10": ({"methods": {"stack": STACK | {"d2_steps": [100]}}}, ["d2_steps", "[100]", "add a value"]),
    "figure-11": ({"scratch": {}}, ["scratch", "'code'", "add code: {corpus: code}"]),
    "gradient-norm": ({"methods": {"stack": STACK | {"d1_steps": [100]}}}, ["two or more D1"]),
    "crossover": ({"scratch": {}}, ["scratch", "'code'", "add code: {corpus: code}"]),
}  # fmt: skip


@pytest.mark.parametrize("figure", TAKEN)
def test_a_figure_without_its_cells_names_key_and_fix(figure, tmp_path):
    changes, words = TAKEN[figure]
    study = full(**changes)
    reason = figure_obstacle(study, figure)
    assert reason
    for word in words:
        assert word in reason
    assert figure not in drawable_figures(study)
    assert dict(not_drawn(study))[figure] == reason
    with pytest.raises(ValueError, match=f"figures: '{figure}' cannot be drawn") as refusal:
        check_chosen(full(**changes, figures=[figure]))
    assert reason in str(refusal.value)
    assert f"leave '{figure}' out of figures" in str(refusal.value)


@pytest.mark.parametrize("figure", ["figure-5", "figure-6", "figure-7"])
def test_loss_curves_need_validation_losses(figure):
    assert "validation" in figure_obstacle(full(validation=None), figure)
    from_elsewhere = full(validation=None, cells_table={"cells": "elsewhere.csv"})
    assert "cells_table.curves" in figure_obstacle(from_elsewhere, figure)
    given = full(validation=None, cells_table={"cells": "elsewhere.csv", "curves": "curves.csv"})
    assert figure_obstacle(given, figure) == ""


def test_gradient_norms_do_not_require_curves():
    assert figure_obstacle(full(validation=None), "gradient-norm") == ""


@pytest.mark.parametrize(
    ("table", "changes", "word"),
    [
        ("table-1", {"methods": {"stack-x4": STACK | {"factor": 4}}}, "no main method"),
        ("table-2", {"methods": {"stack": STACK}}, "deviates"),
        ("table-7", {"methods": {"stack": STACK | {"d1_steps": [100]}}}, "grid.d1"),
        ("table-8", {"models": {"33k": model(32)}, "methods": {"stack": STACK}}, "list more models"),
        ("table-6", {"cells_table": {"cells": "elsewhere.csv"}}, "cells_table"),
    ],
)
def test_a_table_without_its_cells_names_key_and_fix(table, changes, word):
    assert word in table_obstacle(full(**changes), table)
    with pytest.raises(ValueError, match=f"tables: '{table}' cannot be drawn"):
        check_chosen(full(**changes, tables=[table]))


def test_names_outside_the_catalogue_are_refused():
    with pytest.raises(UserError, match=r"figures: 'figure-12'.*figure-11"):
        check_chosen(full(figures=["figure-12"]))
    with pytest.raises(UserError, match=r"tables: 'figure-1'.*table-8"):
        check_chosen(full(tables=["figure-1"]))


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.rule_name)
def test_every_declaration_names_a_function_and_a_caption(entry):
    module, _, name = entry.draw.partition(":")
    assert list(inspect.signature(getattr(importlib.import_module(module), name)).parameters) == [
        "study",
        "sources",
    ]
    assert entry.caption.startswith("\n**")


def test_rules_have_names_of_their_own():
    assert len({entry.rule_name for entry in ALL}) == len(ALL)


def test_figures_that_are_not_chosen_have_that_reason():
    study = full(figures=["figure-3"], tables=[])
    assert drawable_figures(study) == ("figure-3",)
    assert drawable_tables(study) == ()
    assert dict(not_drawn(study))["figure-1"] == "figures: not selected; add 'figure-1'"


def test_a_part_of_a_study_draws_what_its_cells_allow(tmp_path):
    fields = yaml.safe_load((ROOT / "config/tiny.yaml").read_text())
    fields["figures"] = ["figure-3", "figure-8"]
    fields["methods"]["expand"] = {"kind": "expand"}
    fields["subsets"] = {"two": {"description": "the methods of Figure 1", "methods": ["cpt-code", "stack"]}}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(fields))
    assert drawable_figures(load_study(path)) == ("figure-3", "figure-8")
    assert drawable_figures(load_study(f"{path}:two")) == ("figure-3",)


# Rows and panels ------------------------------------------------------------------------------------------------------


def test_main_methods_and_variants():
    study = full()
    assert main_methods(study) == ["stack", "cpt-code", "cpt-math", "expand"]
    assert deviations(study, "stack-low") == ["schedule", "peak_lr_fraction"]
    assert variant_pairs(study) == [("cpt-code-replay", "0.1M"), ("stack-fresh", "0.1M")]
    assert {pair[0] for pair in main_pairs(study)} == set(main_methods(study))
    assert set(main_pairs(study)) | set(variant_pairs(study)) == set(fitted_pairs(study))
    chained = full(methods={"stack-code": STACK | {"corpus": "code"}, "stack": STACK | {"corpus": "generic"}})
    assert deviations(chained, "stack-code") == ["corpus"]
    assert deviations(chained, "stack") == []  # the base corpus, given explicitly


def test_figures_show_the_size_that_most_methods_have():
    study = full()
    assert shown_model(study, "stack") == "0.1M"
    assert shown_pairs(study) == [("cpt-code", "0.1M"), ("stack", "0.1M")]
    assert other_pairs(study) == [("cpt-math", "0.1M"), ("expand", "0.1M")]
    variants = full(
        methods={
            "stack": STACK,
            "stack-x4": STACK | {"factor": 4},
            "one": STACK | {"d1_steps": [100], "factor": 3},
        }
    )
    assert other_pairs(variants) == [("stack-x4", "33k")]


def test_ablation_pairs():
    study = full()
    assert ablation_pairs(study, DATA_KEYS) == [("stack-fresh", "stack")]
    assert ablation_pairs(study, RATE_KEYS) == [("cpt-code-low", "cpt-code"), ("stack-low", "stack")]


@pytest.mark.parametrize(
    "changes",
    [{"replay": 0.25}, {"start": "trunk"}, {"corpus": "math"}],
)
def test_methods_that_differ_in_more_are_no_pair(changes):
    study = full(methods={"cpt-code": CPT, "low": CPT | LOW | changes})
    assert ablation_pairs(study, RATE_KEYS) == []


def test_twins_must_share_a_point():
    study = full(methods={"stack": STACK | {"d1_steps": [100, 200]}, "stack-low": STACK | LOW})
    assert ablation_pairs(study, RATE_KEYS) == []


def test_a_panel_holds_all_arms_of_a_twin_at_their_largest_common_point():
    lower = {
        "stack-lower": STACK | LOW | {"peak_lr_fraction": 0.01, "models": ["0.1M"], "d2_steps": [100, 200]}
    }
    study = full(methods=FULL["methods"] | lower)
    (first, second) = panels(study, RATE_KEYS)
    assert first.methods == ("cpt-code", "cpt-code-low")
    assert (second.methods, second.model) == (("stack", "stack-low", "stack-lower"), "0.1M")
    assert (second.d1_steps, second.d2_steps) == (400, 200)


def test_wanted_branches_are_runs_of_the_design():
    design = make_design(**FULL, seeds=[0, 1])
    branches = wanted_branches(design)
    assert len(set(branches)) == len(branches)
    known = {branch for run in design.runs() for branch in design.branches(run)}
    assert set(branches) <= known
    step = design.tokens_per_step("33k")
    assert [(b.run.schedule, b.tokens) for b in schedule_branches(design)] == [
        ("", 400 * step),
        ("cosine", 400 * step),
    ]
    drawn = panel_branches(design, DATA_KEYS)
    assert {(b.run.method, b.run.seed) for b in drawn} == {
        (method, seed) for method in ("stack", "stack-fresh") for seed in (0, 1)
    }
    assert {b.run.d1_tokens for b in drawn} == {design.branch_tokens("0.1M", 800)}


def test_a_chain_trains_every_step_of_its_run_once():
    design = make_design(**FULL)
    for branch in wanted_branches(design):
        steps = [design.job_steps(job) for job in chain(design, branch)]
        assert steps[0][0] == 0
        assert all(before[1] == after[0] for before, after in itertools.pairwise(steps))
        assert steps[-1][1] * design.tokens_per_step(branch.run.model) == branch.tokens


# Command line ---------------------------------------------------------------------------------------------------------


def test_listing_tells_what_is_drawn(tmp_path):
    study = full(figures=["figure-1", "figure-3"])
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/figure-1.pdf").write_bytes(b"%PDF")
    states = {row["name"]: row["state"] for row in listing(study, tmp_path)}
    assert (states["figure-1"], states["figure-3"], states["figure-9"]) == ("drawn", "to draw", "not drawn")
    assert list(states) == [*FIGURES, *TABLES]


def test_the_command_names_reasons():
    done = subprocess.run(
        [sys.executable, "-m", "twostage.cli", "figures", str(ROOT / "tests/studies/tiny.yaml"), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"ablations.schedule: no run under another schedule' in done.stdout


def test_the_catalogue_needs_no_heavy_library():
    code = "import sys, twostage.catalogue.imported_tables, twostage.common.imports; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "pandas", "matplotlib", "numpy"} & set(done.stdout.split())
