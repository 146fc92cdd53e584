"""Synthetic text for tests of corpora: documents, folders of them, and a corpus that reads them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from twostage.study import FilesCorpus

WORDS = [f"word{number}" for number in range(5000)]


def files_corpus(*paths: Path | str, **keys: Any) -> FilesCorpus:
    """A corpus of these files; a fifth of it is held out."""
    return FilesCorpus(source="files", paths=tuple(map(str, paths)), **{"valid_fraction": 0.2, **keys})


def made_up_text(seed: int, n_words: int = 60) -> str:
    """Words drawn at random; equal seeds give equal texts."""
    return " ".join(random.Random(seed).choices(WORDS, k=n_words))


def write_texts(folder: Path, texts: list[str]) -> Path:
    """One .txt file for each text, in a new folder."""
    folder.mkdir(parents=True)
    for number, text in enumerate(texts):
        (folder / f"{number:04d}.txt").write_text(text, encoding="utf-8")
    return folder
