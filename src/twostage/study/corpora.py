"""Sections `corpora` and `tokenizer`: where text comes from and how it becomes tokens."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from twostage.study.base import Frozen, Share


class EmbeddedCorpus(Frozen):
    """Text that an installed Python environment already holds; needs no download."""

    source: Literal["embedded"]
    domain: Literal["generic", "code", "math"] = Field(description="which of the three embedded domains")
    max_bytes: int | None = Field(
        None, gt=0, description="stop after this many bytes of text; null: everything"
    )
    valid_fraction: Share = Field(0.02, description="share of source files held out for validation")


class FilesCorpus(Frozen):
    """Local text: .txt, .jsonl[.gz|.zst], .parquet, or directories of source files."""

    source: Literal["files"]
    paths: tuple[str, ...] = Field(min_length=1, description="files, globs or directories")
    text_key: str = Field("text", description="field or column that holds the text")
    group_key: str | None = Field(
        None,
        description="field that names a document's source; default: its file, or in .jsonl and .parquet the record itself",
    )
    suffixes: tuple[str, ...] = Field((".py",), description="file endings read from a directory")
    max_bytes: int | None = Field(
        None, gt=0, description="stop after this many bytes of text; null: everything"
    )
    valid_fraction: Share = Field(0.02, description="share of source files held out for validation")


Corpus = Annotated[EmbeddedCorpus | FilesCorpus, Field(discriminator="source")]


class BpeTokenizer(Frozen):
    """A byte-level BPE trained on the train splits of all corpora, in their order in the study."""

    kind: Literal["bpe"]
    vocab_size: int = Field(ge=258, le=1_000_000, description="entries, end-of-document token included")
    train_bytes: int = Field(
        16_000_000, gt=0, description="bytes of text read for training, over all corpora"
    )


class TokenizerFile(Frozen):
    """An existing `tokenizer.json`."""

    kind: Literal["file"]
    path: str = Field(description="local path of a tokenizer.json")
    vocab_size: int = Field(ge=258, le=1_000_000, description="entries; must match the file")


Tokenizer = Annotated[BpeTokenizer | TokenizerFile, Field(discriminator="kind")]
