"""Checks across the sections of a study: names must be declared, steps must be on a grid.

Each problem raises a `ValueError` that names the key, the value and the fix. `load_study` reports it with the file.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, Any

from twostage.methods import Method
from twostage.study.corpora import BpeTokenizer

if TYPE_CHECKING:
    from twostage.study.study import Study

#: Names that fits and tables use for something else.
RESERVED_METHODS = {"scratch": "from-scratch runs", "joint": "fits over all sizes"}


def check_references(study: Study) -> None:
    """Raise `ValueError` if a section of the study refers to something that no other section declares."""
    _known("stage1.corpus", study.stage1.corpus, study.corpora, "corpora")
    _all_known("stage1.models", study.stage1.models, study.models, "models")
    if isinstance(study.tokenizer, BpeTokenizer):
        _all_known("tokenizer.corpora", study.tokenizer.corpora, study.corpora, "corpora")
    for name in study.methods:
        _check_method(study, name)
    for name, scratch in study.scratch.items():
        key = f"scratch.{name}"
        _known(f"{key}.corpus", scratch.corpus, study.corpora, "corpora")
        _all_known(f"{key}.models", scratch.models, study.models, "models")
        for model in scratch.models or study.base_models:
            _on_grid(f"{key}.steps", scratch.steps, study.grid_of(model).d1.points, model)
    _check_repeats(study)
    _check_schedules(study)
    _all_known("figure_1_methods", study.figure_1_methods, study.methods, "methods")
    _check_subsets(study)
    for key, values in (
        ("seeds", study.seeds),
        ("figures", study.figures or ()),
        ("tables", study.tables or ()),
    ):
        _once(key, values)


def _known(key: str, name: str, section: Container[str], kind: str) -> None:
    if name not in section:
        listed = sorted(section)  # type: ignore[call-overload]
        raise ValueError(
            f"{key}: {name!r} is not one of the study's {kind} {listed}; declare it or correct the name"
        )


def _all_known(key: str, names: Iterable[str] | None, section: Container[str], kind: str) -> None:
    names = tuple(names or ())
    for name in names:
        _known(key, name, section, kind)
    _once(key, names)


def _once(key: str, values: Iterable[Any]) -> None:
    values = list(values)
    if len(set(values)) != len(values):
        raise ValueError(f"{key}: {values} repeats a value; write each value once")


def _on_grid(key: str, values: Iterable[int] | None, points: tuple[int, ...], model: str) -> None:
    for value in values or ():
        if value not in points:
            nearest = min(points, key=lambda point: abs(point - value))
            raise ValueError(
                f"{key}: {value} is not on the grid {list(points)} of model {model}; nearest: {nearest}"
            )


def _check_method(study: Study, name: str) -> None:
    key, method = f"methods.{name}", study.methods[name]
    base = study.stage1.corpus
    if meaning := RESERVED_METHODS.get(name):
        raise ValueError(f"{key}: {name!r} is reserved for {meaning}; choose another name")
    if not method.trained:
        if study.cells_table is None:
            raise ValueError(
                f"{key}.kind: a measured method is not trained, so its losses must be given; add cells_table: {{cells: cells.csv}}"
            )
        return
    _all_known(f"{key}.models", method.models, study.base_models, "base models")
    if method.corpus is not None:
        _known(f"{key}.corpus", method.corpus, study.corpora, "corpora")
    try:
        method.check(base, study.models)
    except ValueError as error:
        raise ValueError(f"{key}.{error}") from None
    _check_data(key, method, base)
    for model in study.models_of(name):
        grid = study.grid_of(model)
        _on_grid(f"{key}.d1_steps", method.d1_steps, grid.d1.points, model)
        _on_grid(f"{key}.d2_steps", method.d2_steps, grid.d2.points, model)
        shortest = min(method.d2_steps or grid.d2.points)
        if method.warmup_steps is not None and method.warmup_steps > shortest:
            raise ValueError(
                f"{key}.warmup_steps: {method.warmup_steps} is longer than the shortest trunk of grid.d2 ({shortest} steps)"
            )
    if method.start == "trunk" and study.recipe.schedule == "cosine":
        raise ValueError(
            f"{key}.start: a cosine schedule has no stable phase to start from; set start: decay or recipe.schedule: wsd"
        )
    if method.start == "trunk" and method.schedule == "cosine":
        raise ValueError(
            f"{key}.schedule: cosine warms up again, but start: trunk continues at the peak rate; remove one of the two"
        )


def _check_data(key: str, method: Method, base: str) -> None:
    other_corpus = method.corpus not in (None, base)
    if method.replay and not other_corpus:
        raise ValueError(
            f"{key}.replay: {method.replay} mixes the base corpus into itself; set corpus to another one, or remove replay"
        )
    if method.data == "fresh" and other_corpus:
        raise ValueError(
            f"{key}.data: fresh applies to the base corpus, but stage 2 is trained on {method.corpus!r}; remove data"
        )


def _check_repeats(study: Study) -> None:
    seen = set(study.seeds)
    for index, repeat in enumerate(study.repeats):
        key = f"repeats[{index}]"
        _once(f"{key}.seeds", repeat.seeds)
        if both := sorted(set(repeat.seeds) & set(study.seeds)):
            raise ValueError(f"{key}.seeds: {both} are in the study's `seeds` already; choose others")
        seen |= set(repeat.seeds)
        _all_known(f"{key}.methods", repeat.methods, study.trained_methods, "trained methods")
        _all_known(f"{key}.models", repeat.models, study.base_models, "base models")
        for name in repeat.methods or study.trained_methods:
            method = study.methods[name]
            for model in study.models_of(name):
                if repeat.models is not None and model not in repeat.models:
                    continue
                grid = study.grid_of(model)
                _on_grid(f"{key}.d1_steps", repeat.d1_steps, method.d1_steps or grid.d1.points, model)
                _on_grid(f"{key}.d2_steps", repeat.d2_steps, method.d2_steps or grid.d2.points, model)


def _check_schedules(study: Study) -> None:
    for name, model in study.models.items():
        grid = study.grid_of(name)
        for stage, points in (("d1", grid.d1.points), ("d2", grid.d2.points)):
            if model.warmup_steps > points[0]:
                raise ValueError(
                    f"models.{name}.warmup_steps: {model.warmup_steps} is longer than the shortest trunk of grid.{stage} "
                    f"({points[0]} steps); shorten the warmup or start the grid later"
                )
    ablation = study.ablations.schedule
    if ablation is None:
        return
    key = "ablations.schedule"
    _known(f"{key}.model", ablation.model, study.base_models, "base models")
    if ablation.against == study.recipe.schedule:
        raise ValueError(
            f"{key}.against: {ablation.against!r} is already the schedule of `recipe`; choose another"
        )
    warmup = study.models[ablation.model].warmup_steps
    if warmup >= ablation.total_steps * 9 // 10:
        raise ValueError(
            f"{key}.total_steps: {ablation.total_steps} leaves no steps between the warmup of {warmup} and the decay; increase it"
        )


def _check_subsets(study: Study) -> None:
    for name, subset in study.subsets.items():
        key = f"subsets.{name}"
        if name == "full":
            raise ValueError(f"{key}: full is reserved for the complete study; choose another name")
        _all_known(f"{key}.methods", subset.methods, study.methods, "methods")
        _all_known(f"{key}.models", subset.models, study.models, "models")
        _all_known(f"{key}.scratch", subset.scratch, study.scratch, "from-scratch sections")
    if study.default_subset not in (None, "full"):
        _known("default_subset", str(study.default_subset), study.subsets, "subsets")
