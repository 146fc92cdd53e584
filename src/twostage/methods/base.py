"""Base classes of the methods of stage 2: `Method`, and `Growth` for those that start from a grown model.

The rest of the library uses this interface and does not test for single kinds.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from twostage.common.sections import Frozen, Name, Steps

if TYPE_CHECKING:
    from twostage.common.architecture import Architecture
    from twostage.common.canonical import StateDict

ScheduleKind = Literal["wsd", "constant", "cosine"]


class Method(Frozen):
    """One entry of a study's `methods`, with the keys that all kinds share."""

    #: Keys that may differ from their defaults in a main method (Table 1); see `catalogue.shown_methods.deviations`.
    free_keys: ClassVar[frozenset[str]] = frozenset()
    #: Whether this workflow trains the method; otherwise its cells are imported (`cells_table`).
    trained: ClassVar[bool] = True
    #: Name of the kind in Figure 2.
    heading: ClassVar[str]
    #: The model at the start of stage 2, as Figure 2 draws it: for each layer, from the lowest, the width that stage 1
    #: has trained and the width that is new. The base model has four layers of width 1.
    sketch: ClassVar[tuple[tuple[float, float], ...]] = ((1.0, 0.0),) * 4

    kind: str
    corpus: Name | None = Field(None, description="stage-2 corpus; default (growth only): the base corpus")
    replay: float = Field(
        0.0, ge=0, lt=1, description="share of stage-1 data in the mixture, counted in tokens"
    )
    start: Literal["decay", "trunk"] = Field(
        "decay",
        description="decay: the decayed base checkpoint, fresh optimizer, warmed up again. trunk: the stable-phase "
        "checkpoint, at the peak rate from step 1, with the optimizer's state; D1 is then the trunk's tokens",
    )
    schedule: ScheduleKind | None = Field(None, description="of stage 2; default: the recipe's")
    peak_lr_fraction: float = Field(
        1.0, gt=0, le=1, description="peak rate of stage 2 over the model's peak_lr"
    )
    warmup_steps: int | None = Field(
        None, ge=0, description="of stage 2; default: the model's, and 0 where start is trunk"
    )
    data: Literal["repeat", "fresh"] = Field(
        "repeat",
        description="repeat: the base corpus from its first sample again, as the paper does; fresh: from where the base stopped",
    )
    models: tuple[Name, ...] | None = Field(None, min_length=1, description="base models; default: all")
    d1_steps: Steps | None = Field(
        None, min_length=1, description="only these points of the stage-1 grid; default: all"
    )
    d2_steps: Steps | None = Field(
        None, min_length=1, description="only these points of the stage-2 grid; default: all"
    )

    @model_validator(mode="after")
    def _combination_makes_sense(self) -> Method:
        if self.replay_fraction.denominator > 1000:
            raise ValueError(
                f"replay: {self.replay} needs at most three decimals, so that a short pattern holds it exactly"
            )
        if self.start == "trunk" and self.warmup_steps:
            raise ValueError(
                f"warmup_steps: {self.warmup_steps}, but start: trunk continues at the peak rate; remove warmup_steps"
            )
        return self

    @property
    def replay_fraction(self) -> Fraction:
        """The replay share, exactly as it is written in the study."""
        return Fraction(str(self.replay))

    @property
    def grows(self) -> bool:
        """Whether stage 2 starts from a grown model rather than from the base model itself."""
        return isinstance(self, Growth)

    def check(self, base_corpus: str, models: Collection[str]) -> None:
        """Check the values that depend on other sections: the base corpus and the names of the models.

        Raises:
            ValueError: a value is not valid; the message starts with its key in this section.
        """

    def architecture(self, base: Architecture, model: str) -> Architecture:
        """Return the shape of the model that stage 2 trains.

        Args:
            base: shape of the base model.
            model: its name in the study.
        """
        return base

    @abstractmethod
    def title(self, name: str, base_corpus: str) -> str:
        """Return the title of the method called `name` in figures, e.g. `Continual pretraining on code (cpt-code)`."""


class Growth(Method):
    """A method whose stage 2 starts from a grown model. One module of this package defines each kind."""

    #: Whether `grow` also grows Adam's moments, so that `start: trunk` can carry the optimizer's state.
    carries_optimizer: ClassVar[bool] = False

    @model_validator(mode="after")
    def _has_a_rule_for_the_optimizer(self) -> Growth:
        if self.start == "trunk" and not self.carries_optimizer:
            raise ValueError(
                f"start: trunk continues with the optimizer's state, and kind {self.kind} has no exact rule to grow it; use "
                "start: decay, or kind: stack"
            )
        return self

    @property
    @abstractmethod
    def operator(self) -> str:
        """The operator in a few words, for titles, e.g. `stacking ×2`."""

    @abstractmethod
    def architecture(self, base: Architecture, model: str) -> Architecture:
        """Return the shape of the grown model; arguments as in `Method.architecture`. The growth factor follows from it."""

    @abstractmethod
    def spec_options(self, init_std: float) -> dict[str, Any]:
        """Return the remaining fields of the growth job's spec: all that `grow` depends on except the two shapes and the seed.

        Args:
            init_std: standard deviation of the base model's initial weights, for kinds that draw new weights.

        Returns:
            Values of keys of this section, and `init_std` if `grow` uses it.
        """

    @abstractmethod
    def grow(
        self,
        state: StateDict,
        source: Architecture,
        target: Architecture,
        *,
        seed: int,
        init_std: float | None,
    ) -> StateDict:
        """Return the weights of the grown model; pure, on the CPU, and without torch's global random numbers.

        Args:
            state: weights of the base model under canonical names; where `carries_optimizer`, also a moment of Adam.
            source, target: shapes of the base and of the grown model.
            seed: seed of all random numbers.
            init_std: as `spec_options` gave it.

        Raises:
            ValueError: `state` does not have the shape `source`; names the weight.
        """

    def title(self, name: str, base_corpus: str) -> str:
        """Return the title of the method called `name` in figures."""
        on = f" on {self.corpus}" if self.corpus not in (None, base_corpus) else ""
        return f"Model growth by {self.operator}{on} ({name})"
