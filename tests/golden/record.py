"""Record the numbers of a fixed tiny chain of jobs: `python tests/golden/record.py [train] [grow] [evaluate]`.

`tests/test_golden.py` compares them with what the code gives. Record a stage again only together with a new revision
of it in `src/twostage/common/revisions.py`. Everything is synthetic integer arithmetic, so no text or tokenizer enters.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from twostage.common import provenance, revisions
from twostage.common.architecture import Architecture
from twostage.common.storage import canonical_json, payload_entries, write_atomic, write_manifest
from twostage.corpora.tokens import token_dtype
from twostage.design.schedule import Schedule
from twostage.design.specs import EvaluateSpec, GrowSpec, TrainSpec
from twostage.evaluation.evaluate import evaluate_checkpoint
from twostage.methods.expand import expanded_architecture
from twostage.methods.stack import stacked_architecture
from twostage.model.checkpoint import load_weights, save_weights
from twostage.model.optimizer_state import AdamState, load_adam_state, save_adam_state
from twostage.study import OptimizerRecipe
from twostage.training.grow import grow_checkpoint
from twostage.training.train import TrainJob, train

FOLDER = Path(__file__).parent
MODEL = Architecture(n_layer=2, d_model=32, n_head=2, head_dim=16, d_mlp=128, vocab_size=257, context=32)
STAGES = {
    "train": ("TRAIN_REVISION", revisions.TRAIN_REVISION),
    "grow": ("GROW_REVISION", revisions.GROW_REVISION),
    "evaluate": ("EVALUATE_REVISION", revisions.EVALUATE_REVISION),
}


def write_tokens(folder: Path) -> None:
    """Write a corpus of 20,000 + 4,000 tokens whose successor depends on the token before, in Megatron's format."""
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    folder.mkdir(parents=True)
    splits = {}
    for split, size, start in (("train", 20_000, 1), ("valid", 4_000, 2)):
        # Numerical Recipes' linear congruential generator picks one of four successors.
        state, token, stream = start, start, []
        for _ in range(size):
            state = (1_664_525 * state + 1_013_904_223) % 2**32
            token = (7 * token + 31 * (state >> 30)) % 256 + 1
            stream.append(token)
        builder = IndexedDatasetBuilder(str(folder / f"{split}.bin"), dtype=token_dtype(257))
        for document in np.split(np.array(stream), 20):
            builder.add_document(document, [len(document)])
        builder.finalize(str(folder / f"{split}.idx"))
        splits[split] = {"documents": 20, "tokens": size, "bytes": 3 * size}
    names = [f"{split}.{kind}" for split, kind in itertools.product(splits, ("bin", "idx"))]
    manifest = {
        "corpus": "synthetic",
        "revision": 1,
        "vocab_size": 257,
        "splits": splits,
        "payload": payload_entries(folder, names),
    }
    write_manifest(folder / "manifest.json", manifest)


