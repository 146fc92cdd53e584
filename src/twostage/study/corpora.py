"""Sections `corpora` and `tokenizer`: where text comes from and how it becomes tokens."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from twostage.common.sections import Frozen, Share

#: Stands for a commit that `twostage pin` will look up; may be planned with, not downloaded with.
PIN_ME = "PIN_ME"
#: Formats that `datasets` reads from `data_files` without a repository.
LOCAL_BUILDERS = frozenset({"arrow", "csv", "json", "parquet", "text"})


def _commit(value: str) -> str:
    if value != PIN_ME and not re.fullmatch(r"[0-9a-f]{40}", value):
        raise ValueError(
            "a revision is a commit of 40 hexadecimal digits, because branches and tags can move; "
            f"write {PIN_ME} and run `twostage pin STUDY.yaml`, which looks it up"
        )
    return value


Revision = Annotated[str, AfterValidator(_commit)]
RepositoryId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*(/[\w.-]+)?$")]


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


class HuggingFaceCorpus(Frozen):
    """A data set of the Hugging Face Hub, read by streaming; or a local copy that `datasets` reads the same way."""

    source: Literal["huggingface"]
    dataset: str = Field(
        min_length=1,
        description="repository id; or a local folder (/..., ./..., ~/...), or json | parquet | csv | text | arrow with data_files",
    )
    config: str | None = Field(None, description="named configuration of the repository; null: its default")
    split: str = Field(
        "train", min_length=1, description="split that is read, valid_fraction is taken from it"
    )
    data_files: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="files or globs inside of the repository or folder; null: all of the split",
    )
    data_dir: str | None = Field(None, description="folder inside of the repository; null: all of it")
    revision: Revision | None = Field(
        None, description="commit of the repository, or PIN_ME until `twostage pin`; null for a local copy"
    )
    file_stride: int = Field(
        1,
        gt=0,
        description="read every k-th file, then the next ones, so that max_bytes cuts no subject off; 1: in order",
    )
    text_key: str = Field("text", description="column that holds the text; dots lead into nested columns")
    group_key: str | None = Field(
        None,
        description="column that names a document's source, which decides its split; default: the document",
    )
    filter: dict[str, str | int | bool] | None = Field(
        None,
        description="keep only rows that have these values, {column: value}; dots lead into nested columns",
    )
    max_bytes: int | None = Field(
        None, gt=0, description="stop after this many bytes of text; null: everything"
    )
    valid_fraction: Share = Field(0.02, description="share of source files held out for validation")

    @property
    def is_local(self) -> bool:
        """Whether `dataset` is a folder or a file format rather than a repository."""
        return self.dataset in LOCAL_BUILDERS or self.dataset.startswith(("/", "./", "../", "~"))

    @model_validator(mode="after")
    def _pinned_where_it_can_move(self) -> HuggingFaceCorpus:
        remote = [name for name in self.data_files or () if "://" in name]
        if remote:
            raise ValueError(
                f"data_files: {remote[0]!r} is an address; name the repository in `dataset`, so that it can be pinned, "
                "and write names relative to it"
            )
        if self.is_local:
            if self.revision is not None:
                raise ValueError(f"revision: {self.dataset!r} is local and has none; remove the key")
            if self.dataset in LOCAL_BUILDERS and self.data_files is None:
                raise ValueError(
                    f"data_files: missing; {self.dataset!r} is a file format, list the files to be read"
                )
            return self
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", self.dataset):
            raise ValueError(
                f"dataset: {self.dataset!r} is neither a repository id (owner/name) nor a local folder "
                f"(/..., ./..., ~/...) nor one of {sorted(LOCAL_BUILDERS)}"
            )
        if self.revision is None:
            raise ValueError(
                f"revision: missing; write `revision: {PIN_ME}` and run `twostage pin STUDY.yaml`, which looks the commit up"
            )
        return self


Corpus = Annotated[EmbeddedCorpus | FilesCorpus | HuggingFaceCorpus, Field(discriminator="source")]


class BpeTokenizer(Frozen):
    """A byte-level BPE trained on the train splits of all corpora, in their order in the study."""

    kind: Literal["bpe"]
    vocab_size: int = Field(ge=258, le=1_000_000, description="entries, end-of-document token included")
    train_bytes: int = Field(
        16_000_000, gt=0, description="bytes of text read for training, over all corpora"
    )


class TokenizerFile(Frozen):
    """An existing `tokenizer.json`, or LLaMA's SentencePiece `tokenizer.model`."""

    kind: Literal["file"]
    path: str = Field(description="local path of a tokenizer.json or a SentencePiece tokenizer.model")
    vocab_size: int = Field(ge=258, le=1_000_000, description="entries; must match the file")


class HuggingFaceTokenizer(Frozen):
    """The same, from a repository of the Hugging Face Hub."""

    kind: Literal["huggingface"]
    repository: RepositoryId = Field(description="id of a model repository, e.g. owner/name")
    revision: Revision = Field(description="commit of the repository, or PIN_ME until `twostage pin`")
    file: Literal["tokenizer.json", "tokenizer.model"] = "tokenizer.model"
    vocab_size: int = Field(ge=258, le=1_000_000, description="entries; must match the file")


Tokenizer = Annotated[BpeTokenizer | TokenizerFile | HuggingFaceTokenizer, Field(discriminator="kind")]
