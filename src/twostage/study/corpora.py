"""Sections `corpora` and `tokenizer`: the sources of text and the tokenizer."""

from __future__ import annotations

import codecs
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from twostage.common.sections import Frozen, Name, Share

#: Placeholder for a commit that `twostage pin` looks up. Planning accepts it; downloading does not.
PIN_ME = "PIN_ME"
#: File formats that `datasets` reads from `data_files` without a repository.
LOCAL_BUILDERS = frozenset({"arrow", "csv", "json", "parquet", "text"})
UTF8 = "utf-8"


def _commit(value: str) -> str:
    if value != PIN_ME and not re.fullmatch(r"[0-9a-f]{40}", value):
        raise ValueError(
            "a revision must be a commit of 40 hexadecimal digits, because branches and tags can move; "
            f"write {PIN_ME} and run `twostage pin STUDY.yaml` to look it up"
        )
    return value


Revision = Annotated[str, AfterValidator(_commit)]


def _repository(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", value):
        raise ValueError(
            f"{value!r} is not the id of a repository; write owner/name, as in the address of its page"
        )
    return value


RepositoryId = Annotated[str, AfterValidator(_repository)]


class EmbeddedCorpus(Frozen):
    """Text from the installed Python environment; needs no download."""

    source: Literal["embedded"]
    domain: Literal["generic", "code", "math"] = Field(description="which of the three embedded domains")
    max_bytes: int | None = Field(
        None, gt=0, description="stop after this many bytes of text; null: everything"
    )
    valid_fraction: Share = Field(0.02, description="share of source files held out for validation")


def _text_encoding(value: str) -> str:
    try:
        codec = codecs.lookup(value)
        "text".encode(codec.name)
    except (LookupError, UnicodeError):
        raise ValueError(
            f"{value!r} is not an encoding of text that Python knows; write e.g. utf-8, cp1252, latin-1 or utf-16"
        ) from None
    # A byte-order mark is removed from every text.
    return {"utf-8-sig": UTF8}.get(codec.name, codec.name)


class FilesCorpus(Frozen):
    """Local text: .txt, .jsonl, .ndjson, .json (also .gz, .zst, .bz2, .xz), .parquet, or folders of such or of source files."""

    source: Literal["files"]
    paths: tuple[str, ...] = Field(min_length=1, description="files, globs or folders")
    text_key: str = Field(
        "text", description="field or column that holds the text; dots select nested fields"
    )
    group_key: str | None = Field(
        None,
        description="field that names a document's source, which decides its split; default: the file, or in files of records the record",
    )
    suffixes: tuple[str, ...] = Field(
        (".py",),
        description="file endings read from a folder, and those of text besides .txt; .jsonl, .ndjson, .json and .parquet are always records",
    )
    # These two are left out of specs at their defaults: they are newer than finished studies.
    encoding: Annotated[str, AfterValidator(_text_encoding)] = Field(
        UTF8,
        exclude_if=lambda value: value == UTF8,
        description="encoding of text and JSON files, e.g. cp1252, latin-1 or utf-16",
    )
    on_bad_text: Literal["refuse", "skip"] = Field(
        "refuse",
        exclude_if=lambda value: value == "refuse",
        description="text that is not in this encoding: refuse it (at most 1 % of the text files are left out) or skip it; both are counted",
    )
    max_bytes: int | None = Field(
        None, gt=0, description="stop after this many bytes of text; null: everything"
    )
    valid_fraction: Share = Field(0.02, description="share of source files held out for validation")


class HuggingFaceCorpus(Frozen):
    """A data set of the Hugging Face Hub, read by streaming, or a local copy of one."""

    source: Literal["huggingface"]
    dataset: str = Field(
        min_length=1,
        description="repository id, local folder (/..., ./..., ~/...), or with data_files a format: json | parquet | csv | text | arrow",
    )
    config: str | None = Field(None, description="named configuration of the repository; null: its default")
    split: str = Field("train", min_length=1, description="split to read; valid_fraction of it is held out")
    data_files: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="files or globs in the repository or folder; null: all files of the split",
    )
    data_dir: str | None = Field(None, description="folder in the repository; null: all folders")
    revision: Revision | None = Field(
        None, description="commit of the repository, or PIN_ME until `twostage pin`; null for a local copy"
    )
    file_stride: int = Field(
        1,
        gt=0,
        description="read every k-th file first, then the files after those, so that max_bytes does not leave out whole subjects; 1: in order",
    )
    text_key: str = Field("text", description="column that holds the text; dots select nested columns")
    group_key: str | None = Field(
        None,
        description="column that names a document's source, which decides its split; default: the document itself",
    )
    filter: dict[str, str | int | bool] | None = Field(
        None, description="keep only rows with these values, {column: value}; dots select nested columns"
    )
    max_bytes: int | None = Field(
        None, gt=0, description="stop after this many bytes of text; null: everything"
    )
    valid_fraction: Share = Field(0.02, description="share of source files held out for validation")

    @property
    def is_local(self) -> bool:
        """Whether `dataset` is a local folder or a file format, not a repository."""
        return self.dataset in LOCAL_BUILDERS or self.dataset.startswith(("/", "./", "../", "~"))

    @model_validator(mode="after")
    def _check_revision(self) -> HuggingFaceCorpus:
        remote = [name for name in self.data_files or () if "://" in name]
        if remote:
            raise ValueError(
                f"data_files: {remote[0]!r} is a URL; name the repository in `dataset`, so that its commit can be pinned, "
                "and write paths relative to it"
            )
        if self.is_local:
            if self.revision is not None:
                raise ValueError(f"revision: {self.dataset!r} is local and has no revision; remove the key")
            if self.dataset in LOCAL_BUILDERS and self.data_files is None:
                raise ValueError(
                    f"data_files: missing; {self.dataset!r} is a file format; list the files to read"
                )
            return self
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", self.dataset):
            raise ValueError(
                f"dataset: {self.dataset!r} is neither a repository id (owner/name) nor a local folder "
                f"(/..., ./..., ~/...) nor one of {sorted(LOCAL_BUILDERS)}"
            )
        if self.revision is None:
            raise ValueError(
                f"revision: missing; write `revision: {PIN_ME}` and run `twostage pin STUDY.yaml` to look the commit up"
            )
        return self


