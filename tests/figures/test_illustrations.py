"""Figure 2 and the DAG picture: names and counts of the study, no clipped and no overlapping texts."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from drawn_text import assert_apart, assert_inside, texts_of
from results_tree import make_design

from twostage.catalogue.lookup import FIGURES
from twostage.design.design import Design
from twostage.figures import dag, figure_2
from twostage.planning.dag import rule_jobs
from twostage.study import load_study

ROOT = Path(__file__).parents[2]
MANY = {
    f"cpt-code-replay-{share}": {"kind": "cpt", "corpus": "code", "replay": share / 100}
    for share in range(5, 60, 5)
}
DESIGNS = {
    "tiny": lambda: Design(load_study(ROOT / "tests/studies/tiny.yaml")),
    "paper": lambda: Design(load_study(ROOT / "config/paper.yaml")),
    "one method": lambda: make_design(methods={"cpt-code": {"kind": "cpt", "corpus": "code"}}),
    "growth only": lambda: make_design(methods={"wide": {"kind": "expand"}, "deep": {"kind": "stack"}}),
    "many names": lambda: make_design(methods=MANY | {"stack": {"kind": "stack"}}),
}
DRAW = {"figure-2": figure_2.draw, "dag": dag.draw}


@pytest.mark.parametrize(("name", "which"), list(itertools.product(DRAW, DESIGNS)))
def test_texts_are_inside_and_apart(name, which):
    design = DESIGNS[which]()
    figure, table = DRAW[name](design.study, design)
    assert len(table) >= 3
    texts = texts_of(figure)
    assert len(texts) >= 10
    assert_inside(figure)
    assert_apart(texts)


def counts_of(design):
    return {(job.part, job.rule): job.jobs for job in rule_jobs(design.study, design)}


def test_jobs_of_the_tiny_study_by_hand():
    """One base run and 4 runs of each of 2 methods, 4 segments and 4 branches each."""
    assert counts_of(DESIGNS["tiny"]()) == {
        ("data", "prepare_corpus"): 2,
        ("data", "train_tokenizer"): 1,
        ("data", "tokenize_corpus"): 2,
        ("stage 1", "train_trunk_segment"): 4,
        ("stage 1", "train_decay_branch"): 4,
        ("stage 2", "grow_checkpoint"): 4,
        ("stage 2", "train_trunk_segment"): 2 * 4 * 4,
        ("stage 2", "train_decay_branch"): 2 * 4 * 4,
        # base on both corpora, cpt on code and the base corpus, stack on the base corpus
        ("losses", "evaluate_checkpoint"): 4 * 2 + 16 * 2 + 16,
        ("losses", "aggregate_cells"): 1,
        ("laws", "fit_law"): 2,
        ("laws", "fit_joint_law"): 0,
        ("laws", "fit_scratch_law"): 0,
        # Figures 1, 2, 3, gradient norms and the graph itself; Tables 1, 3, 4, 5 and 7
        ("results", "plot_figure"): 5,
        ("results", "make_table"): 5,
    }


def test_only_corpora_that_a_job_reads_are_counted():
    """The tokenizer is trained on all corpora; tokens are made of those that are read."""
    corpora = {name: {"source": "embedded", "domain": name} for name in ("generic", "code", "math")}
    counts = counts_of(make_design(corpora=corpora))
    assert counts["data", "prepare_corpus"] == 3
    assert counts["data", "tokenize_corpus"] == 2


def test_figures_can_be_named():
    counts = counts_of(make_design(figures=["figure-1"], tables=["table-3", "table-7"]))
    assert (counts["results", "plot_figure"], counts["results", "make_table"]) == (1, 2)


def test_an_excluded_cell_is_not_evaluated():
    design = make_design()
    before = counts_of(design)
    excluded = [{"cell": design.cells()[-1].path, "reason": "for a test"}]
    after = counts_of(make_design(excluded_cells=excluded))
    assert after.pop(("losses", "evaluate_checkpoint")) == before.pop(("losses", "evaluate_checkpoint")) - 1
    assert after == before


def test_the_dag_shows_every_count_and_no_rule_without_jobs():
    design = DESIGNS["one method"]()
    figure, table = dag.draw(design.study, design)
    shown = [text for text, _ in texts_of(figure) if not text.startswith("Study ")]
    assert "grow_checkpoint" not in shown
    jobs = table[(table["rule"] != "total") & (table["jobs"] > 0)]
    assert sorted(text for text in shown if text.split()[-1] in {"job", "jobs"}) == sorted(
        f"{number:,} job" + "s" * (number != 1) for number in jobs["jobs"]
    )
    assert table.set_index("rule")["jobs"]["total"] == jobs["jobs"].sum()


def test_figure_2_names_the_study():
    design = DESIGNS["paper"]()
    figure, table = figure_2.draw(design.study, design)
    rows = table.set_index(["element", "name"])
    # Table 5: 17,600 iterations of 128 samples of 1,024 tokens; 70,400 of 1,024 samples at 1B
    assert rows.loc[("model", "15M"), "tokens_max"] == 17_600 * 128 * 1024
    assert rows.loc[("method", "stack"), "tokens_max"] == 70_400 * 1024 * 1024
    assert rows.loc[("model", "1B"), "token_counts"] == 5
    assert rows.loc[("corpus", "code"), "kind"] == "from scratch"
    assert rows.loc[("method", "cpt-math"), ["corpus", "models"]].tolist() == ["math", "0.1B"]
    shown = "\n".join(text for text, _ in texts_of(figure))
    base = table.loc[(table["element"] == "model") & (table["kind"] == "base"), "name"]
    assert len(base) == 6
    for name in [*design.study.methods, *base, "on code, math", "288M … 73.8B"]:
        assert name in shown


def test_figure_2_gives_the_number_of_omitted_names():
    design = DESIGNS["many names"]()
    figure, table = figure_2.draw(design.study, design)
    shown = "\n".join(text for text, _ in texts_of(figure))
    left_out = [
        name for name in table["name"] if name.startswith("cpt") and name not in shown.replace("\n", "")
    ]
    assert left_out
    assert f"+{len(left_out)} more" in shown


@pytest.mark.parametrize("name", DRAW)
def test_the_script_writes_all_three_files(name, tmp_path):
    png = tmp_path / f"{name}.png"
    command = [sys.executable, ROOT / "workflow/scripts/draw.py", FIGURES[name].draw]
    command += ["--study", ROOT / "tests/studies/tiny.yaml", "--out", png]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    assert png.read_bytes()[:4] == b"\x89PNG"
    assert png.with_suffix(".pdf").read_bytes()[:4] == b"%PDF"
    assert len(pd.read_csv(png.with_suffix(".csv"))) >= 3
