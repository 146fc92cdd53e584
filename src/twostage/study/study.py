"""The whole study: its sections, and the rules that hold between them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from twostage.architecture import Architecture
from twostage.joint_design import JOINT_FIGURES, joint_source
from twostage.study.base import Frozen, Name
from twostage.study.corpora import Corpus, Tokenizer
from twostage.study.downstream import Downstream
from twostage.study.methods import Cpt, Expand, Method, Scratch, Stage1
from twostage.study.models import Evaluation, Model, ModelGrid, Recipe


class Laws(Frozen):
    """Which laws are fitted to the cells."""

    forms: tuple[Literal["mul", "mul0", "add", "hyb"], ...] = Field(
        ("mul", "mul0", "add", "hyb"), min_length=1
    )
    huber_delta: float = Field(1e-3, gt=0, description="paper, section 4")
    catch_up_n_final: float | None = Field(
        None,
        gt=0,
        description="parameters of the final model in Figures 10 and 11; default: those of the largest fitted model",
    )


class ExcludedCell(Frozen):
    """A cell left out of tables and fits, with the reason that is printed under every table."""

    cell: str = Field(description="the cell's evaluation file, relative to results/<study>/")
    reason: str = Field(min_length=3)


class Study(Frozen):
    """One scientific experiment; `name` is the stem of its file."""

    name: Name
    description: str = Field(min_length=10, description="one paragraph for the report")
    corpora: dict[Name, Corpus] = Field(min_length=1)
    tokenizer: Tokenizer
    context: int = Field(gt=1, description="tokens per training sample")
    models: dict[Name, Model] = Field(min_length=1)
    grid: ModelGrid
    recipe: Recipe = Recipe()
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="init, sample order and growth split")
    stage1: Stage1
    methods: dict[Name, Method] = Field(min_length=1)
    scratch: tuple[Scratch, ...] = ()
    evaluation: Evaluation = Evaluation()
    laws: Laws = Laws()
    figures: tuple[
        Literal[
            "figure-1",
            "figure-3",
            "figure-4-left",
            "figure-4-right",
            "figure-9",
            "figure-10",
            "figure-11",
        ],
        ...,
    ] = ("figure-1", "figure-3")
    figure_1_methods: tuple[Name, ...] = Field(
        (), description="rows of Figure 1; default: first cpt, first growth"
    )
    excluded_cells: tuple[ExcludedCell, ...] = ()
    downstream: Downstream | None = None

    @model_validator(mode="after")
    def _cross_references(self) -> Study:
        def known(key: str, name: str, section: dict[str, Any], kind: str) -> None:
            if name not in section:
                raise ValueError(
                    f"{key}: {name!r} is not one of the study's {kind} {sorted(section)}; declare it or mend the name"
                )

        known("stage1.corpus", self.stage1.corpus, self.corpora, "corpora")
        for name, meaning in (("scratch", "from-scratch runs"), ("joint", "fits over all sizes")):
            if name in self.methods:
                raise ValueError(f"methods.{name}: {name!r} is reserved for {meaning}; choose another name")
        for name, method in self.methods.items():
            key = f"methods.{name}"
            for model in method.models or ():
                known(f"{key}.models", model, self.models, "models")
            if isinstance(method, Cpt):
                known(f"{key}.corpus", method.corpus, self.corpora, "corpora")
                if method.corpus == self.stage1.corpus:
                    raise ValueError(
                        f"{key}.corpus: {method.corpus!r} is the base corpus; continual pretraining needs another"
                    )
            if isinstance(method, Expand):
                for model in method.shapes:
                    known(f"{key}.shapes", model, self.models, "models")
            for model in method.models or self.models:
                grid = self.grid_of(model)
                for field, points in (("d1_steps", grid.d1.points), ("d2_steps", grid.d2.points)):
                    for value in getattr(method, field) or ():
                        if value not in points:
                            nearest = min(points, key=lambda point: abs(point - value))
                            raise ValueError(
                                f"{key}.{field}: {value} is not on the grid {list(points)} of model {model}; nearest: {nearest}"
                            )
        for index, scratch in enumerate(self.scratch):
            known(f"scratch[{index}].corpus", scratch.corpus, self.corpora, "corpora")
            for model in scratch.models or ():
                known(f"scratch[{index}].models", model, self.models, "models")
        for name in self.figure_1_methods:
            known("figure_1_methods", name, self.methods, "methods")
        for key, values in (("seeds", self.seeds), ("figures", self.figures)):
            if len(set(values)) != len(values):
                raise ValueError(f"{key}: {list(values)} repeats a value; write each once")
        for name, model_ in self.models.items():
            grid = self.grid_of(name)
            for stage, points in (("d1", grid.d1.points), ("d2", grid.d2.points)):
                if model_.warmup_steps > points[0]:
                    raise ValueError(
                        f"models.{name}.warmup_steps: {model_.warmup_steps} is longer than the shortest trunk of grid.{stage} "
                        f"({points[0]} steps); shorten the warmup or start the grid later"
                    )
        return self

    @model_validator(mode="after")
    def _figures_over_sizes_can_be_drawn(self) -> Study:
        for figure in self.figures:
            if figure in JOINT_FIGURES:
                joint_source(self, figure)
        return self

    def grid_of(self, model: str) -> ModelGrid:
        """Return the grid of a model: its own, or the study's."""
        return self.models[model].grid or self.grid

    def architecture(self, model: str) -> Architecture:
        """Return the shape of a base model."""
        settings = self.models[model]
        return Architecture(
            n_layer=settings.n_layer,
            d_model=settings.d_model,
            n_head=settings.n_head,
            head_dim=settings.head_dim or settings.d_model // settings.n_head,
            d_mlp=settings.d_mlp or 4 * settings.d_model,
            vocab_size=self.tokenizer.vocab_size,
            context=self.context,
            norm_eps=self.recipe.norm_eps,
            rope_base=self.recipe.rope_base,
        )
