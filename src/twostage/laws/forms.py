"""The declared laws with their calculus: `FORMS`, by name."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module

from twostage.laws.declarations import DECLARED, Declaration
from twostage.laws.form import Form


def _form(law: Declaration) -> Form:
    module, name = law.calculus.split(":")
    form: Form = getattr(import_module(module), name)(
        **{part.name: getattr(law, part.name) for part in fields(law)}
    )
    return form


FORMS: dict[str, Form] = {name: _form(law) for name, law in DECLARED.items()}


def form_of(name: str) -> Form:
    """The form of that name; ValueError with the known names otherwise."""
    try:
        return FORMS[name]
    except KeyError:
        raise ValueError(f"unknown form {name!r}; known forms: {', '.join(FORMS)}") from None
