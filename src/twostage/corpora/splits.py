"""The split of a corpus into training and validation documents, and what to change if one of the two is empty."""

from __future__ import annotations

import hashlib
import math
import shlex

from twostage.common.errors import UserError
from twostage.corpora.files import Kind, corpus_files
from twostage.corpora.packed import unpacked_name
from twostage.study import Corpus, EmbeddedCorpus, FilesCorpus

SPLITS = ("train", "valid")
_POSITIONS = 2**64


def split_position(group: str) -> int:
    """Return the position of a group in [0, 2**64), from its hash."""
    digest = hashlib.sha256(b"split\0" + group.encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big")


def split_at(position: int, valid_fraction: float) -> str:
    """Return "valid" for about a fraction `valid_fraction` of all positions, the lowest, else "train".

    Adding or removing other documents moves no group to the other split.
    """
    return "valid" if position < valid_fraction * _POSITIONS else "train"


class SplitCounts:
    """Divides documents into the splits, and counts those of each."""

    def __init__(self, valid_fraction: float) -> None:
        self._valid_fraction = valid_fraction
        self._lowest, self._highest = _POSITIONS, -1
        self._documents = dict.fromkeys(SPLITS, 0)

    def add(self, group: str) -> str:
        """Count a document; return its split."""
        position = split_position(group)
        self._lowest, self._highest = min(self._lowest, position), max(self._highest, position)
        split = split_at(position, self._valid_fraction)
        self._documents[split] += 1
        return split

    def require_both(self, name: str, corpus: Corpus, copies: int) -> None:
        """Check that each split has a document.

        Args:
            copies: exact duplicates that were removed, for the message.

        Raises:
            UserError: a split is empty; the message has a change of the study or of the text that fills it.
        """
        key = f"corpora.{name}"
        n_documents = sum(self._documents.values())
        if not n_documents:
            raise UserError(
                f"{key}: the corpus is empty (no document with text); correct its paths, suffixes, text_key or filter"
            )
        if all(self._documents.values()):
            return
        if n_documents == 1:
            others = f" ({copies} others are copies of it)" if copies else ""
            limit = "" if corpus.max_bytes is None else f"raise max_bytes ({corpus.max_bytes}), or "
            raise UserError(
                f"{key}: a single document{others}, but training and validation need one each; {limit}{_more_text(corpus, copies)}"
            )
        if self._lowest == self._highest:
            raise UserError(f"{key}: all {n_documents} documents are of one source; {_more_sources(corpus)}")
        split, empty = ("training", "validation") if self._documents["train"] else ("validation", "training")
        longer = ", or raise max_bytes" if corpus.max_bytes is not None else ""
        raise UserError(
            f"{key}: no {empty} documents: with valid_fraction: {corpus.valid_fraction:g} all {n_documents} documents are in "
            f"the {split} split; set valid_fraction: {self._least_fraction()}{longer}, or split the text into more source files"
        )

    def _least_fraction(self) -> str:
        """Return the smallest fraction of few digits with which both splits have documents."""
        low, high = self._lowest / _POSITIONS, self._highest / _POSITIONS
        for digits in range(2, 17):
            unit = 10.0 ** (math.floor(math.log10(max(low, 1e-9))) + 1 - digits)
            text = f"{(math.floor(low / unit) + 1) * unit:.{digits}g}"
            if low < float(text) <= high:
                return text
        return repr((low + high) / 2)


def _more_text(corpus: Corpus, copies: int) -> str:
    if copies or not isinstance(corpus, FilesCorpus):
        return "add documents that differ"
    files = corpus_files(corpus)
    if (
        len(files) > 1
        or files[0].kind is not Kind.TEXT
        or unpacked_name(files[0].path.name) != files[0].path.name
    ):
        return "add documents"
    path = files[0].path
    parts = f"{path.stem}-part-"
    return (
        "split it into more files, e.g. with "
        f"`split -n l/100 -a 3 --additional-suffix={path.suffix} {shlex.quote(str(path))} {shlex.quote(parts)}`, "
        f"and set paths: [{parts + '*' + path.suffix!r}]"
    )


def _more_sources(corpus: Corpus) -> str:
    if not isinstance(corpus, EmbeddedCorpus) and corpus.group_key is not None:
        return f"group_key: {corpus.group_key} has the same value in each; choose another field, or remove group_key"
    return "add text of other sources"
