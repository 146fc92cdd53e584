"""Messages for the errors of a study file: the key, what is wrong with its value, and what to write instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

import yaml

Problem = Mapping[str, Any]
"""One entry of `pydantic.ValidationError.errors()`."""

_YAML_WORD = {False: "no", True: "yes"}


def messages(problems: list[Any], schema: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (key as it is written in the file, message) of each problem.

    Args:
        problems: `ValidationError.errors()` of a study.
        schema: the JSON schema of a study.
    """
    deepest = [problem for problem in problems if not _only_follows(problem, problems)]
    return [(_written_key(problem["loc"]), _message(problem, schema)) for problem in deepest]


def _only_follows(problem: Problem, problems: list[Any]) -> bool:
    """Return whether a section is empty only because its entries are invalid."""
    loc = problem["loc"]
    return problem["type"] == "too_short" and any(
        other["loc"][: len(loc)] == loc and other is not problem for other in problems
    )


def _written_key(loc: tuple[int | str, ...]) -> str:
    """Return a key as it is written in the file: pydantic inserts the kind of a corpus, method or tokenizer."""
    parts = list(loc)
    if parts and parts[-1] == "[key]":
        parts = parts[:-2]
    tag = {"corpora": 2, "methods": 2, "tokenizer": 1}.get(str(parts[0])) if parts else None
    if tag is not None and len(parts) > tag:
        del parts[tag]
    return ".".join(map(str, parts))


def _message(problem: Problem, schema: Mapping[str, Any]) -> str:
    kind, value, context = problem["type"], problem.get("input"), problem.get("ctx", {})
    if problem["loc"][-1:] == ("[key]",) and kind == "string_type":
        return f"the name {value!r} is not text; {_quote(value)}"
    match kind:
        case "extra_forbidden":
            return f"unknown key; {_spelling(problem['loc'], schema)}"
        case "missing":
            return "missing; add this key"
        case "tuple_type":
            return f"must be a list; write {_as_list(value)} (got {value!r})"
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"must be a section of keys (got {value!r})"
        case "string_type":
            return f"must be text (got {value!r}); {_quote(value)}"
        case "too_short":
            return f"must have at least {context['min_length']} entry; add one"
        case "union_tag_not_found":
            return _missing_kind(context["discriminator"].strip("'"), value, problem["loc"], schema)
        case "union_tag_invalid":
            return _unknown_kind(
                context["discriminator"].strip("'"), context["tag"], context["expected_tags"]
            )
    message = str(problem["msg"]).removeprefix("Value error, ")
    message = re.sub(r"^(Input|String|Tuple|Dictionary) should", "must", message)
    told = not problem["loc"] or isinstance(value, dict) or repr(value) in message
    return message if told else f"{message} (got {value!r})"


def _as_list(value: Any) -> str:
    if value is None:
        return "e.g. [0]"
    entries = [part.strip() for part in value.split(",")] if isinstance(value, str) else [value]
    return yaml.safe_dump(entries, default_flow_style=True, width=10_000, allow_unicode=True).strip()


def _quote(value: Any) -> str:
    if isinstance(value, bool):
        words = "no, off and false" if value is False else "yes, on and true"
        return (
            f"YAML reads {words} without quotes as a truth value; write it in quotes: '{_YAML_WORD[value]}'"
        )
    if isinstance(value, int | float):
        return f"YAML reads it as a number; write it in quotes: '{value}'"
    return "write one line of text"


def _missing_kind(key: str, value: Any, loc: tuple[Any, ...], schema: Mapping[str, Any]) -> str:
    kinds = ", ".join(_kinds(loc, schema))
    if not isinstance(value, dict):
        return f"must be a section with the key {key!r}, one of {kinds} (got {value!r})"
    near = difflib.get_close_matches(key, [str(name) for name in value], n=1)
    wrong = f" ({near[0]!r} is not a key)" if near else ""
    return f"{key}: missing{wrong}; write {key}: and one of {kinds}"


def _unknown_kind(key: str, tag: str, expected: str) -> str:
    names = re.findall(r"'([^']*)'", expected)
    near = difflib.get_close_matches(tag, names, n=1)
    return f"{key}: {tag!r} is not one of {', '.join(names)}" + (
        f"; did you mean {near[0]!r}?" if near else ""
    )


def _spelling(loc: tuple[Any, ...], schema: Mapping[str, Any]) -> str:
    known = list(_section(loc[:-1], schema).get("properties", {}))
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    listed = f"this section has the keys {', '.join(known)}" if known else "remove it"
    return f"{listed} (config/study.schema.json describes all keys)"


def _kinds(loc: tuple[Any, ...], schema: Mapping[str, Any]) -> list[str]:
    return list(_section(loc, schema).get("discriminator", {}).get("mapping", {}))


def _section(loc: tuple[Any, ...], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of the section at `loc`; empty if it cannot be found."""
    here: Mapping[str, Any] = schema
    for part in loc:
        here = _resolved(here, schema)
        mapping = here.get("discriminator", {}).get("mapping", {})
        if part in mapping:
            here = {"$ref": mapping[part]}
        elif part in here.get("properties", {}):
            here = here["properties"][part]
        else:
            named = [
                *here.get("patternProperties", {}).values(),
                here.get("additionalProperties"),
                here.get("items"),
            ]
            here = next((option for option in named if isinstance(option, Mapping)), {})
    return _resolved(here, schema)


def _resolved(here: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    options = [option for option in here.get("anyOf", []) if option.get("type") != "null"]
    if len(options) == 1:
        here = options[0]
    if "$ref" in here:
        here = schema["$defs"][here["$ref"].rpartition("/")[2]]
    return here
