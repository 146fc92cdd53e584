"""Fixtures that several test modules share."""

from __future__ import annotations

import random
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tokenised corpus "words" with a vocabulary of 300, made by the real pipeline from generated text."""
    from twostage.corpus import prepare_corpus
    from twostage.storage import write_atomic
    from twostage.study import BpeTokenizer, FilesCorpus
    from twostage.tokenizer import make_tokenizer
    from twostage.tokens import tokenize_corpus

    root = tmp_path_factory.mktemp("corpus")
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 7))) for _ in range(120)]
    for number in range(40):
        # A rank-frequency law, so that there is something to learn.
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
