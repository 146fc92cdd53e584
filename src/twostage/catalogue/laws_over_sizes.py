"""The laws over N that a study can fit (Figures 4, 9, 10, 11, Table 8), and the paths of their fit files.

Pure functions of a study, for its own checks, for rules and for scripts; without pandas, so that parsing the DAG stays
fast. Nothing is fitted here (`analysis.joint_fit`) and nothing drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from twostage.common.errors import UserError
from twostage.study import Study

#: As in `laws.checks`, whose NumPy would make parsing slow; a test keeps them equal.
MIN_SIZES, MIN_SIZE_RANGE = 3, 4.0
#: Why a study of measured methods has no law of models from scratch.
NO_SCRATCH = "methods: all are of kind measured, and there are no models from scratch to compare them with"
MIN_STEPS = 2  # distinct D1 and D2 of each model: with fewer the exponents are not identified


def joint_fit_path(method: str) -> str:
    """The fit file of a method's joint law, relative to `results/<study>/`."""
    return f"fits/joint/{method}.json"


def scratch_fit_path(corpus: str) -> str:
    """The fit file of models from scratch on a corpus, relative to `results/<study>/`."""
    return f"fits/scratch/{corpus}.json"


def check_joint(study: Study, method: str) -> None:
    """Raise `UserError`, with key, value and fix, if a method's joint law cannot be fitted."""
    if method not in study.methods:
        raise UserError(f"method {method!r} is not in study {study.name}; it has {sorted(study.methods)}")
    if shortage := _shortage_of_method(study, method):
        raise UserError(f"the joint law of {method} cannot be fitted: {shortage}")


def check_scratch(study: Study, corpus: str) -> None:
    """Raise `UserError` if the law of models from scratch on a corpus cannot be fitted; see `check_joint`."""
    if shortage := _shortage_of_scratch(study, corpus):
        raise UserError(f"the law of models from scratch on {corpus!r} cannot be fitted: {shortage}")


def joint_fits(study: Study, kind: str, *, scratch: bool) -> list[str]:
    """Fit files of the first method of a kind with enough sizes, and, if requested, of models from scratch on its corpus.

    A method that was measured elsewhere counts as `stack` if it grows the model, and as `cpt` if it does not.

    Relative to `results/<study>/`; empty if there is no such method, or not enough models from scratch.
    """
    found = _joint_source(study, kind, scratch=scratch)
    return [] if isinstance(found, str) else found


def joint_obstacle(study: Study, kind: str, *, scratch: bool) -> str:
    """Return why `joint_fits` is empty, with key, value and fix; "" if it is not."""
    found = _joint_source(study, kind, scratch=scratch)
    return found if isinstance(found, str) else ""


def _joint_source(study: Study, kind: str, *, scratch: bool) -> list[str] | str:
    problem = f"it needs a method of kind {kind} at {MIN_SIZES} or more sizes over {MIN_SIZE_RANGE:g}x in N"
    if scratch and not study.trained_methods:
        return NO_SCRATCH
    names = [name for name in study.methods if _kind(study, name) == kind]
    if not names:
        return f"{problem}, but methods {sorted(study.methods)} has none; add one"
    shortages = {name: _shortage_of_method(study, name) for name in names}
    method = next((name for name, shortage in shortages.items() if not shortage), None)
    if method is None:
        return f"{problem}; {'; '.join(dict.fromkeys(shortages.values()))}"
    if not scratch:
        return [joint_fit_path(method)]
    corpus = study.corpus_of(method)
    if shortage := _shortage_of_scratch(study, corpus):
        return f"it compares method {method} with models trained from scratch on {corpus!r}; {shortage}"
    return [joint_fit_path(method), scratch_fit_path(corpus)]


def _kind(study: Study, name: str) -> str:
    method = study.methods[name]
    if method.trained:
        return method.kind
    return "stack" if method.grows else "cpt"


def sizes_fits(study: Study) -> list[str]:
    """Every law over N that the study can fit, relative to `results/<study>/`: of models from scratch, then of methods."""
    corpora = dict.fromkeys([study.stage1.corpus, *(section.corpus for section in study.scratch.values())])
    scratch = [scratch_fit_path(corpus) for corpus in corpora if not _shortage_of_scratch(study, corpus)]
    joint = [joint_fit_path(name) for name in study.methods if not _shortage_of_method(study, name)]
    return scratch + joint


def sizes_obstacle(study: Study) -> str:
    """Return why no law over N can be fitted, with the fix; "" if one can."""
    if sizes_fits(study):
        return ""
    if study.trained_methods:
        return _shortage_of_scratch(study, study.stage1.corpus)
    return "; ".join(dict.fromkeys(_shortage_of_method(study, name) for name in study.methods))


def _shortage_of_method(study: Study, name: str) -> str:
    """Return why the joint law of a method cannot be fitted, with the fix; "" if it can."""
    method = study.methods[name]
    models = study.models_of(name)
    if few := _few_sizes({model: study.n_base_of(name, model) for model in models}):
        key = f"methods.{name}.models" if method.models or not method.trained else "models"
        return f"{key}: {few}; list more models"
    for key, where, points in _points(study, name):
        if len(points) < MIN_STEPS:
            return f"{key}: {list(points)} for {where} is fewer than {MIN_STEPS} values; add a value"
    return ""


def _points(study: Study, name: str) -> Iterator[tuple[str, str, Sequence[float]]]:
    """Yield what must have two values: D1 and D2 of each model, or, of a table that was measured elsewhere, of all together."""
    models = study.models_of(name)
    if study.methods[name].trained:
        for model in models:
            d1, d2 = study.points_of(name, model)
            yield "grid.d1 or d1_steps", f"model {model}", d1
            yield "grid.d2 or d2_steps", f"model {model}", d2
        return
    for place, column in enumerate(("d1_tokens", "d2_tokens")):
        found = {value for model in models for value in study.points_of(name, model)[place]}
        yield f"cells_table.cells, column {column}", f"method {name}", sorted(found)


def _shortage_of_scratch(study: Study, corpus: str) -> str:
    """Return why the from-scratch law of a corpus cannot be fitted, with the fix; "" if it can."""
    if not study.trained_methods:
        return NO_SCRATCH
    sections = [section for section in study.scratch.values() if section.corpus == corpus]
    models = {name for section in sections for name in section.models or study.base_models}
    if corpus == study.stage1.corpus:
        models |= set(study.base_models)
    if not models:
        return f"scratch: there are no runs on {corpus!r}; add {corpus}: {{corpus: {corpus}}}"
    if few := _few_sizes({model: study.architecture(model).n_params for model in models}):
        key = "models" if models == set(study.models) else f"scratch of corpus {corpus}, models"
        return f"{key}: {few}; list more models"
    for model in sorted(models):
        if len(steps := study.grid_of(model).d1.points) < MIN_STEPS:
            return f"grid.d1: {list(steps)} for model {model} is fewer than {MIN_STEPS} values; add a value"
    return ""


def _few_sizes(sizes: Mapping[str, float]) -> str:
    distinct = sorted(set(sizes.values()))
    if len(distinct) >= MIN_SIZES and distinct[-1] >= MIN_SIZE_RANGE * distinct[0]:
        return ""
    listed = ", ".join(
        f"{model} (N = {n:.3g})" for model, n in sorted(sizes.items(), key=lambda item: item[1])
    )
    return f"{listed} is fewer than {MIN_SIZES} sizes or spans less than {MIN_SIZE_RANGE:g}x in N"
