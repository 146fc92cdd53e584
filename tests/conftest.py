"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import random
import subprocess
import time
from pathlib import Path

import pytest

# Before NumPy and torch are imported: pytest-xdist starts one process per core, and threads of their own would compete.
os.environ.setdefault("OMP_NUM_THREADS", "1")

TRAINING_FOLDERS = ("training", "evaluation", "model", "gpu", "slurm")
LAST_SLURM_RUN = Path(__file__).parent / "slurm/last-run.txt"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--slurm-report", type=Path, help="write date and result of each Slurm test to this file"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what trains a model, and put the longest modules first, so that no process is left with one at the end."""
    for item in items:
        if "corpus_folder" in getattr(item, "fixturenames", ()) or item.path.parent.name in TRAINING_FOLDERS:
            item.add_marker("long")
    longest = {
        mark: {item.path for item in items if item.get_closest_marker(mark)} for mark in ("workflow", "long")
    }
    items.sort(key=lambda item: (item.path not in longest["workflow"], item.path not in longest["long"]))


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """Record the result of the Slurm tests, or report the last recorded result."""
    target = config.getoption("--slurm-report")
    if target:
        found = [
            (report.nodeid, outcome)
            for outcome in ("passed", "failed", "skipped", "error")
            for report in terminalreporter.stats.get(outcome, [])
        ]
        counts = ", ".join(
            f"{sum(outcome == kind for _, outcome in found)} {kind}"
            for kind in ("passed", "failed", "skipped", "error")
        )
        lines = [
            f"{time.strftime('%Y-%m-%d')}, commit {_commit()}: {counts}",
            *(f"{outcome:8}{test}" for test, outcome in sorted(found)),
        ]
        target.write_text("\n".join(lines) + "\n")
    elif LAST_SLURM_RUN.is_file():
        first = LAST_SLURM_RUN.read_text().splitlines()[0]
        terminalreporter.write_line(
            f"all Slurm tests, last run {first} (tests/slurm/last-run.txt, `make test-slurm`)"
        )


def _commit() -> str:
    words = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(words, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tokenised corpus "words" with a vocabulary of 300, made by the real pipeline from generated text."""
    from twostage.common.storage import write_atomic
    from twostage.corpora.corpus import prepare_corpus
    from twostage.corpora.tokenizer import make_tokenizer
    from twostage.corpora.tokens import tokenize_corpus
    from twostage.study import BpeTokenizer, FilesCorpus

    root = tmp_path_factory.mktemp("corpus")
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 7))) for _ in range(120)]
    for number in range(40):
        # Words follow a rank-frequency law, so that a model can learn something.
        text = " ".join(words[min(int(draw.paretovariate(0.7)) - 1, len(words) - 1)] for _ in range(400))
        write_atomic(root / f"text/{number}.txt", text)
    corpus = FilesCorpus(source="files", paths=(str(root / "text/*.txt"),), valid_fraction=0.2)
    prepare_corpus("words", corpus, root / "documents")
    documents = root / "documents/manifest.json"
    write_atomic(
        root / "tokenizer.json",
        make_tokenizer(BpeTokenizer(kind="bpe", vocab_size=300, train_bytes=100_000), [documents]),
    )
    tokenize_corpus(documents, root / "tokenizer.json", root / "tokens")
    return root / "tokens"


@pytest.fixture(scope="module")
def trunk(corpus_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trunk of 20 steps, trained in a single segment."""
    from tiny_training import run, train_spec

    return run(train_spec(), tmp_path_factory.mktemp("trunk"), corpus_folder)


@pytest.fixture(scope="module")
def half(corpus_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 10 steps of `trunk`."""
    from tiny_training import run, train_spec

    return run(train_spec(stop_step=10), tmp_path_factory.mktemp("half"), corpus_folder)


@pytest.fixture(scope="module")
def learned(corpus_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of a decayed checkpoint after 100 + 10 steps, far enough from the initial weights."""
    from tiny_training import losses, manifest, run, train_spec

    folder = tmp_path_factory.mktemp("learned")
    first = run(train_spec(stop_step=100), folder / "trunk", corpus_folder)
    spec = train_spec(start_step=100, stop_step=110, decay_start=100, origin="state")
    out = run(spec, folder / "decay", corpus_folder, parent=manifest(first))
    assert losses(out)[-1] < losses(first)[0] - 1
    return manifest(out)