def train_golden(folder: Path) -> dict[str, Any]:
    """Return losses and gradient norms of 20 trunk steps and a decay of 2 (kept in `folder`)."""
    write_tokens(folder / "tokens")
    fields: dict[str, Any] = {
        "architecture": MODEL,
        "init_std": 0.1,
        "recipe": OptimizerRecipe(),
        "batch_size": 8,
        "mixture": (("synthetic", 1),),
        "seed": 0,
    }
    rates = Schedule(peak_lr=4e-3, warmup_steps=5)
    trunk = TrainSpec(**fields, schedule=rates, start_step=0, stop_step=20, origin="init")
    decay = TrainSpec(
        **fields,
        schedule=rates.model_copy(update={"decay_start": 20, "total_steps": 22}),
        start_step=20,
        stop_step=22,
        origin="state",
    )
    lines = []
    for name, spec, parent in (
        ("trunk", trunk, None),
        ("decay", decay, folder / "trunk/checkpoint/manifest.json"),
    ):
        train(
            TrainJob(
                spec=spec,
                parent=parent,
                tokens=(folder / "tokens",),
                out=folder / name,
                rolling=folder / "rolling",
            )
        )
        lines += (folder / name / "steps.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in lines]
    return {key: [step[key] for step in steps] for key in ("loss", "grad_norm", "lr")}


def _fixed_weights(folder: Path) -> Path:
    """Write weights that no random generator has made; return their manifest."""
    import torch

    from twostage.common.canonical import canonical_shapes

    state = {}
    for index, (name, shape) in enumerate(canonical_shapes(MODEL).items()):
        # A sine of a fast integer phase is as good as noise here; float64, so that libraries agree after rounding.
        phase = (
            np.arange(np.prod(shape), dtype=np.float64) * (0.7 + 0.01 * index)
            + np.arange(np.prod(shape)) ** 2 % 97
        )
        values = np.sin(phase).reshape(shape) * (0.3 if len(shape) == 2 else 0.1) + (
            0 if len(shape) == 2 else 1
        )
        state[name] = torch.from_numpy(values).float()
    save_weights(folder, state, MODEL, {})
    return folder / "manifest.json"


def _fixed_training_state(folder: Path, weights: Path) -> Path:
    """Write a training state of fixed weights, whose moments are simple functions of them; return its manifest."""
    import torch

    state, _ = load_weights(weights)
    training = AdamState(
        weights=state,
        exp_avg={name: tensor / 8 for name, tensor in state.items()},
        exp_avg_sq={name: tensor * tensor for name, tensor in state.items()},
        adam_step=torch.tensor(20.0),
        settings=[{"wd_mult": 1.0}, {"wd_mult": 0.0}],
    )
    save_adam_state(folder, training, MODEL, {})
    return folder / "manifest.json"


def _sums(prefix: str, state: dict[str, Any]) -> dict[str, list[float]]:
    """Return the sum and a position-weighted sum of every tensor."""
    found = {}
    for key, tensor in state.items():
        values = tensor.double().flatten().numpy()
        found[f"{prefix} {key}"] = [values.sum(), (values * np.linspace(-1, 1, len(values))).sum()]
    return found


def grow_golden(folder: Path) -> dict[str, Any]:
    """Return sums of every tensor after stack, expand, and a stack that carries the optimizer's state."""
    base = _fixed_weights(folder / "base")
    wide = expanded_architecture(MODEL)
    specs = {
        "stack": GrowSpec(
            source=MODEL, target=stacked_architecture(MODEL, 2), kind="stack", factor=2, seed=0
        ),
        "expand": GrowSpec(
            source=MODEL, target=wide, kind="expand", split="random", init="duplicate", seed=0
        ),
    }
    found: dict[str, Any] = {}
    for name, spec in specs.items():
        grow_checkpoint(spec, base=base, out=folder / name)
        state, _ = load_weights(folder / name / "manifest.json")
        found |= _sums(name, state)
    trunk = _fixed_training_state(folder / "trunk", base)
    carrying = specs["stack"].model_copy(update={"carries_optimizer": True})
    grow_checkpoint(carrying, base=trunk, out=folder / "carried")
    carried, _ = load_adam_state(folder / "carried/manifest.json")
    for moment in ("weights", "exp_avg", "exp_avg_sq"):
        found |= _sums(f"stack with optimizer, {moment}:", getattr(carried, moment))
    found["stack with optimizer, Adam's step"] = [float(carried.adam_step)]
    return found


def evaluate_golden(folder: Path) -> dict[str, Any]:
    """Return loss and standard error of fixed weights."""
    write_tokens(folder / "tokens")
    record = evaluate_checkpoint(
        EvaluateSpec(corpus="synthetic", context=32, batch_size=16),
        manifest=_fixed_weights(folder / "base"),
        tokens=folder / "tokens",
    )
    return {key: [record[key]] for key in ("loss_nats", "loss_se", "loss_nats_per_byte", "n_samples")}


GOLDEN = {"train": train_golden, "grow": grow_golden, "evaluate": evaluate_golden}


def main(stages: list[str]) -> None:
    for stage in stages or list(GOLDEN):
        with tempfile.TemporaryDirectory() as folder:
            numbers = GOLDEN[stage](Path(folder))
        record = {"revision": STAGES[stage][1], "device": provenance.device_kind("cpu"), "numbers": numbers}
        write_atomic(FOLDER / f"{stage}.json", canonical_json(record))


if __name__ == "__main__":
    main(sys.argv[1:])
