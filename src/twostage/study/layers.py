"""Read a study file and the files it extends (`extends: other.yaml`) into one mapping of sections.

A section in the file replaces the complete section of the extended file; sections are not merged key by key. The file
of each section is recorded for error messages and `twostage pin`. `loading` validates the sections.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from twostage.common.errors import UserError


@dataclass(frozen=True)
class Layers:
    """The sections of a study.

    Attributes:
        files: the study file, then the files it extends, nearest first.
        fields: section -> value.
        origin: section -> the file that it comes from.
    """

    files: tuple[Path, ...]
    fields: dict[Any, Any]
    origin: dict[Any, Path]


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML loader that rejects repeated keys instead of silently keeping the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *anchor` may repeat keys of the mapping
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_layers(path: Path, above: tuple[Path, ...] = ()) -> Layers:
    """Read a study file and the files it extends.

    Args:
        above: the files that extend this one, to detect cycles.

    Raises:
        UserError: a file is missing, is not YAML, or is not a mapping; `extends` is not a file name, or forms a cycle.
    """
    fields = _read(path, above)
    if "extends" not in fields:
        return Layers((path,), fields, dict.fromkeys(fields, path))
    below = read_layers(_extended(path, fields.pop("extends"), above), (*above, path))
    merged, origin = dict(below.fields), dict(below.origin)
    for key, value in fields.items():
        if value is not None:
            merged[key], origin[key] = value, path
        elif key in merged:
            del merged[key], origin[key]
        else:
            raise UserError(
                f"{path}: {key}: null removes a section of {below.files[0]}, which has no section of that name; remove the line"
            )
    return Layers((path, *below.files), merged, origin)


def _read(path: Path, above: tuple[Path, ...]) -> dict[Any, Any]:
    try:
        fields = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except FileNotFoundError:
        if above:
            raise UserError(
                f"{above[-1]}: extends: {path} does not exist; the path is relative to the file that names it"
            ) from None
        raise UserError(
            f"{path}: no such study file; correct the path, or write one with: twostage new {path}"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: not readable as YAML: {error}") from None
    if not isinstance(fields, dict):
        raise UserError(
            f"{path}: a study file must be a mapping of keys, but this one contains a {type(fields).__name__}"
        )
    if "name" in fields:
        raise UserError(f"{path}: name: the study is named after its file ({path.stem!r}); remove the key")
    return fields


def _extended(path: Path, name: object, above: tuple[Path, ...]) -> Path:
    """Return the file that `path` extends, relative to the folder of the file itself (not of a link to it)."""
    if not isinstance(name, str) or not name:
        raise UserError(f"{path}: extends: {name!r} is not a file name; write e.g. extends: other.yaml")
    if ":" in name:
        raise UserError(
            f"{path}: extends: {name!r} names a subset of a study; write extends: {name.partition(':')[0]}, and choose "
            "the subset with default_subset"
        )
    folder = path.resolve().parent if path.is_symlink() else path.parent
    chain = (*above, path, folder / name)
    if chain[-1].resolve() in {file.resolve() for file in chain[:-1]}:
        raise UserError(
            f"{path}: extends: {' -> '.join(map(str, chain))} is a cycle; remove one of these `extends`"
        )
    return chain[-1]
