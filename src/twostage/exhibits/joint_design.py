"""Which of Figures 4 (left, right), 9, 10 and 11 a study can draw, from which laws over N, and where those lie.

Pure functions of a study, for its own checks, for rules and for scripts; without pandas, so that parsing the DAG stays
fast. Nothing is fitted here (`analysis.joint_fit`) and nothing drawn (`figures.from_fits`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from twostage.common.errors import UserError
from twostage.methods import Method
from twostage.study import Study

#: Figure -> kind of the method behind it (the first such method with enough sizes), and whether it needs the law of
#: models trained from scratch on the method's corpus.
JOINT_FIGURES: dict[str, tuple[str, bool]] = {
    "figure-4-left": ("cpt", False),
    "figure-4-right": ("stack", True),
    "figure-9": ("stack", False),
    "figure-10": ("stack", True),
    "figure-11": ("cpt", True),
}
#: As in `laws.checks`, whose NumPy would make parsing slow; a test keeps them equal.
MIN_SIZES, MIN_SIZE_RANGE = 3, 4.0
MIN_STEPS = 2  # distinct D1 and D2 of each model: with fewer the exponents are not identified


@dataclass(frozen=True)
class JointSource:
    """What a figure is drawn from: a method, and the corpus of the from-scratch runs (None: not needed)."""

    method: str
    corpus: str | None

    @property
    def joint_fit(self) -> str:
        """The joint law's fit file, relative to `results/<study>/`."""
        return f"fits/joint/{self.method}.json"

    @property
    def scratch_fit(self) -> str | None:
        """The from-scratch law's fit file, relative to `results/<study>/`."""
        return None if self.corpus is None else f"fits/scratch/{self.corpus}.json"

    @property
    def fits(self) -> list[str]:
        """Both fit files, those that are needed."""
        return [path for path in (self.joint_fit, self.scratch_fit) if path is not None]


def check_joint(study: Study, method: str) -> None:
    """Raise `UserError` where a method's joint law cannot be fitted: key, value and fix are named."""
    if method not in study.methods:
        raise UserError(f"method {method!r} is not in study {study.name}; it has {sorted(study.methods)}")
    if shortage := _shortage_of_method(study, method):
        raise UserError(f"the joint law of {method} cannot be fitted: {shortage}")


def check_scratch(study: Study, corpus: str) -> None:
    """Raise `UserError` where the law of models from scratch on a corpus cannot be fitted; as `check_joint`."""
    if shortage := _shortage_of_scratch(study, corpus):
        raise UserError(f"the law of models from scratch on {corpus!r} cannot be fitted: {shortage}")


def joint_source(study: Study, figure: str) -> JointSource:
    """Return what a figure is drawn from.

    Raises:
        UserError: the study lacks the sizes, the method or the from-scratch runs; key, value and fix are named.
    """
    source = _source(study, figure)
    if isinstance(source, str):
        raise UserError(f"figures: {figure!r} cannot be drawn: {source}, or leave {figure!r} out of figures")
    return source


def joint_obstacle(study: Study, figure: str) -> str:
    """Why a figure cannot be drawn, with the fix; empty where it can."""
    source = _source(study, figure)
    return source if isinstance(source, str) else ""


def _source(study: Study, figure: str) -> JointSource | str:
    if figure not in JOINT_FIGURES:
        raise UserError(
            f"figure {figure!r} is not drawn from laws over N; those are {', '.join(JOINT_FIGURES)}"
        )
    kind, needs_scratch = JOINT_FIGURES[figure]
    problem = f"it needs a method of kind {kind} at {MIN_SIZES} or more sizes over {MIN_SIZE_RANGE:g}x in N"
    names = [name for name, method in study.methods.items() if method.kind == kind]
    if not names:
        return f"{problem}, but methods {sorted(study.methods)} has none; add one"
    shortages = {name: _shortage_of_method(study, name) for name in names}
    method = next((name for name, shortage in shortages.items() if not shortage), None)
    if method is None:
        return f"{problem}; {'; '.join(dict.fromkeys(shortages.values()))}"
    if not needs_scratch:
        return JointSource(method, None)
    corpus = study.corpus_of(method)
    if shortage := _shortage_of_scratch(study, corpus):
        return f"it compares method {method} with models trained from scratch on {corpus!r}; {shortage}"
    return JointSource(method, corpus)


def sizes_fits(study: Study) -> list[str]:
    """Every law over N that the study can fit, relative to `results/<study>/`: of models from scratch, then of methods."""
    corpora = dict.fromkeys([study.stage1.corpus, *(section.corpus for section in study.scratch.values())])
    scratch = [f"fits/scratch/{corpus}.json" for corpus in corpora if not _shortage_of_scratch(study, corpus)]
    joint = [f"fits/joint/{name}.json" for name in study.methods if not _shortage_of_method(study, name)]
    return scratch + joint


def sizes_obstacle(study: Study) -> str:
    """Why no law over N can be fitted at all, with the fix; empty where one can."""
    return "" if sizes_fits(study) else _shortage_of_scratch(study, study.stage1.corpus)


def _shortage_of_method(study: Study, name: str) -> str:
    """Why the joint law of a method cannot be fitted, with the fix; empty where it can."""
    method = study.methods[name]
    models = study.models_of(name)
    if few := _few_sizes(study, models):
        key = f"methods.{name}.models" if method.models else "models"
        return f"{key}: {few}; list more models"
    for model in models:
        for key, steps in _steps(study, method, model):
            if len(steps) < MIN_STEPS:
                return f"{key}: {list(steps)} for model {model} is fewer than {MIN_STEPS} values; add a value"
    return ""


def _steps(study: Study, method: Method, model: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    grid = study.grid_of(model)
    yield "grid.d1 or d1_steps", method.d1_steps or grid.d1.points
    yield "grid.d2 or d2_steps", method.d2_steps or grid.d2.points


def _shortage_of_scratch(study: Study, corpus: str) -> str:
    """Why the from-scratch law of a corpus cannot be fitted, with the fix; empty where it can."""
    sections = [section for section in study.scratch.values() if section.corpus == corpus]
    models = {name for section in sections for name in section.models or study.base_models}
    if corpus == study.stage1.corpus:
        models |= set(study.base_models)
    if not models:
        return f"scratch: there are no runs on {corpus!r}; add {corpus}: {{corpus: {corpus}}}"
    if few := _few_sizes(study, models):
        key = "models" if models == set(study.models) else f"scratch of corpus {corpus}, models"
        return f"{key}: {few}; list more models"
    for model in sorted(models):
        if len(steps := study.grid_of(model).d1.points) < MIN_STEPS:
            return f"grid.d1: {list(steps)} for model {model} is fewer than {MIN_STEPS} values; add a value"
    return ""


def _few_sizes(study: Study, models: Iterable[str]) -> str:
    sizes = {model: study.architecture(model).n_params for model in models}
    distinct = sorted(set(sizes.values()))
    if len(distinct) >= MIN_SIZES and distinct[-1] >= MIN_SIZE_RANGE * distinct[0]:
        return ""
    listed = ", ".join(
        f"{model} (N = {n:.3g})" for model, n in sorted(sizes.items(), key=lambda item: item[1])
    )
    return f"{listed} is fewer than {MIN_SIZES} sizes or spans less than {MIN_SIZE_RANGE:g}x in N"
