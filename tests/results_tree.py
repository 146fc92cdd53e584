"""A synthetic results folder in the format of the jobs, with losses from a known law instead of training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from twostage.design.design import Cell, Design
from twostage.design.paths import Branch, Stage2Run, grown_manifest
from twostage.design.specs import branch_spec, evaluate_spec, grow_spec
from twostage.study import Study

#: L = A D1^-alpha1 D2^(-alpha2 + alpha3 ln D1) + E; about 7 to 4.8 nats on the grid below.
LAW = {"A": 2000.0, "alpha1": 0.30, "alpha2": 0.40, "alpha3": 0.015, "E": 2.5}
STEPS = (100, 200, 400, 800)

_SMALL = {"n_layer": 2, "d_model": 32, "n_head": 2, "batch_size": 8, "warmup_steps": 50, "peak_lr": 8e-3}
#: Sections for `make_design`: some methods have a model from scratch at their size and corpus, others have none.
WITH_CONTROLS = {
    "models": {"33k": _SMALL, "13k": _SMALL | {"d_model": 20}, "33k-2N": _SMALL | {"n_layer": 4}},
    "stage1": {"corpus": "generic", "models": ["33k", "13k"]},
    "methods": {
        "stack": {"kind": "stack"},
        "cpt-code": {"kind": "cpt", "corpus": "code"},
        "expand": {"kind": "expand", "models": ["33k"]},
        "stack-x4": {"kind": "stack", "factor": 4, "models": ["33k"]},
        "stack-code": {"kind": "stack", "corpus": "code", "models": ["33k"]},
        "stack-one": {"kind": "stack", "models": ["33k"], "d2_steps": [200]},
    },
    "scratch": {
        "code": {"corpus": "code", "models": ["33k"], "steps": [100, 200]},
        "generic-2N": {"corpus": "generic", "models": ["33k-2N"]},
    },
}


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
        "models": {"33k": _SMALL},
        "grid": {"d1": grid, "d2": grid},
        "stage1": {"corpus": "generic"},
        "methods": {"cpt-code": {"kind": "cpt", "corpus": "code"}, "stack": {"kind": "stack"}},
    }
    return Design(Study(name="synthetic", **(fields | changes)))


def mul_loss(d1, d2, law=LAW):
    """Eq. 2."""
    d1, d2 = np.asarray(d1, float), np.asarray(d2, float)
    return law["A"] * d1 ** -law["alpha1"] * d2 ** (-law["alpha2"] + law["alpha3"] * np.log(d1)) + law["E"]


def loss_of(design: Design, cell: Cell) -> float:
    """Return the loss of a cell without noise; corpora and methods are shifted so that no two cells are equal."""
    run, tokens = cell.branch.run, cell.branch.tokens
    corpus = 0.0 if cell.corpus == "generic" else 0.3
    if not isinstance(run, Stage2Run):
        return 40 * tokens**-0.2 + 2.4 + corpus
    if cell.corpus != design.corpus(run):
        return 40 * run.d1_tokens**-0.2 + 2.6 + 0.01 * np.log(tokens)
    changed = {"low": 1.03, "fresh": 0.999}.get(run.method.split("-")[-1], 1.0)
    return float(mul_loss(run.d1_tokens, tokens)) * (1.0 if run.method.startswith("cpt") else 0.9) * changed


def build(design: Design, results: Path, *, noise: float = 0.003, seed: int = 0) -> Path:
    """Write evaluation files, metrics and grown manifests of every cell; `noise`: standard deviation of ln L."""
    random = np.random.default_rng(seed)
    for cell in design.cells():
        branch = cell.branch
        # the losses must depend on the trunk's seed, as in training
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
            shape = design.architecture(run).to_json()
            manifest = {"kind": "weights", "architecture": shape, "origin": origin, "payload": {}}
            write(results / grown_manifest(run), manifest)
    return results


def synthetic_curves(design: Design, branches: list[Branch], every: int = 10) -> pd.DataFrame:
    """Rows of `curves.csv` for some runs: a rate and a gradient norm at every step, a validation loss at some steps.

    Losses decrease as a power of the tokens, from above the base's loss (re-warming) to slightly below the run's final
    loss. There is a validation loss at every multiple of `every` steps and at the end.
    """
    random = np.random.default_rng(1)
    rows = []
    for branch in branches:
        run, spec = branch.run, branch_spec(design, branch)
        corpus = design.corpus(run)
        final = loss_of(design, Cell(branch, corpus))
        two = isinstance(run, Stage2Run)
        per_step = design.tokens_per_step(run.model)
        stop = design.branch_steps(branch)[1]
        for step in range(1, stop + 1):
            share = step / stop
            rate = spec.schedule.rate(step)
            rise = (0.5 if two else 3.5) * (1.0 + rate / spec.schedule.peak_lr) / 2
            loss = final + 0.03 + rise * share**0.02 * (0.02 + share) ** -0.3 * (1 - share) ** 0.9 * 0.5
            rows.append(
                {
                    "method": design.label(branch),
                    "model": run.model,
                    "seed": run.seed,
                    "d1_tokens": run.d1_tokens if two else 0,
                    "d2_tokens": branch.tokens,
                    "step": step,
                    "tokens": step * per_step,
                    "lr": rate,
                    "train_loss_nats": loss + 0.1 * random.normal(),
                    "valid_loss_nats": loss + 0.004 * random.normal()
                    if step % every == 0 or step == stop
                    else None,
                    "grad_norm": (0.4 + (run.d1_tokens if two else 1e5) ** 0.25 / 40)
                    * (1 + 2 * np.exp(-30 * share))
                    * np.exp(0.15 * random.normal()),
                }
            )
    return pd.DataFrame(rows).astype({"valid_loss_nats": float})


def write(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def edit(path: Path, change) -> None:
    """Apply `change(dict)` to a JSON file in place."""
    value = json.loads(path.read_text())
    change(value)
    write(path, value)
