"""Which files a corpus of local files is read from, without reading them: to see whether its text has changed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from twostage.common.errors import UserError
from twostage.corpora.files import SourceFile, corpus_files
from twostage.study import FilesCorpus

_MAX_COMPARED = 10_000


def fingerprint(corpus: FilesCorpus) -> dict[str, Any]:
    """Return number, size and digest of the files of a corpus. The digest is of their names and sizes.

    Names are relative to the folders in `paths`, so a copy of the folder has the same fingerprint.
    """
    files = [(file.group, _size(file)) for file in corpus_files(corpus)]
    text = "\n".join(f"{name}\0{size}" for name, size in files)
    return {
        "files": len(files),
        "bytes": sum(size for _, size in files),
        "sha256": hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest(),
    }


def has_same_files(before: FilesCorpus, now: FilesCorpus, recorded: dict[str, Any] | None) -> bool:
    """Return whether two definitions read the same files.

    Args:
        recorded: the fingerprint when the corpus was prepared with `before`; None if it was not recorded (version 0.1), and
            then the files of `before` must still exist.
    """
    try:
        if recorded is not None:
            return fingerprint(now) == recorded
        return _resolved(before) == _resolved(now)
    except (UserError, OSError):  # the files of one of them do not exist
        return False


def changed_files(corpus: FilesCorpus, recorded: dict[str, Any]) -> tuple[str, str] | None:
    """Return (files when the corpus was prepared, files now) if names or sizes differ; None if they are the same.

    Files that no longer exist at all are not a change: the text may have been removed after it was prepared. Corpora of many
    files are not compared, because listing them takes long on a network disk.
    """
    if recorded["files"] > _MAX_COMPARED:
        return None
    try:
        now = fingerprint(corpus)
    except (UserError, OSError):
        return None
    if now == recorded:
        return None
    return _summary(recorded), _summary(now)


def _summary(recorded: dict[str, Any]) -> str:
    return f"{recorded['files']} files of {recorded['bytes']:,} bytes"


def _resolved(corpus: FilesCorpus) -> list[Path]:
    return [file.path.resolve() for file in corpus_files(corpus)]


def _size(file: SourceFile) -> int:
    return file.path.stat().st_size if file.path.exists() else 0  # a link without a target
