"""From a YAML file to a checked `Study`, and from pydantic's errors to messages that name key, value and fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from twostage.errors import UserError
from twostage.study.study import Study

RESERVED_STUDY_NAMES = frozenset({"published", "reference", "toy-model"})


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML that refuses repeated keys instead of silently keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if (
                key_node.tag == "tag:yaml.org,2002:merge"
            ):  # `<<: *anchor` fills in what the mapping leaves out
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _written_key(loc: tuple[int | str, ...]) -> str:
    """Return a key as the user wrote it: pydantic puts the kind of a corpus, method or tokenizer in between."""
    parts = list(loc)
    tag = {"corpora": 2, "methods": 2, "tokenizer": 1}.get(str(parts[0])) if parts else None
    if tag is not None and len(parts) > tag:
        del parts[tag]
    return ".".join(map(str, parts))


def _explain(path: Path, error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        key = _written_key(problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown key; remove it or mend its spelling (config/study.schema.json lists all keys)"
        elif problem["type"] == "missing":
            message = "missing; add this key"
        elif not isinstance(problem.get("input"), dict):
            message = f"{message} (got {problem.get('input')!r})" if key else message
        lines.append(f"  {key}: {message}" if key else f"  {message}")
    return f"{path}: the study file is not valid\n" + "\n".join(lines)


def load_study(path: str | Path) -> Study:
    """Read and check a study file; `file.yaml:name` takes the named subset of it.

    Without a name the file stands for its `default_subset`, or for the whole study.

    Raises:
        UserError: the file is missing, is not YAML, or breaks a rule; the message names file, key, value and fix.
    """
    file, _, subset = str(path).partition(":")
    study = _load(Path(file))
    return study.part(subset or study.default_subset or "full")


def study_file(path: str | Path) -> Path:
    """Return the file of `file.yaml:name`."""
    return Path(str(path).partition(":")[0])


def _load(path: Path) -> Study:
    if path.stem in RESERVED_STUDY_NAMES:
        raise UserError(f"{path}: the study name {path.stem!r} is reserved; rename the file")
    try:
        fields = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such study file; pass one with --config study=config/tiny.yaml"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as YAML: {error}") from None
    if not isinstance(fields, dict):
        raise UserError(f"{path}: a study file is a mapping of keys; this one holds {type(fields).__name__}")
    if "name" in fields:
        raise UserError(f"{path}: name: the study is named after its file ({path.stem!r}); remove the key")
    try:
        return Study(name=path.stem, **fields)
    except ValidationError as error:
        raise UserError(_explain(path, error)) from None
    except TypeError as error:
        raise UserError(f"{path}: {error}") from None
