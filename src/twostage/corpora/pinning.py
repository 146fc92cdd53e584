"""Which repositories of a study are not pinned to a commit yet, and the study's text with the commits written in.

Works on the text of the YAML file, so that comments and layout stay as they are: exactly the scalars `PIN_ME` of the
known places are replaced. Asking the Hub is `resolve`'s job; it changes nothing on disk.
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
    """A `revision: PIN_ME`: its key in the study, its repository, and where its characters stand in the file."""

    key: str
    kind: Literal["dataset", "model"]
    repository: str
    start: int
    end: int


def find_unpinned(text: str, sections_in_force: Container[str] = ("corpora", "tokenizer")) -> list[Unpinned]:
    """Return the unpinned revisions of a (valid) study file, in the order of the file.

    Args:
        sections_in_force: those that hold: a file that extends this one may replace the others.
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
    """Return a mapping's values by key, merged ones (`<<`) included; nothing for other nodes."""
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
        UserError: one scalar (a YAML anchor) stands for two repositories with different commits.
    """
    by_place: dict[tuple[int, int], str] = {}
    for place, commit in zip(places, commits, strict=True):
        if by_place.setdefault((place.start, place.end), commit) != commit:
            raise UserError(
                f"{place.key}: shares its revision with another repository through a YAML anchor; write each one's own"
            )
    for (start, end), commit in sorted(by_place.items(), reverse=True):
        # A commit like 1234... or 12e34... would be read as a number.
        scalar = f'"{commit}"' if re.fullmatch(r"\d+(e\d+)?", commit) else commit
        text = text[:start] + scalar + text[end:]
    return text


def resolve(place: Unpinned) -> str:
    """Return the newest commit of a place's repository, as the Hub (HF_ENDPOINT) says.

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
        raise UserError(f"{place.key}: the Hub names no commit of {place.kind} {place.repository!r}")
    return str(info.sha)
