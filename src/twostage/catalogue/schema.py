"""The JSON schema of study files, generated from its models and the catalogue of figures and tables.

Editors complete and check keys with it. `python -m twostage.catalogue.schema PATH` writes it; a test keeps `config/study.schema.json` in step with the models.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from twostage.catalogue.figure_entries import FIGURES
from twostage.catalogue.table_entries import TABLES
from twostage.common.storage import write_atomic
from twostage.laws.declarations import GRID_FORMS
from twostage.study import Study

_NULL = {"type": "null"}
_EXTENDS = {
    "type": "string",
    "minLength": 1,
    "pattern": "^[^:]*$",
    "description": "another study file, relative to this one: its sections hold here, except those that this file has "
    "(which replace them completely) or sets to null",
}


def study_schema() -> str:
    """Return the schema as indented JSON text."""
    schema = Study.model_json_schema()
    # A study is named after its file; the key itself is refused in YAML.
    del schema["properties"]["name"]
    schema["required"].remove("name")
    for key, entries in (("figures", FIGURES), ("tables", TABLES)):
        schema["properties"][key]["anyOf"][0]["items"] = {"enum": list(entries), "type": "string"}
    schema["$defs"]["Laws"]["properties"]["forms"]["items"]["enum"] = list(GRID_FORMS)
    _allow_extends(schema)
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"


def _allow_extends(schema: dict[str, Any]) -> None:
    """Add `extends` to a study's schema: a file that has it needs no other key, and null removes one of the other file.

    A study with `cells_table` may also lack the sections about training.
    """
    sections: dict[str, Any] = schema["properties"]
    never_null = [
        name for name, section in sections.items() if {"type": "null"} not in section.get("anyOf", [])
    ]
    whole = {"required": schema.pop("required"), "properties": {name: {"not": _NULL} for name in never_null}}
    for name in never_null:
        section = sections[name]
        words = {key: section.pop(key) for key in ("title", "description", "default") if key in section}
        sections[name] = {"anyOf": [section, _NULL], **words}
    schema["properties"] = {"extends": _EXTENDS, **sections}
    schema |= {"if": {"anyOf": [{"required": ["extends"]}, {"required": ["cells_table"]}]}, "else": whole}


if __name__ == "__main__":
    write_atomic(sys.argv[1], study_schema())