Corpus = Annotated[EmbeddedCorpus | FilesCorpus | HuggingFaceCorpus, Field(discriminator="source")]


class _Tokenizer(Frozen):
    frozen: bool = Field(
        False,
        exclude=True,
        description="keep the tokenizer once it is made, also when the text that it was trained on changes",
    )


class BpeTokenizer(_Tokenizer):
    """A byte-level BPE tokenizer, trained on the training splits of corpora of the study."""

    kind: Literal["bpe"]
    vocab_size: int = Field(
        ge=258, le=1_000_000, description="number of entries, including the end-of-document token"
    )
    train_bytes: int = Field(
        16_000_000, gt=0, description="bytes of text read for training, over all corpora"
    )
    corpora: tuple[Name, ...] | None = Field(
        None,
        min_length=1,
        exclude=True,
        description="corpora to train it on, in this order; default: all corpora of the study, so that adding or removing a "
        "corpus makes another tokenizer and trains every model again",
    )


class TokenizerFile(_Tokenizer):
    """An existing `tokenizer.json`, or a SentencePiece `tokenizer.model` such as LLaMA's."""

    kind: Literal["file"]
    path: str = Field(description="local path of a tokenizer.json or a SentencePiece tokenizer.model")
    vocab_size: int = Field(ge=258, le=1_000_000, description="entries; must match the file")


class HuggingFaceTokenizer(_Tokenizer):
    """A `tokenizer.json` or `tokenizer.model` from a repository of the Hugging Face Hub."""

    kind: Literal["huggingface"]
    repository: RepositoryId = Field(description="id of a model repository, e.g. owner/name")
    revision: Revision = Field(description="commit of the repository, or PIN_ME until `twostage pin`")
    file: Literal["tokenizer.json", "tokenizer.model"] = "tokenizer.model"
    vocab_size: int = Field(ge=258, le=1_000_000, description="entries; must match the file")


Tokenizer = Annotated[BpeTokenizer | TokenizerFile | HuggingFaceTokenizer, Field(discriminator="kind")]
