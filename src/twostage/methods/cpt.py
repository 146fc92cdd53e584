"""Continual pretraining: stage 2 trains the base model itself, on another corpus."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Literal

from pydantic import Field

from twostage.common.sections import Name
from twostage.methods.base import Method


class Cpt(Method):
    """Continual pretraining on another corpus."""

    free_keys: ClassVar = frozenset({"corpus"})
    heading: ClassVar = "Continual pretraining"

    kind: Literal["cpt"]
    corpus: Name = Field(description="stage-2 corpus")

    def check(self, base_corpus: str, models: Collection[str]) -> None:
        """Refuse the base corpus; see `Method.check`."""
        if self.corpus == base_corpus:
            raise ValueError(
                f"corpus: {self.corpus!r} is the base corpus; name another corpus to continue pretraining on"
            )

    def title(self, name: str, base_corpus: str) -> str:
        """Return the title of the method called `name` in figures."""
        replay = f", {self.replay:.0%} replay" if self.replay else ""
        return f"Continual pretraining on {self.corpus}{replay} ({name})"
