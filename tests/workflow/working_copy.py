"""A copy of the workflow in a temporary folder, in which tests edit code and studies and run the real Snakemake."""

from __future__ import annotations

import json
import os
import pydoc_data.topics
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "rules", "workflow", "profiles", "report", "src", "config", "results/published")


@dataclass
class Workflow:
    """One working copy."""

    root: Path

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run snakemake in the copy; return its stdout and stderr."""
        environment = {**os.environ, "PYTHONPATH": str(self.root / "src"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1500,
        )
        if check and done.returncode:
            raise AssertionError(f"snakemake {arguments} failed:\n{done.stdout[-6000:]}")
        return done

    def planned(self, *arguments: str) -> dict[str, int]:
        """Return the job counts of a dry-run by rule, without target rules; empty if there is nothing to do."""
        text = self.snakemake("-n", *arguments).stdout
        if "Nothing to be done" in text:
            return {}
        counts = dict(re.findall(r"^([a-z]\w*) +(\d+)$", text, flags=re.MULTILINE))
        targets = {"total", "all", "all_figures", "all_tables"}
        return {rule: int(count) for rule, count in counts.items() if rule not in targets}

    def edit_study(self, path: str, change) -> None:
        """Apply `change` to the parsed YAML and write it back."""
        file = self.root / path
        fields = yaml.safe_load(file.read_text())
        change(fields)
        file.write_text(yaml.safe_dump(fields, sort_keys=False))


def copy_workflow(target: Path) -> Workflow:
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / part)
    return Workflow(target)


FIRST_POINT = {"d1_steps": [20], "d2_steps": [20]}
LOW_RATE = {"schedule": "constant", "peak_lr_fraction": 0.1}
SMALL_STUDY = {
    "description": "A two-by-two grid of a very small model with every method; real text, for the test suite only.",
    "corpora": {
        "generic": {"source": "files", "paths": ["corpora/topics/*.txt"], "valid_fraction": 0.1},
        "code": {"source": "files", "paths": ["corpora/code"], "valid_fraction": 0.1},
        "math": {"source": "embedded", "domain": "math", "max_bytes": 300_000, "valid_fraction": 0.1},
    },
    "tokenizer": {"kind": "bpe", "vocab_size": 512, "train_bytes": 300_000},
    "context": 64,
    "models": {
        "8k": {"n_layer": 2, "d_model": 16, "n_head": 2, "batch_size": 8, "warmup_steps": 10, "peak_lr": 8e-3}
    },
    "grid": {"d1": {"trunk_steps": [20, 40]}, "d2": {"trunk_steps": [20, 40]}},
    "validation": {"every_steps": 5, "samples": 8},
    "ablations": {"schedule": {"model": "8k", "total_steps": 40}},
    "stage1": {"corpus": "generic"},
    "methods": {
        "cpt-code": {"kind": "cpt", "corpus": "code"},
        "cpt-math": {"kind": "cpt", "corpus": "math", "d1_steps": [20]},
        "cpt-code-replay": {
            "kind": "cpt",
            "corpus": "code",
            "replay": 0.25,
            **FIRST_POINT,
        },
        "stack": {"kind": "stack"},
        "expand": {"kind": "expand"},
        "stack-fresh": {"kind": "stack", "data": "fresh", **FIRST_POINT},
        "stack-low": {"kind": "stack", **LOW_RATE, **FIRST_POINT},
        "cpt-code-low": {"kind": "cpt", "corpus": "code", **LOW_RATE, **FIRST_POINT},
    },
}

_ONE_CELL = {"models": ["5k"], "d1_steps": [20], "d2_steps": [20]}
_LOW_LR = {"schedule": "constant", "peak_lr_fraction": 0.1, "warmup_steps": 0}
#: Every method, ablation, figure and table at least once: three sizes for the laws over N, single cells for variants.
EVERY_STUDY = SMALL_STUDY | {
    "description": "Every method, ablation and figure at least once, at three very small sizes; for the test suite only.",
    "models": {
        name: {
            "n_layer": 2,
            "d_model": width,
            "n_head": 2,
            "batch_size": 8,
            "warmup_steps": 10,
            "peak_lr": 8e-3,
        }
        for name, width in (("2k", 8), ("5k", 12), ("13k", 20))
    },
    "validation": {"every_steps": 5, "samples": 16},
    "methods": {
        "cpt-code": {"kind": "cpt", "corpus": "code"},
        "stack": {"kind": "stack"},
        "cpt-math": {"kind": "cpt", "corpus": "math", "models": ["5k"]},
        "expand": {"kind": "expand", "models": ["5k"]},
        "cpt-code-replay": {"kind": "cpt", "corpus": "code", "replay": 0.25, "models": ["5k"]},
        "cpt-code-stable": {"kind": "cpt", "corpus": "code", "start": "trunk", **_ONE_CELL},
        "stack-x4": {"kind": "stack", "factor": 4, **_ONE_CELL},
        "stack-stable": {"kind": "stack", "start": "trunk", **_ONE_CELL},
        "expand-zero": {"kind": "expand", "init": "zero", **_ONE_CELL},
        "stack-code": {
            "kind": "stack",
            "corpus": "code",
            **_ONE_CELL,
        },  # growth combined with another corpus
        "stack-fresh": {"kind": "stack", "data": "fresh", **_ONE_CELL},
        "cpt-code-low-lr": {"kind": "cpt", "corpus": "code", **_LOW_LR, **_ONE_CELL},
        "stack-low-lr": {"kind": "stack", **_LOW_LR, **_ONE_CELL},
    },
    "scratch": {"code": {"corpus": "code"}},
    "ablations": {"schedule": {"model": "5k", "total_steps": 50}},
    "repeats": [{"seeds": [1], "methods": ["stack"], "models": ["5k"], "d1_steps": [20], "d2_steps": [20]}],
    "checkpoints": {
        "base_trunk": "protect",
        "base_decay": "protect",
        "grown": "release",
        "stage2_trunk": "release",
    },
}


def write_corpora(workflow: Workflow) -> None:
    """Write the corpora of SMALL_STUDY: real text of this Python installation."""
    topics = workflow.root / "corpora/topics"
    topics.mkdir(parents=True)
    for name, text in pydoc_data.topics.topics.items():
        (topics / f"{re.sub(r'[^A-Za-z0-9]', '_', name)}.txt").write_text(text)
    code = workflow.root / "corpora/code"
    code.mkdir()
    for package in ("asyncio", "email", "json"):
        shutil.copytree(
            Path(sysconfig.get_path("stdlib"), package),
            code / package,
            ignore=shutil.ignore_patterns("__pycache__"),
        )


def write_small_study(workflow: Workflow) -> None:
    """Write config/small.yaml, config/every.yaml and their corpora."""
    write_corpora(workflow)
    for name, study in (("small", SMALL_STUDY), ("every", EVERY_STUDY)):
        # Copies, because YAML would write shared objects as anchors.
        plain = json.loads(json.dumps(study))
        (workflow.root / f"config/{name}.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
