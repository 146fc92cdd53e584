"""Documents of local files: text, JSON lines, JSON and parquet. `files.py` lists the files, `records.py` reads records.

Errors name the file and line. `corpus.py` decides which documents are kept, and their split.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from twostage.common.errors import UserError
from twostage.corpora import records
from twostage.corpora.files import Kind, SourceFile, corpus_files
from twostage.corpora.packed import UNREADABLE, open_unpacked, unreadable
from twostage.study import FilesCorpus, HuggingFaceCorpus

log = logging.getLogger(__name__)

#: Largest share of a corpus's text files that may be left out without `on_bad_text: skip`.
BAD_TEXT_SHARE = 0.01
_LOGGED = 10


@dataclass(frozen=True)
class Document:
    """One text. `group` determines its split: all documents of a group are in the same split."""

    text: str
    group: str
    package: str = ""


@dataclass
class BadText:
    """Counts the texts of a corpus that are left out, because they are not in its encoding or their link has no target."""

    count: int = 0
    files_read: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, problem: UserError) -> None:
        """Leave one text out. The first ones are logged."""
        self.count += 1
        if len(self.problems) < _LOGGED:
            self.problems.append(str(problem))
            log.warning("left out: %s", problem)

    def check(self, corpus: FilesCorpus, n_files: int) -> None:
        """Check that at most `BAD_TEXT_SHARE` of the text files are left out, unless the corpus allows more.

        Raises:
            UserError: more files are left out; the message has the first one.
        """
        if corpus.on_bad_text == "refuse" and self.count > BAD_TEXT_SHARE * n_files:
            several = f"more than {BAD_TEXT_SHARE:.0%} of {n_files} text files can't be read; the first: "
            raise UserError((several if n_files > 1 else "") + self.problems[0])


def read_files(corpus: FilesCorpus, bad: BadText | None = None) -> Iterator[Document]:
    """Yield the documents of a corpus of local files in the order of `corpus_files`.

    A text or source file is one document. Its group is its path relative to the folder, or its name if `paths` lists the
    file itself, so that moving a corpus keeps the split. A record of a file of records is one document. Its group is the value
    of `group_key`, or its text if there is no `group_key`.

    Args:
        bad: counts what is left out. A caller that stops early must call its `check`.

    Raises:
        UserError: a file is missing, unsupported or unreadable, or too many are not in the corpus's encoding; the message has
            the file (and line).
    """
    bad = BadText() if bad is None else bad
    files = corpus_files(corpus)
    n_texts = sum(file.kind is Kind.TEXT for file in files)
    for file in files:
        if file.kind is not Kind.TEXT:
            yield from _read_records(file, corpus, bad)
            continue
        bad.files_read += 1
        try:
            text = _read_text(file.path, corpus.encoding)
        except _NotTextError as error:
            bad.add(error)
            bad.check(corpus, n_texts)
        else:
            yield Document(text, file.group)


class _NotTextError(UserError):
    """A file that may be left out."""


def _read_text(path: Path, encoding: str) -> str:
    try:
        with open_unpacked(path) as stream:
            data = stream.read()
        return data.decode(encoding)
    except UnicodeError as error:
        raise _NotTextError(str(records.not_text(str(path), encoding, error))) from None
    except FileNotFoundError:
        raise _NotTextError(f"{path}: a link without a target; fetch the file, or remove the link") from None
    except UNREADABLE as error:
        raise unreadable(path, error) from None


def _read_records(file: SourceFile, corpus: FilesCorpus, bad: BadText) -> Iterator[Document]:
    wanted = {key for key in (corpus.text_key, corpus.group_key) if key is not None}
    undecodable = bad.add if corpus.on_bad_text == "skip" else None
    match file.kind:
        case Kind.PARQUET:
            rows = records.parquet_rows(file.path, wanted)
        case Kind.JSON:
            rows = records.json_records(file.path, corpus.encoding, undecodable)
        case _:
            rows = records.json_lines(file.path, corpus.encoding, undecodable)
    for where, row in rows:
        yield document_of(corpus, partial(records.field, row, where), where)


def document_of(
    corpus: FilesCorpus | HuggingFaceCorpus, value_of: Callable[[str, str], Any], where: str
) -> Document:
    """Return the document of one record. A text that is null is empty.

    Args:
        value_of: function (name of a field, key of the study that names it) -> value of the field.
        where: the record, for error messages.

    Raises:
        UserError: the value of `text_key` is not text.
    """
    text = value_of(corpus.text_key, "text_key")
    if text is None:
        text = ""
    if not isinstance(text, str):
        raise UserError(
            f"{where}: {corpus.text_key!r} holds {type(text).__name__}, not text; choose another text_key"
        )
    return Document(text, text if corpus.group_key is None else str(value_of(corpus.group_key, "group_key")))
