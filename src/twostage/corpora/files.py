"""Which local files a corpus has: paths, globs and folders become a list of files, each with the way to read it.

A real file is listed once, at the first path that leads to it. Links to files and folders are followed; a loop of links ends.
The commands that only look at a corpus use this list too. `readers.py` reads the files.
"""

from __future__ import annotations

import fnmatch
import functools
import glob
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ParamSpec, TypeVar

from twostage.common.errors import UserError
from twostage.corpora.packed import PACKINGS, unpacked_name
from twostage.study import FilesCorpus

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Kind(StrEnum):
    """How a file is read."""

    TEXT = "one document"
    JSON_LINES = "one JSON object for each line"
    JSON = "one JSON object for each line, or a list of objects"
    PARQUET = "parquet"


#: Files with these endings are always records, whatever `suffixes` says. All but .parquet may be compressed.
RECORDS = {
    ".jsonl": Kind.JSON_LINES,
    ".ndjson": Kind.JSON_LINES,
    ".json": Kind.JSON,
    ".parquet": Kind.PARQUET,
}
_READABLE = f".txt, {', '.join(RECORDS)} ({', '.join(PACKINGS)} after any but .parquet), or add its ending to `suffixes`"
#: Other records, which only `source: huggingface` reads: ending -> its value of `dataset`.
_TABLES = {".csv": "csv", ".arrow": "arrow"}
#: Endings that a folder is probably meant for, before all others. Not .json, which also holds the settings of a program.
_USUAL = frozenset({".txt", ".py", *RECORDS} - {".json"})


@dataclass(frozen=True)
class SourceFile:
    """A file of a corpus. `group`: its path relative to the folder, or its name if `paths` has the file itself."""

    path: Path
    group: str
    kind: Kind


def kind_of(name: str, suffixes: tuple[str, ...]) -> Kind | None:
    """Return how a file of this name is read; None if it is neither a file of records nor of text."""
    plain = unpacked_name(name)
    ending = Path(plain).suffix
    kind = RECORDS.get(ending)
    if ending in _TABLES or (kind is Kind.PARQUET and plain != name):
        return None
    if kind is not None:
        return kind
    endings = (".txt", *suffixes)
    return Kind.TEXT if name.endswith(endings) or plain.endswith(endings) else None


