"""A method of stage 2 that was measured elsewhere: its losses are in a table, and this workflow cannot train it."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from twostage.methods.base import Method


class Measured(Method):
    """A method whose cells are imported (`cells_table`). Sizes, D1 and D2 are those of the table."""

    free_keys: ClassVar = frozenset({"label", "growth"})
    heading: ClassVar = "Measured elsewhere"
    trained: ClassVar = False

    kind: Literal["measured"]
    label: str = Field(min_length=3, description="title in figures")
    growth: bool = Field(
        description="true: stage 2 starts from a grown model, as in Figure 9; false: from the base model, as in Figure 4 (left)"
    )

    @model_validator(mode="after")
    def _nothing_about_training(self) -> Measured:
        if wrong := self.model_fields_set - {"kind", "label", "growth", "models"}:
            raise ValueError(
                f"{min(wrong)}: a measured method is not trained, and its sizes and grid are those of cells_table; remove the key"
            )
        return self

    @property
    def grows(self) -> bool:
        """Whether stage 2 started from a grown model."""
        return self.growth

    def title(self, name: str, base_corpus: str) -> str:
        """Return the title of the method called `name` in figures."""
        return f"{self.label} ({name})"
