"""The study file: one YAML, one scientific experiment, as frozen pydantic models.

`load_study(path)` is the only way in; unknown keys, repeated keys and impossible grids are refused with the key, the
value and the fix. What a study *implies* (cells, segments, paths) is `design.py`'s job; nothing here touches disk
beyond reading the file.
"""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from twostage.architecture import Architecture
from twostage.errors import UserError
from twostage.joint_design import JOINT_FIGURES, joint_source

RESERVED_STUDY_NAMES = frozenset({"published", "reference"})


class Frozen(BaseModel):
    """Base of all sections: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# A name becomes a directory (DESIGN: path = identity), so it must be a plain path component.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$", max_length=64)]
Share = Annotated[float, Field(gt=0, lt=1)]


class EmbeddedCorpus(Frozen):
    """Text that an installed Python environment already holds; needs no download."""

    source: Literal["embedded"]
    domain: Literal["generic", "code", "math"] = Field(description="which of the three embedded domains")
    max_bytes: int | None = Field(
        None, gt=0, description="stop after this many bytes of text; null: everything"
    )
    valid_fraction: Share = Field(0.02, description="share of source files held out for validation")


class FilesCorpus(Frozen):
    """Local text: .txt, .jsonl[.gz|.zst], .parquet, or directories of source files."""

    source: Literal["files"]
    paths: tuple[str, ...] = Field(min_length=1, description="files, globs or directories")
    text_key: str = Field("text", description="field or column that holds the text")
    group_key: str | None = Field(
        None,
        description="field that names a document's source; default: its file, or in .jsonl and .parquet the record itself",
    )
    suffixes: tuple[str, ...] = Field((".py",), description="file endings read from a directory")
    max_bytes: int | None = Field(
        None, gt=0, description="stop after this many bytes of text; null: everything"
    )
    valid_fraction: Share = Field(0.02, description="share of source files held out for validation")


Corpus = Annotated[EmbeddedCorpus | FilesCorpus, Field(discriminator="source")]


class BpeTokenizer(Frozen):
    """A byte-level BPE trained on the train splits of all corpora, in their order in the study."""

    kind: Literal["bpe"]
    vocab_size: int = Field(ge=258, le=1_000_000, description="entries, end-of-document token included")
    train_bytes: int = Field(
        16_000_000, gt=0, description="bytes of text read for training, over all corpora"
    )


class TokenizerFile(Frozen):
    """An existing `tokenizer.json`."""

    kind: Literal["file"]
    path: str = Field(description="local path of a tokenizer.json")
    vocab_size: int = Field(ge=258, le=1_000_000, description="entries; must match the file")


Tokenizer = Annotated[BpeTokenizer | TokenizerFile, Field(discriminator="kind")]


def _chain(steps: tuple[int, ...]) -> tuple[int, ...]:
    for value in steps:
        if value < 10 or value % 10:
            nearest = max(10, round(value / 10) * 10)
            raise ValueError(
                f"{value} is not a positive multiple of 10 (a decay branch takes a tenth of the trunk); nearest: {nearest}"
            )
    if list(steps) != sorted(set(steps)):
        raise ValueError(f"{list(steps)} must rise strictly; write {sorted(set(steps))}")
    return steps


Steps = Annotated[tuple[int, ...], AfterValidator(_chain)]


class Grid(Frozen):
    """Trunk lengths at which a run branches off into a decay, in optimizer steps, warmup included."""

    trunk_steps: Steps = Field(
        min_length=1, description="the chain: each segment starts where the one before ended"
    )
    extra_steps: Steps = Field(
        (), description="side segments from the largest smaller chain point; the chain is not retrained"
    )

    @model_validator(mode="after")
    def _disjoint(self) -> Grid:
        if both := sorted(set(self.trunk_steps) & set(self.extra_steps)):
            raise ValueError(
                f"extra_steps: {both} are in trunk_steps already; remove them from one of the two"
            )
        return self

    @property
    def points(self) -> tuple[int, ...]:
        """All trunk lengths, rising."""
        return tuple(sorted(self.trunk_steps + self.extra_steps))

    def start_of(self, steps: int) -> int:
        """Return the chain point that the segment ending at `steps` starts from (0: the run's start)."""
        if steps not in self.points:
            raise UserError(f"trunk length {steps} is not on the grid {list(self.points)}")
        return max((point for point in self.trunk_steps if point < steps), default=0)


class ModelGrid(Frozen):
    """The grid of both stages."""

    d1: Grid = Field(description="stage 1: base checkpoints")
    d2: Grid = Field(description="stage 2")


class Model(Frozen):
    """A base model and the training settings that go with its size (Tables 3 and 5 of the paper)."""

    n_layer: int = Field(gt=0)
    d_model: int = Field(gt=0)
    n_head: int = Field(gt=0)
    head_dim: int | None = Field(None, gt=0, description="default: d_model / n_head")
    d_mlp: int | None = Field(None, gt=0, description="default: 4 d_model (paper, B.2)")
    batch_size: int = Field(gt=0, description="samples per optimizer step")
    warmup_steps: int = Field(ge=0)
    peak_lr: float = Field(gt=0)
    init_std: float | None = Field(None, gt=0, description="default: sqrt(2 / (5 d_model)) (paper, B.3)")
    grid: ModelGrid | None = Field(None, description="replaces the study's grid for this model")

    @model_validator(mode="after")
    def _heads_divide(self) -> Model:
        if self.head_dim is None and self.d_model % self.n_head:
            raise ValueError(
                f"n_head: {self.n_head} does not divide d_model {self.d_model}; change one of them or set head_dim"
            )
        head_dim = self.head_dim or self.d_model // self.n_head
        if head_dim % 2:
            raise ValueError(
                f"head_dim: {head_dim} must be even (rotary positions turn pairs); change d_model or n_head"
            )
        return self

    @property
    def effective_init_std(self) -> float:
        """Standard deviation of the initial weights."""
        return self.init_std if self.init_std is not None else math.sqrt(2 / (5 * self.d_model))


class Recipe(Frozen):
    """How every model of the study is trained (Table 4 of the paper)."""

    schedule: Literal["wsd"] = "wsd"
    final_lr_fraction: float = Field(
        0.1, ge=0, lt=1, description="learning rate at the end of a decay, over the peak"
    )
    adam_beta1: float = Field(0.9, ge=0, lt=1)
    adam_beta2: float = Field(0.95, ge=0, lt=1)
    adam_eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    grad_clip: float = Field(1.0, gt=0)
    norm_eps: float = Field(1e-5, gt=0, description="LLaMA 2's")
    rope_base: int = Field(10_000, gt=0, description="LLaMA 2's")
    scaled_output_init: bool = Field(
        True,
        description="attention and MLP output weights start at init_std / sqrt(2 n_layer), Megatron's default",
    )
    precision: Literal["fp32"] = "fp32"


class Stage1(Frozen):
    """Pretraining of the base models."""

    corpus: Name = Field(description="the base corpus")


class MethodBase(Frozen):
    """What all kinds of stage 2 share."""

    models: tuple[Name, ...] | None = Field(None, description="base models; default: all")
    d1_steps: Steps | None = Field(None, description="only these points of the stage-1 grid; default: all")
    d2_steps: Steps | None = Field(None, description="only these points of the stage-2 grid; default: all")


class Cpt(MethodBase):
    """Continual pretraining on another corpus."""

    kind: Literal["cpt"]
    corpus: Name
    replay: float = Field(
        0.0, ge=0, lt=1, description="share of stage-1 data in the mixture, counted in tokens"
    )

    @model_validator(mode="after")
    def _replay_is_a_small_fraction(self) -> Cpt:
        if self.replay_fraction.denominator > 1000:
            raise ValueError(
                f"replay: {self.replay} needs at most three decimals, so that a short pattern holds it exactly"
            )
        return self

    @property
    def replay_fraction(self) -> Fraction:
        """The replay share, exactly as it is written in the study."""
        return Fraction(str(self.replay))


class Stack(MethodBase):
    """Depth growth: the layers are repeated `factor` times."""

    kind: Literal["stack"]
    factor: int = Field(2, ge=2, le=16)


class ExpandShape(Frozen):
    """An explicit width to expand to."""

    d_model: int = Field(gt=0)
    n_head: int = Field(gt=0)
    d_mlp: int = Field(gt=0)


class Expand(MethodBase):
    """Width growth that preserves the function; N doubles within 1 % where a shape allows it."""

    kind: Literal["expand"]
    split: Literal["random", "equal"] = Field("random", description="how copies share their outgoing weights")
    init: Literal["duplicate", "zero"] = Field("duplicate", description="copies of neurons, or zero padding")
    shapes: dict[Name, ExpandShape] = Field(
        {}, description="explicit shapes by base model; default: our rule"
    )


Method = Annotated[Cpt | Stack | Expand, Field(discriminator="kind")]


class Scratch(Frozen):
    """From-scratch runs on a corpus, beside the base runs."""

    corpus: Name
    models: tuple[Name, ...] | None = Field(None, description="default: all")


class Evaluation(Frozen):
    """How validation losses are measured."""

    batch_size: int = Field(32, gt=0, description="samples per forward pass; fixed, since it enters rounding")


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


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML that refuses repeated keys instead of silently keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
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
    """Read and check a study file.

    Raises:
        UserError: the file is missing, is not YAML, or breaks a rule; the message names file, key, value and fix.
    """
    path = Path(path)
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
