"""The archived losses of this repository (results/reference/mini): tables and fits follow from them; one cell is trained again."""

from __future__ import annotations

import json
import random
import shutil

import pandas as pd
import pytest
from archived_records import read_records
from working_copy import ROOT, Workflow, copy_workflow

from twostage.common.storage import sha256_file

pytestmark = pytest.mark.workflow

ARCHIVE = ROOT / "results/reference/mini"
CONFIG = ("--config", "study=config/mini-reference.yaml")
RESULTS = "results/mini-reference"
#: Between types of machines losses differ by rounding, which training amplifies; nats per token.
ACROSS_MACHINES = 2e-3


def copy_with_archive(target) -> Workflow:
    workflow = copy_workflow(target)
    shutil.copytree(ARCHIVE, workflow.root / "results/reference/mini")
    return workflow


def test_the_archive_is_complete():
    manifest = json.loads((ARCHIVE / "manifest.json").read_text())
    assert manifest["training_jobs"]["measured"] > 0
    for name, digest in manifest["files"].items():
        assert sha256_file(ARCHIVE / name) == digest, name
    records = read_records(ARCHIVE)
    assert all(commit and commit != "None" for commit in manifest["git_commits"])
    cells = pd.read_csv(ARCHIVE / "tables/cells.csv")
    for evaluation, loss in zip(cells["evaluation"], cells["loss_nats"], strict=True):
        assert records[evaluation]["loss_nats"] == loss  # every cell equals the record of its job
    # No stage of the primary methods reads a sample twice; growth repeats stage 1's data, as the paper does.
    assert (cells[["epochs_1", "epochs_2"]] <= 1).all(axis=None)


#: At least one of each kind of fit and of table. All of them take four CPU-minutes, most of it in the fits of curves.
SOME = [
    "fits/stack/13k.json",
    "fits/joint/stack.json",
    "fits/scratch/code.json",
    "tables/cells.csv",
    "tables/unified-law.csv",
    "tables/crossover.csv",
    "tables/table-8.csv",
    "tables/table-5.csv",
]


@pytest.mark.parametrize("complete", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_tables_and_fits_follow_from_the_cells(complete, tmp_path):
    workflow = copy_with_archive(tmp_path / "redrawn")
    targets = ["all_tables"] if complete else [f"{RESULTS}/{name}" for name in SOME]
    workflow.snakemake("--cores", "1", *CONFIG, "--", *targets)
    again = workflow.root / RESULTS
    files = json.loads((ARCHIVE / "manifest.json").read_text())["files"]
    kept = [name for name in files if name.startswith(("tables/", "fits/"))] if complete else SOME
    assert set(kept) <= {*files}
    assert len(kept) >= 8
    for name in kept:
        if name != "tables/not-drawn.csv":  # names other keys, because an imported study cannot train
            assert same_digits((again / name).read_text(), (ARCHIVE / name).read_text()), name


def same_digits(mine: str, theirs: str) -> bool:
    """Tell whether two tables or fit files are equal byte for byte or, on another machine, in all printed digits."""
    if mine == theirs:
        return True
    words = [printed(text) for text in (mine, theirs)]
    return len(words[0]) == len(words[1]) and all(
        a == b or (isinstance(a, float) and b == pytest.approx(a, rel=1e-3, abs=1e-9))
        for a, b in zip(*words, strict=True)
    )


def printed(text: str) -> list[float | str]:
    """Return the words and numbers of a table, or the numbers of a fit file that tables print."""
    if text.startswith("{"):
        laws = json.loads(text).get("laws") or {}
        numbers = [law["loo_rms_nats"] for law in laws.values()]
        fits = [law["fit"] for law in laws.values() if law["fit"]]
        return numbers + [value for fit in fits for value in fit["coefficients"].values()]
    words: list[float | str] = []
    for word in text.replace("\n", ",").split(","):
        try:
            words.append(float(word))
        except ValueError:
            words.append(word)
    return words


@pytest.mark.slow
def test_one_small_cell_trained_again_gives_its_loss(tmp_path):
    """Train one of the cells with short stages again, with its base model and its corpora."""
    cells = pd.read_csv(ARCHIVE / "tables/cells.csv")
    short = cells[(cells["d1_tokens"] + cells["d2_tokens"] < 1e6) & (cells["d1_tokens"] > 0)]
    cell = short.iloc[random.randrange(len(short))]  # the assertion's message names it
    workflow = copy_workflow(tmp_path / "again")
    target = f"results/mini/{cell['evaluation']}"
    workflow.snakemake("--cores", "2", "--config", "study=config/mini.yaml:full", "--", target)
    again = json.loads((workflow.root / target).read_text())
    tolerance = 0 if again["device"] == cell["device_train"] else ACROSS_MACHINES
    assert abs(again["loss_nats"] - cell["loss_nats"]) <= tolerance, target
