"""Check the tokenizer and the corpora of a study: readable files, a filled cache, or a reachable hub."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twostage.common.errors import UserError
from twostage.corpora.files import expand_paths, source_files
from twostage.doctor.check import Check, Group
from twostage.study import Study

GROUP = Group("data")
_HUB = "https://huggingface.co"
_CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class FilesFacts:
    """Local files: their number, and what is wrong with the first path, as "problem; fix"."""

    name: str
    count: int
    problem: str | None = None


@dataclass(frozen=True)
class HubFacts:
    """A repository of the Hugging Face Hub. `connect_error`: None if reachable; `offline`: the environment forbids network use."""

    name: str
    repository: str
    revision: str | None
    cached: bool
    offline: bool
    connect_error: str | None


@dataclass(frozen=True)
class MadeFacts:
    """A source that needs no files, because the study makes it."""

    name: str
    how: str


DataFacts = FilesFacts | HubFacts | MadeFacts


# Gathering ------------------------------------------------------------------------------------------------------


def gather(study: Study) -> list[DataFacts]:
    """Look for every source of a study. Paths are relative to the current folder, as in the workflow."""
    facts = [_source("tokenizer", study.tokenizer, str(getattr(study.tokenizer, "kind", "")))]
    facts += [_source(f"corpus {name}", corpus, corpus.source) for name, corpus in study.corpora.items()]
    return facts


def _source(name: str, section: Any, kind: str) -> DataFacts:
    """Read a section by its keys, not its class, so that new kinds of sources are also checked."""
    if kind == "embedded":
        return MadeFacts(name, "text from this Python environment")
    if kind == "bpe":
        return MadeFacts(name, "trained on the study's corpora")
    repository = getattr(section, "dataset", None) or getattr(section, "repository", None)
    inside = getattr(section, "data_files", None) or ()
    if repository is None:
        paths = getattr(section, "paths", None) or (section.path,)
    elif not getattr(section, "is_local", False):
        return _hub(name, str(repository), getattr(section, "revision", None))
    elif "/" in repository:  # a local folder; a file format has no slash
        paths = tuple(f"{repository}/{path}" for path in inside) or (repository,)
    else:
        paths = inside
    return _files(name, tuple(map(str, paths)), getattr(section, "suffixes", None))


def _files(name: str, patterns: tuple[str, ...], suffixes: tuple[str, ...] | None) -> FilesFacts:
    """Look for files. `suffixes`: those of a corpus, which has files in folders; None: `patterns` are all there is."""
    try:
        found = expand_paths(patterns)
        if suffixes is not None:
            found = [file.path for file in source_files(patterns, suffixes)]
    except UserError as error:
        return FilesFacts(name, 0, str(error).removeprefix("paths: "))
    return FilesFacts(name, len(found), next(filter(None, map(_obstacle, found)), None))


def _obstacle(path: Path) -> str | None:
    if not path.exists():
        return f"{path}: a link without a target; fetch the file, or remove the link"
    return None if os.access(path, os.R_OK) else f"{path}: no permission to read; correct its permissions"


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
    """Try to connect to the hub, or to the proxy if one is set; return the error or None."""
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
    """Return the check of one source."""
    if isinstance(facts, MadeFacts):
        return GROUP.ok(facts.name, facts.how)
    return _judge_files(facts) if isinstance(facts, FilesFacts) else _judge_hub(facts)


def _judge_files(facts: FilesFacts) -> Check:
    if facts.problem:
        found, _, fix = facts.problem.partition("; ")
        return GROUP.missing(facts.name, found, fix)
    return GROUP.ok(facts.name, f"{facts.count} file{'s' * (facts.count != 1)}, readable")


def _judge_hub(facts: HubFacts) -> Check:
    where = f"{facts.repository} at {facts.revision or 'no revision'}"
    if facts.revision == "PIN_ME":
        return GROUP.missing(
            facts.name, where, "run twostage pin STUDY.yaml (with network access) to look up the commit"
        )
    if facts.offline and not facts.cached:
        return GROUP.missing(
            facts.name,
            f"{where}: not in the cache, and HF_HUB_OFFLINE forbids the network",
            "download it on a node with network access (prepare_corpus runs there), or unset HF_HUB_OFFLINE",
        )
    if facts.connect_error:
        report = GROUP.warn if facts.cached else GROUP.missing
        cached = "at least partly cached" if facts.cached else "not cached"
        fix = "run prepare_corpus and train_tokenizer on a node with network access; training needs none"
        return report(facts.name, f"{where}: {cached}, hub not reachable ({facts.connect_error})", fix)
    return GROUP.ok(facts.name, f"{where}: {'cached' if facts.cached else 'hub reachable'}")
