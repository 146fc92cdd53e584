"""The complete study: its sections, and the selection of a subset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field, PrivateAttr, model_validator

from twostage.common.architecture import Architecture
from twostage.common.errors import UserError
from twostage.common.sections import Frozen, Name, Seed
from twostage.methods import AnyMethod
from twostage.study.checks import check_references
from twostage.study.corpora import Corpus, Tokenizer
from twostage.study.downstream import Downstream
from twostage.study.models import (
    Checkpoints,
    EvaluationSettings,
    ModelGrid,
    ModelSettings,
    Recipe,
    Validation,
)
from twostage.study.plausible import check_plausible
from twostage.study.runs import Ablations, Repeat, Scratch, Stage1
from twostage.study.untrained import MeasuredSize, completed, measured_sizes


class Laws(Frozen):
    """The laws to fit to the cells."""

    forms: tuple[str, ...] = Field(("mul", "mul0", "add", "hyb"), min_length=1)
    huber_delta: float = Field(1e-3, gt=0, description="paper, section 4")
    catch_up_n_final: float | None = Field(
        None,
        gt=0,
        description="parameters of the final model in Figures 10 and 11; default: those of the largest fitted model",
    )


class ExcludedCell(Frozen):
    """A cell that tables and fits leave out. The reason is printed under every table."""

    cell: str = Field(description="the cell's evaluation file, relative to results/<study>/")
    reason: str = Field(min_length=3)


class CellsTable(Frozen):
    """Tables to fit and draw instead of training. Paths are relative to the working directory."""

    cells: str = Field(
        description="a cells.csv as the rule aggregate_cells writes it; the section can be this path alone"
    )
    base_cells: str | None = Field(
        None, description="base-cells.csv, needed by the law over both stages (D.3)"
    )
    curves: str | None = Field(
        None, description="curves.csv, needed by Figures 5 to 7 and the gradient norms"
    )
    where: tuple[str, ...] = Field(
        (),
        description="use only the rows of `cells` for which all conditions hold, as the option --where of `twostage fit`",
    )

    @model_validator(mode="before")
    @classmethod
    def _path_as_section(cls, value: Any) -> Any:
        return {"cells": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> Any:
        return {"anyOf": [{"type": "string"}, handler.resolve_ref_schema(handler(core))]}


class Subset(Frozen):
    """A named subset, selected by `study.yaml:name`. Paths and job identities are those of the complete study."""

    description: str = Field(min_length=10)
    methods: tuple[Name, ...] | None = Field(None, min_length=1, description="default: all")
    models: tuple[Name, ...] | None = Field(None, min_length=1, description="default: all")
    scratch: tuple[Name, ...] | None = Field(None, description="default: all")
    repeats: bool = True
    ablations: bool = True
    downstream: bool = True


#: Results that depend on which cells are selected. Each part of a study that is not its default has them in a folder of its own.
_ANALYSIS = ("tables", "fits", "figures", "cells", "summary.md")


class Study(Frozen):
    """One scientific experiment; `name` is the stem of its file."""

    #: Name of the part that is not the study's default; it decides where tables and figures are written.
    _part: str = PrivateAttr("")
    #: What the table has of measured methods, read when it is first needed.
    _measured: dict[str, dict[str, MeasuredSize]] | None = PrivateAttr(None)

    name: Name
    description: str = Field(min_length=10, description="one paragraph, printed in the report")
    corpora: dict[Name, Corpus] = Field(min_length=1)
    tokenizer: Tokenizer
    context: int = Field(gt=1, description="tokens per training sample")
    models: dict[Name, ModelSettings] = Field(min_length=1)
    grid: ModelGrid
    recipe: Recipe = Recipe()
    validation: Validation | None = Field(None, description="default: none; Figures 5 to 7 need it")
    seeds: tuple[Seed, ...] = Field((0,), min_length=1, description="init, sample order and growth split")
    stage1: Stage1
    methods: dict[Name, AnyMethod] = Field(min_length=1)
    scratch: dict[Name, Scratch] = Field({}, description="from-scratch runs in addition to the base runs")
    repeats: tuple[Repeat, ...] = Field((), description="parts of the grid to repeat with other seeds")
    ablations: Ablations = Ablations()
    evaluation: EvaluationSettings = EvaluationSettings()
    checkpoints: Checkpoints = Checkpoints()
    laws: Laws = Laws()
    figures: tuple[str, ...] | None = Field(None, description="default: all that the study has the cells for")
    tables: tuple[str, ...] | None = Field(None, description="default: all that the study has the cells for")
    figure_1_methods: tuple[Name, ...] = Field(
        (),
        description="rows of Figure 1 and of the gradient norms, panels of Figure 3; default: the first cpt and the first growth "
        "method. Figure 8 shows the other main methods",
    )
    figure_1_models: tuple[Name, ...] = Field(
        (),
        description="base models of each of these rows; default: the one that most methods have",
    )
    excluded_cells: tuple[ExcludedCell, ...] = ()
    cells_table: CellsTable | None = Field(None, description="fit and draw these tables; nothing is trained")
    subsets: dict[Name, Subset] = Field({}, description="named subsets; `full` is always the complete study")
    default_subset: Name | None = Field(
        None, description="subset to use if the file is given without `:name`"
    )
    downstream: Downstream | None = None
    accept_unusual: tuple[str, ...] = Field(
        (), description="keys whose values are outside the usual range on purpose, e.g. models.33k.peak_lr"
    )

    @model_validator(mode="before")
    @classmethod
    def _stand_ins(cls, fields: Any) -> Any:
        return completed(fields)

    @model_validator(mode="after")
    def _cross_references(self) -> Study:
        check_references(self)
        check_plausible(self)
        return self

    @property
    def base_models(self) -> tuple[str, ...]:
        """Names of the models that are pretrained on the base corpus."""
        return self.stage1.models or tuple(self.models)

    def models_of(self, method: str) -> tuple[str, ...]:
        """Names of the base models that a method is run on."""
        section = self.methods[method]
        return section.models or (self.base_models if section.trained else tuple(self._sizes(method)))

    @property
    def trained_methods(self) -> tuple[str, ...]:
        """Names of the methods that this workflow can train; the others are measured elsewhere. Without any, there is no stage 1."""
        return tuple(name for name, method in self.methods.items() if method.trained)

    def n_base_of(self, method: str, model: str) -> float:
        """Return N of a base model of a method, before growth."""
        if self.methods[method].trained:
            return self.architecture(model).n_params
        return self._size(method, model).n_base

    def points_of(self, method: str, model: str) -> tuple[Sequence[float], Sequence[float]]:
        """Return the D1 and the D2 of a method at a base model: in steps of the trunk, or in tokens if it is measured elsewhere."""
        section = self.methods[method]
        if section.trained:
            grid = self.grid_of(model)
            return section.d1_steps or grid.d1.points, section.d2_steps or grid.d2.points
        size = self._size(method, model)
        return size.d1_tokens, size.d2_tokens

    def _size(self, method: str, model: str) -> MeasuredSize:
        sizes = self._sizes(method)
        if model not in sizes:
            raise UserError(
                f"methods.{method}.models: {model!r} is not in cells_table.cells; it has {sorted(sizes)} of this method"
            )
        return sizes[model]

    def _sizes(self, method: str) -> dict[str, MeasuredSize]:
        if self._measured is None:
            assert self.cells_table is not None  # check_references
            self._measured = measured_sizes(self.cells_table)
        if method not in self._measured:
            raise UserError(
                f"methods.{method}: cells_table.cells has no rows of this method (it has {sorted(self._measured)})"
            )
        return self._measured[method]

    def corpus_of(self, method: str) -> str:
        """Name of a method's stage-2 corpus."""
        return self.methods[method].corpus or self.stage1.corpus

    def part(self, name: str) -> Study:
        """Return a subset as a study with the same name, so that its paths are those of the complete study.

        Raises:
            UserError: the study has no subset of that name.
        """
        if name != "full" and name not in self.subsets:
            raise UserError(
                f"subset {name!r} is not in study {self.name}; it has {sorted({*self.subsets, 'full'})}"
            )
        subset = self.subsets.get(name)
        if subset is None:
            return self._named(name)
        changes: dict[str, Any] = {}

        def only(chosen: tuple[str, ...] | None, among: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(model for model in among if chosen is None or model in chosen)

        base = only(subset.models, self.base_models)
        methods = {}
        for key in self.methods if subset.methods is None else subset.methods:
            if models := only(subset.models, self.models_of(key)):
                methods[key] = self.methods[key].model_copy(update={"models": models})
        scratch = {}
        for key in self.scratch if subset.scratch is None else subset.scratch:
            section = self.scratch[key]
            if models := only(subset.models, section.models or self.base_models):
                scratch[key] = section.model_copy(update={"models": models})
        used = {*base, *(model for section in scratch.values() for model in section.models or ())}
        changes = {
            "models": {key: model for key, model in self.models.items() if key in used},
            "stage1": self.stage1.model_copy(update={"models": base}),
            "methods": methods,
            "scratch": scratch,
            "figure_1_methods": tuple(key for key in self.figure_1_methods if key in methods),
            "repeats": tuple(r for r in self.repeats if set(r.methods or ()) <= set(methods))
            if subset.repeats
            else (),
        }
        if not subset.ablations:
            changes["ablations"] = Ablations()
        if self.downstream is not None:
            points = tuple(point for point in self.downstream.points if point.model in base)
            lost = self.downstream.points and not points
            keep = subset.downstream and not lost
            changes["downstream"] = self.downstream.model_copy(update={"points": points}) if keep else None
        return self.model_copy(update=changes)._named(name)

    def _named(self, part: str) -> Study:
        named = self.model_copy()
        named._part = "" if part == (self.default_subset or "full") else part
        return named

    @property
    def analysis_folder(self) -> str:
        """Folder of tables, fits and figures in `results/`: the study's, or that of a part which is not its default."""
        return f"{self.name}/parts/{self._part}" if self._part else self.name

    def place(self, path: str) -> str:
        """Return where a file of the study is, relative to `results/`. Jobs of all parts are in the study's folder."""
        folder = self.analysis_folder if path.split("/")[0] in _ANALYSIS else self.name
        return f"{folder}/{path}"

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
