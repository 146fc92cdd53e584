"""Load and validate a study, and turn pydantic's errors into messages that name the key, the value and the fix."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from twostage.common.errors import UserError
from twostage.study.layers import Layers, read_layers
from twostage.study.problems import messages
from twostage.study.study import Study

RESERVED_STUDY_NAMES = frozenset({"published", "reference", "toy-model"})


def _explain(layers: Layers, error: ValidationError) -> str:
    own, *others = layers.files
    lines = []
    for key, message in messages(error.errors(), _schema()):
        line = f"{key}: {message}" if key else message
        # A check across sections has no location in pydantic's error; its message starts with the key.
        section = re.split(r"[.:\[]", line, maxsplit=1)[0]
        where = layers.origin.get(section)
        lines.append(f"  {where}: {line}" if others and where else f"  {line}")
    heading = f"{own} (extends {', '.join(map(str, others))})" if others else str(own)
    return f"{heading}: the study file is not valid\n" + "\n".join(lines)


@functools.cache
def _schema() -> dict[str, Any]:
    return Study.model_json_schema()


def load_study(path: str | Path) -> Study:
    """Read and validate a study file. `file.yaml:name` selects a subset.

    Without a name, `default_subset` is used if the file sets it, else the complete study.

    Raises:
        UserError: the file is missing, is not YAML, or is invalid; the message names the file, key, value and fix.
    """
    file, _, subset = str(path).partition(":")
    study = _load(Path(file))
    return study.part(subset or study.default_subset or "full")


def study_file(path: str | Path) -> Path:
    """Return the file part of `file.yaml:name`."""
    return Path(str(path).partition(":")[0])


def _load(path: Path) -> Study:
    if path.stem in RESERVED_STUDY_NAMES:
        raise UserError(f"{path}: the study name {path.stem!r} is reserved; rename the file")
    layers = read_layers(path)
    try:
        return Study(name=path.stem, **layers.fields)
    except ValidationError as error:
        raise UserError(_explain(layers, error)) from None
    except TypeError as error:
        raise UserError(f"{path}: {error}") from None