def _errors_named(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Turn errors of the file system into messages: without them, files would be missing without a word."""

    @functools.wraps(function)
    def named(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except OSError as error:
            raise UserError(
                f"{error.filename}: can't be read ({error.strerror}); correct the path or its permissions"
            ) from None

    return named


@_errors_named
def source_files(paths: Sequence[str], suffixes: tuple[str, ...]) -> list[SourceFile]:
    """Return the files of a corpus in the order of `paths`; those of globs and folders are sorted.

    In a folder, files that end in one of the `suffixes` are listed, except in hidden folders. A link is listed only if no
    other path leads to its target. A link without a target is listed, so that the reader can count it.

    Raises:
        UserError: a path does not exist, a glob matches nothing, a folder has no file with one of the endings or can't be
            read, or a file is of an unknown kind.
    """
    found: dict[str, SourceFile] = {}
    real_folders: dict[Path, str] = {}
    for path in expand_paths(paths):
        if not path.is_dir():
            found.setdefault(_real_path(path, real_folders), _source_file(path, path.name, suffixes))
            continue
        inside = _files_below(path, suffixes)
        if not inside:
            raise UserError(_without_files(path, suffixes))
        for real, file in inside.items():
            found.setdefault(real, _source_file(file, file.relative_to(path).as_posix(), suffixes))
    return list(found.values())


def _source_file(path: Path, group: str, suffixes: tuple[str, ...]) -> SourceFile:
    kind = kind_of(path.name, suffixes)
    if kind is not None:
        return SourceFile(path, group, kind)
    if builder := _TABLES.get(Path(unpacked_name(path.name)).suffix):
        raise UserError(
            f"{path}: a table, not text; write a corpus with source: huggingface, dataset: {builder}, data_files: [{str(path)!r}], "
            "and text_key: the column with the text"
        )
    raise UserError(f"{path}: unsupported file type; use {_READABLE}")


def _real_path(path: Path, real_folders: dict[Path, str]) -> str:
    """Return `os.path.realpath` of a file with one look at the disk; `real_folders` holds those of folders."""
    if path.is_symlink():
        return os.path.realpath(path)
    if path.parent not in real_folders:
        real_folders[path.parent] = os.path.realpath(path.parent)
    return f"{real_folders[path.parent]}/{path.name}"


def corpus_files(corpus: FilesCorpus) -> list[SourceFile]:
    """Return the files of a corpus, see `source_files`."""
    return source_files(corpus.paths, corpus.suffixes)


# Paths and globs ------------------------------------------------------------------------------------------------------


@_errors_named
def expand_paths(paths: Sequence[str]) -> list[Path]:
    """Return files and folders in the given order, the matches of each glob sorted, without repetitions.

    Raises:
        UserError: a path does not exist, or a glob matches nothing.
    """
    found: dict[Path, None] = {}
    for pattern in paths:
        path = Path(os.path.expanduser(pattern))  # noqa: PTH111 (Path refuses names such as ~draft.txt)
        if path.exists():
            matches = [path]
        elif glob.has_magic(str(path)):
            anchor, *parts = path.parts if path.is_absolute() else (".", *path.parts)
            matches = sorted(set(_matches(Path(anchor), parts)), key=str)
            if not matches:
                raise UserError(
                    f"paths: {pattern!r} matches no file (working directory {Path.cwd()}); correct the pattern"
                )
        else:
            raise UserError(
                f"paths: {pattern!r} does not exist (working directory {Path.cwd()}); correct the path"
            )
        found.update(dict.fromkeys(matches))
    return list(found)


def _matches(folder: Path, parts: list[str]) -> Iterator[Path]:
    """Yield the paths below a folder that match the parts of a glob.

    As in `glob.glob`, `**` stands for any number of folders and hidden names need a pattern with a dot. `glob.glob` follows
    links without end. A part that exists by its literal name, such as `[2024] books`, is no pattern.
    """
    if not parts:
        yield folder
        return
    part, *rest = parts
    if part == "**":
        for below in _folders(folder):
            yield from _matches(below, rest or ["*"])
        if not rest:
            yield folder
    elif not glob.has_magic(part) or os.path.lexists(folder / part):
        if os.path.lexists(folder / part):
            yield from _matches(folder / part, rest)
    elif folder.is_dir():
        for name in fnmatch.filter([entry.name for entry in _entries(folder)], part):
            if part.startswith(".") or not name.startswith("."):
                yield from _matches(folder / name, rest)


# Folders --------------------------------------------------------------------------------------------------------------


def _folders(root: Path) -> Iterator[Path]:
    """Yield a folder and all folders below it, each real folder once and hidden ones never.

    Folders behind links come last, so that a folder is listed by its own path if it has one below `root`.
    """
    waiting, linked = deque([root]), deque[Path]()
    seen: set[str] = set()
    while waiting or linked:
        folder = (waiting or linked).popleft()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        yield folder
        for entry in _entries(folder):
            if _is_folder(entry) and not entry.name.startswith("."):
                (linked if entry.is_symlink() else waiting).append(folder / entry.name)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, sorted by name."""
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _files_below(root: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Return the files below a folder that end in one of the suffixes, by their real paths, sorted."""
    files: dict[str, Path] = {}
    links = []
    for folder in _folders(root):
        real = os.path.realpath(folder)
        for entry in _entries(folder):
            if not entry.name.endswith(suffixes):
                continue
            if entry.is_symlink():
                links.append(folder / entry.name)
            elif entry.is_file():
                files[f"{real}/{entry.name}"] = folder / entry.name
    for link in sorted(links):
        if link.is_file() or not link.exists():  # without a target, it is missing text
            files.setdefault(os.path.realpath(link), link)
    return dict(sorted(files.items(), key=lambda item: item[1]))


@_errors_named
def usual_suffixes(root: Path) -> tuple[str, ...]:
    """Return the ending that most files below a folder have, as a value of `suffixes`; empty for a folder without files.

    Endings of records, .txt and .py come before all others.
    """
    endings = Counter(
        _ending(entry.name)
        for folder in _folders(root)
        for entry in _entries(folder)
        if not _is_folder(entry) and not entry.name.startswith(".") and _ending(entry.name)
    )
    usual = {ending: count for ending, count in endings.items() if unpacked_name(ending) in _USUAL}
    most = sorted((usual or endings).items(), key=lambda item: (-item[1], item[0]))
    return tuple(ending for ending, _ in most[:1])


def _ending(name: str) -> str:
    """`a.b.jsonl.gz` -> `.jsonl.gz`."""
    plain = unpacked_name(name)
    return Path(plain).suffix + name[len(plain) :]


def _without_files(root: Path, suffixes: tuple[str, ...]) -> str:
    usual = usual_suffixes(root)
    fix = f"most of its files end in {usual[0]}: set suffixes: [{usual[0]}]" if usual else "correct `paths`"
    return f"{root}: no file in this folder ends in {' or '.join(suffixes)}; {fix}"
