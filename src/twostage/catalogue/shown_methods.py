"""Which fits a study has, which methods and model sizes its figures and tables show, and their titles.

Pure functions of the study for rules, tables and figures; without pandas or matplotlib, so that building the DAG stays
fast. `catalogue` decides whether a figure can be drawn.
"""

from __future__ import annotations

from itertools import chain

from twostage.common.errors import UserError
from twostage.study import Study

#: Methods by their conventional names -> row of the paper's Tables 1, 2 and 7 (a model of 0.1B).
PAPER_VARIANTS = {
    "cpt-code": "CPT (code)",
    "cpt-math": "CPT (math)",
    "expand": "Expand",
    "stack": "Stack",
    "cpt-code-replay": "CPT (replay)",
    "cpt-code-stable": "CPT (stable)",
    "stack-x4": "Stack (x4)",
    "stack-stable": "Stack (stable)",
}
MIN_POINTS = 2  # distinct D1 and distinct D2: with one of either there is no curve to fit
#: Keys that say at which models and grid points a method is run; they do not change the method itself.
PLACES = ("models", "d1_steps", "d2_steps")


# Fits ---------------------------------------------------------------------------------------------------------------


def all_pairs(study: Study) -> list[tuple[str, str]]:
    """Return every (method, base model), in the order of the study file."""
    return [(name, model) for name in study.methods for model in study.models_of(name)]


def has_grid(study: Study, method: str, model: str) -> bool:
    """Return whether a method has two or more D1 and two or more D2 at a base model."""
    return min(map(len, study.points_of(method, model))) >= MIN_POINTS


def fitted_pairs(study: Study) -> list[tuple[str, str]]:
    """Return every (method, base model) with a grid of at least 2 x 2, in the order of the study file. Each has a fit file."""
    return [pair for pair in all_pairs(study) if has_grid(study, *pair)]


def main_methods(study: Study) -> list[str]:
    """Return the methods of Table 1: those without `deviations`."""
    return [name for name in study.methods if not deviations(study, name)]


def deviations(study: Study, name: str) -> list[str]:
    """Return the keys that differ from the defaults of the method's kind. A method with any is a variant (Table 2).

    `PLACES` and the `free_keys` of the kind do not count. So another corpus makes a growth method a variant, but not a
    continual-pretraining method.
    """
    method = study.methods[name]
    free = {"kind", *PLACES, *method.free_keys}
    fields = type(method).model_fields
    changed = [key for key in fields if key not in free and getattr(method, key) != fields[key].default]
    if method.corpus == study.stage1.corpus and "corpus" in changed:
        changed.remove("corpus")  # the default, written explicitly
    return changed


def main_pairs(study: Study) -> list[tuple[str, str]]:
    """Return the (method, base model) of Table 1: main methods with a grid."""
    main = main_methods(study)
    return [pair for pair in fitted_pairs(study) if pair[0] in main]


def variant_pairs(study: Study) -> list[tuple[str, str]]:
    """Return the (method, base model) of Table 2: variants with a grid."""
    main = main_methods(study)
    return [pair for pair in fitted_pairs(study) if pair[0] not in main]


def fit_path(method: str, model: str) -> str:
    """Return the path of a fit file, relative to `results/<study>/`."""
    return f"fits/{method}/{model}.json"


# Figures 1, 3, 8 and gradient norms ---------------------------------------------------------------------------------


def shown_model(study: Study, method: str) -> str:
    """Return the base model for which figures show a method.

    Of the method's base models with a grid, this is the one that most methods have, so that the rows of a figure show the same
    size if possible. Among equals it is the first.

    Raises:
        UserError: the method has no grid of at least 2 x 2.
    """
    pairs = fitted_pairs(study)
    models = [model for name, model in pairs if name == method]
    if not models:
        raise UserError(f"method {method!r} has no size with two or more D1 and D2; add points to its grid")
    counts = {model: sum(other == model for _, other in pairs) for model in models}
    return max(models, key=lambda model: counts[model])


def shown_pairs(study: Study) -> list[tuple[str, str]]:
    """Return the (method, base model) of the rows or panels of Figures 1 and 3 and of the gradient norms.

    `figure_1_methods`, or the first continual pretraining and the first growth method, at `figure_1_models`, or at `shown_model`;
    only methods and models with a grid.
    """
    continued, growth = _fitted_methods(study)
    fitted = continued + growth
    chosen = [name for name in study.figure_1_methods if name in fitted] or continued[:1] + growth[:1]
    pairs = fitted_pairs(study)
    rows = []
    for method in chosen:
        models = [model for model in study.figure_1_models if (method, model) in pairs]
        rows += [(method, model) for model in models or [shown_model(study, method)]]
    return rows


def other_pairs(study: Study) -> list[tuple[str, str]]:
    """Return the (method, base model) of Figure 8: the main methods that Figure 3 does not show.

    If there are none, the variants that it does not show. Continual pretraining comes first.
    """
    shown = {method for method, _ in shown_pairs(study)}
    others = [name for name in chain(*_fitted_methods(study)) if name not in shown]
    main = main_methods(study)
    chosen = [name for name in others if name in main] or others
    return [(method, shown_model(study, method)) for method in chosen]


def _fitted_methods(study: Study) -> tuple[list[str], list[str]]:
    """Return the methods with a grid: those of continual pretraining, and those of growth."""
    names = list(dict.fromkeys(name for name, _ in fitted_pairs(study)))
    continued = [name for name in names if not study.methods[name].grows]
    return continued, [name for name in names if name not in continued]


def method_title(study: Study, name: str) -> str:
    """Return the title of a method for a figure, e.g. `Continual pretraining on code (cpt-code)`."""
    return study.methods[name].title(name, study.stage1.corpus)
