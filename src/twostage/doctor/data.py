"""Tokenizer and corpora of a study: are the files there and readable, the cache filled or the hub within reach?"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twostage.common.errors import UserError
from twostage.corpora.readers import expand_paths
from twostage.doctor.check import Check, Status
from twostage.study import Study

GROUP = "data"
_HUB = "https://huggingface.co"
_CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class FilesFacts:
    """Patterns of local files with the number each matches, and the first match that cannot be read."""

    name: str
    matches: dict[str, int]
    unreadable: str | None = None


@dataclass(frozen=True)
class HubFacts:
    """A repository of the Hugging Face Hub; `connect_error` None: reachable; `offline`: the user forbids the network."""

    name: str
    repository: str
    revision: str | None
    cached: bool
    offline: bool
    connect_error: str | None


@dataclass(frozen=True)
class MadeFacts:
    """Nothing to look for: made from what the study already has."""

    name: str
    how: str


DataFacts = FilesFacts | HubFacts | MadeFacts


# Gathering ------------------------------------------------------------------------------------------------------


def gather(study: Study) -> list[DataFacts]:
    """Look at every source of a study, relative to the current folder as the workflow does."""
    facts = [_source("tokenizer", study.tokenizer, str(getattr(study.tokenizer, "kind", "")))]
    facts += [_source(f"corpus {name}", corpus, corpus.source) for name, corpus in study.corpora.items()]
    return facts


def _source(name: str, section: Any, kind: str) -> DataFacts:
    """Read a section by its keys rather than by its class, so that a new kind of source is looked at, too."""
    if kind == "embedded":
        return MadeFacts(name, "text that this environment holds")
    if kind == "bpe":
        return MadeFacts(name, "trained on the study's corpora")
    repository = getattr(section, "dataset", None) or getattr(section, "repository", None)
    inside = getattr(section, "data_files", None) or ()
    if repository is None:
        paths = getattr(section, "paths", None) or (section.path,)
    elif not getattr(section, "is_local", False):
        return _hub(name, str(repository), getattr(section, "revision", None))
    elif "/" in repository:  # a local folder; without a slash it is the name of a file format
        paths = tuple(f"{repository}/{path}" for path in inside) or (repository,)
    else:
        paths = inside
    return _files(name, tuple(map(str, paths)))


def _files(name: str, patterns: tuple[str, ...]) -> FilesFacts:
    found = {pattern: _matches(pattern) for pattern in patterns}
    unreadable = next(
        (str(path) for paths in found.values() for path in paths if not os.access(path, os.R_OK)), None
    )
    return FilesFacts(name, {pattern: len(paths) for pattern, paths in found.items()}, unreadable)


def _matches(pattern: str) -> list[Path]:
    try:
        return expand_paths((pattern,))
    except UserError:
        return []


def _hub(name: str, repository: str, revision: str | None) -> HubFacts:
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE", str(home / "hub")))
    folder = repository.replace("/", "--")
    cached = any((cache / f"{kind}--{folder}" / "snapshots").is_dir() for kind in ("datasets", "models"))
    offline = any(
        os.environ.get(key, "").upper() in ("1", "ON", "YES", "TRUE")
        for key in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    )
    return HubFacts(name, repository, revision, cached, offline, None if offline else _connect())


def _connect() -> str | None:
    """Try to reach the hub, through the proxy where one is set; return why it fails."""
    target = (
        os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy") or os.environ.get("HF_ENDPOINT", _HUB)
    )
    address = urlsplit(target)
    host, port = address.hostname or "", address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as error:
        return f"{host}: {error.strerror or error}"
    return None


# Judging --------------------------------------------------------------------------------------------------------


def judge(facts: DataFacts) -> Check:
    """One line per source."""
    if isinstance(facts, MadeFacts):
        return Check(GROUP, facts.name, facts.how, Status.OK)
    return _judge_files(facts) if isinstance(facts, FilesFacts) else _judge_hub(facts)


def _judge_files(facts: FilesFacts) -> Check:
    if unmatched := [pattern for pattern, count in facts.matches.items() if not count]:
        return Check(
            GROUP,
            facts.name,
            f"no file matches {', '.join(unmatched)}",
            Status.MISSING,
            "copy or link the files there, or mend the path in the study (relative to the repository's root)",
        )
    if facts.unreadable:
        return Check(
            GROUP,
            facts.name,
            f"{facts.unreadable}: no permission to read",
            Status.MISSING,
            "mend its permissions",
        )
    total = sum(facts.matches.values())
    return Check(GROUP, facts.name, f"{total} file{'s' * (total != 1)} or folders, readable", Status.OK)


def _judge_hub(facts: HubFacts) -> Check:
    where = f"{facts.repository} at {facts.revision or 'no revision'}"
    if facts.revision == "PIN_ME":
        return Check(
            GROUP,
            facts.name,
            where,
            Status.MISSING,
            "twostage pin STUDY.yaml looks the commit up (with network access)",
        )
    if facts.offline and not facts.cached:
        return Check(
            GROUP,
            facts.name,
            f"{where}: not in the cache, and HF_HUB_OFFLINE forbids the network",
            Status.MISSING,
            "download it on a node with network access (prepare_corpus runs there), or unset HF_HUB_OFFLINE",
        )
    if facts.connect_error:
        found = f"{where}: {'cached in part or whole' if facts.cached else 'not cached'}, hub not reachable ({facts.connect_error})"
        return Check(
            GROUP,
            facts.name,
            found,
            Status.WARN if facts.cached else Status.MISSING,
            "run prepare_corpus and train_tokenizer on a node with network access; training needs none",
        )
    return Check(GROUP, facts.name, f"{where}: {'cached' if facts.cached else 'hub reachable'}", Status.OK)
