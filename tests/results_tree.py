"""A results folder as the jobs leave it, with losses from a known law instead of training: test data, never results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from twostage.design import Cell, Design
from twostage.paths import Stage2Run, grown_manifest
from twostage.specs import branch_spec, evaluate_spec, grow_spec
from twostage.study import Study

#: L = A D1^-alpha1 D2^(-alpha2 + alpha3 ln D1) + E; about 7 to 4.8 nats on the grid below.
LAW = {"A": 2000.0, "alpha1": 0.30, "alpha2": 0.40, "alpha3": 0.015, "E": 2.5}
STEPS = (100, 200, 400, 800)


def make_design(*, steps=STEPS, **changes) -> Design:
    """A study with continual pretraining and stacking; `changes` replace sections."""
    grid = {"trunk_steps": list(steps)}
    fields = {
        "description": "synthetic losses for tests",
        "corpora": {
            "generic": {"source": "embedded", "domain": "generic"},
            "code": {"source": "embedded", "domain": "code"},
        },
        "tokenizer": {"kind": "bpe", "vocab_size": 2048},
        "context": 128,
        "models": {
            "33k": {
                "n_layer": 2,
                "d_model": 32,
                "n_head": 2,
                "batch_size": 8,
                "warmup_steps": 50,
                "peak_lr": 8e-3,
            }
        },
        "grid": {"d1": grid, "d2": grid},
        "stage1": {"corpus": "generic"},
        "methods": {"cpt-code": {"kind": "cpt", "corpus": "code"}, "stack": {"kind": "stack"}},
    }
    return Design(Study(name="synthetic", **(fields | changes)))


def mul_loss(d1, d2, law=LAW):
    """Eq. 2, written out."""
    d1, d2 = np.asarray(d1, float), np.asarray(d2, float)
    return law["A"] * d1 ** -law["alpha1"] * d2 ** (-law["alpha2"] + law["alpha3"] * np.log(d1)) + law["E"]


def loss_of(design: Design, cell: Cell) -> float:
    """The loss of a cell without noise; other corpora and methods are shifted so that no two cells agree."""
    run, tokens = cell.branch.run, cell.branch.tokens
    corpus = 0.0 if cell.corpus == "generic" else 0.3
    if not isinstance(run, Stage2Run):
        return 40 * tokens**-0.2 + 2.4 + corpus
    if cell.corpus != design.corpus(run):
        return 40 * run.d1_tokens**-0.2 + 2.6 + 0.01 * np.log(tokens)
    return float(mul_loss(run.d1_tokens, tokens)) * (1.0 if run.method.startswith("cpt") else 0.9)


def build(design: Design, results: Path, *, noise: float = 0.003, seed: int = 0) -> Path:
    """Write evaluation files, metrics and grown manifests of every cell; `noise`: standard deviation of ln L."""
    random = np.random.default_rng(seed)
    for cell in design.cells():
        branch = cell.branch
        # a trunk's seed must matter, as it does in training
        loss = loss_of(design, cell) * float(np.exp(noise * random.normal()))
        record = {
            "spec": evaluate_spec(design, branch, cell.corpus).model_dump(mode="json"),
            "revision_data": 1,
            "loss_nats": loss,
            "loss_se": 0.02,
            "loss_nats_per_byte": loss / 3.7,
            "n_samples": 500,
            "n_tokens": 500 * design.study.context,
            "n_final": design.architecture(branch.run).n_params,
            "device": "x86_64 AVX2",
            "git_commit": "0123abc",
        }
        write(results / cell.path, record)
        epochs = dict.fromkeys(design.mixture(branch.run), branch.tokens / 2000000.0)
        metrics = {
            "key": "0",
            "spec": branch_spec(design, branch).model_dump(mode="json"),
            "grad_norm_mean": 0.7 + 1e-7 * branch.tokens,
            "epochs": epochs,
            "device": "x86_64 AVX2",
            "attention_backend": "sdpa",
            "git_commit": "0123abc",
        }
        write(results / branch.metrics, metrics)
    for run in design.stage2_runs():
        if design.grows(run):
            origin = grow_spec(design, run).model_dump(mode="json", exclude={"source", "target"})
            write(results / grown_manifest(run), {"kind": "weights", "origin": origin, "payload": {}})
    return results


def write(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def edit(path: Path, change) -> None:
    """Apply `change(dict)` to a JSON file in place."""
    value = json.loads(path.read_text())
    change(value)
    write(path, value)
