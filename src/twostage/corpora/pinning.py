"""Finds the repositories of a study that are not pinned to a commit, and writes commits into the study's text.

Works on the text of the YAML file: only the scalars `PIN_ME` are replaced; comments and layout stay. `resolve` asks the Hub for
the commit. Nothing here writes files.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from twostage.common.errors import UserError
from twostage.study import PIN_ME


@dataclass(frozen=True)
class Unpinned:
    """A `revision: PIN_ME`: its key in the study, its repository, and its range of characters in the file."""

    key: str
    kind: Literal["dataset", "model"]
    repository: str
    start: int
    end: int


def find_unpinned(text: str, sections_in_force: Container[str] = ("corpora", "tokenizer")) -> list[Unpinned]:
    """Return the unpinned revisions of a (valid) study file, in the order of the file.

    Args:
        sections_in_force: sections to search. A file that extends this one may replace the others.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    sections = {name: node for name, node in _items(root).items() if name in sections_in_force}
    found: list[Unpinned] = []
    for name, corpus in _items(sections.get("corpora")).items():
        found += _unpinned(f"corpora.{name}", corpus, "dataset", "dataset")
    found += _unpinned("tokenizer", sections.get("tokenizer"), "model", "repository")
    return sorted(found, key=lambda place: place.start)


def _unpinned(
    key: str, section: yaml.Node | None, kind: Literal["dataset", "model"], id_key: str
) -> Iterator[Unpinned]:
    fields = _items(section)
    revision, repository = fields.get("revision"), fields.get(id_key)
    if revision is not None and repository is not None and revision.value == PIN_ME:
        yield Unpinned(
            f"{key}.revision", kind, repository.value, revision.start_mark.index, revision.end_mark.index
        )


def _items(node: yaml.Node | None) -> dict[str, yaml.Node]:
    """Return a mapping's values by key, including merged ones (`<<`); empty for other nodes."""
    if not isinstance(node, yaml.MappingNode):
        return {}
    own: dict[str, yaml.Node] = {}
    merged: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                merged = {**_items(source), **merged}
        else:
            own[key.value] = value
    return {**merged, **own}


def write_commits(text: str, places: Sequence[Unpinned], commits: Sequence[str]) -> str:
    """Return the study's text with each place's `PIN_ME` replaced by its commit.

    Raises:
        UserError: two repositories with different commits share one scalar through a YAML anchor.
    """
    by_place: dict[tuple[int, int], str] = {}
    for place, commit in zip(places, commits, strict=True):
        if by_place.setdefault((place.start, place.end), commit) != commit:
            raise UserError(
                f"{place.key}: shares its revision with another repository through a YAML anchor; give each its own revision"
            )
    for (start, end), commit in sorted(by_place.items(), reverse=True):
        # YAML would read a commit like 1234... or 12e34... as a number.
        scalar = f'"{commit}"' if re.fullmatch(r"\d+(e\d+)?", commit) else commit
        text = text[:start] + scalar + text[end:]
    return text


def resolve(place: Unpinned) -> str:
    """Return the newest commit of a repository on the Hub (HF_ENDPOINT).

    Raises:
        UserError: the Hub can't be reached, or the repository does not exist or is private.
    """
    from huggingface_hub import HfApi

    from twostage.corpora.hub import hub_error

    api: Any = HfApi()
    path = f"datasets/{place.repository}" if place.kind == "dataset" else place.repository
    try:
        info = (
            api.dataset_info(place.repository)
            if place.kind == "dataset"
            else api.model_info(place.repository)
        )
    except Exception as error:  # the client raises some thirty kinds
        where = f"{place.key}: {place.kind} {place.repository!r}"
        raise hub_error(error, where, f"https://huggingface.co/{path}") from error
    if not info.sha:
        raise UserError(
            f"{place.key}: the Hub reports no commit of {place.kind} {place.repository!r}; set the revision to a commit yourself"
        )
    return str(info.sha)
