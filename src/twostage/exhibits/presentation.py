"""The fits and figure rows of a study, the paths of the fits, and titles of methods in figures.

Pure functions of the study for rules, tables and figures; without pandas or matplotlib, so that parsing the DAG stays
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
MIN_POINTS = 2  # smallest number of distinct D1 and of distinct D2 for a fit
#: Keys that select the models and points of a method; they do not make it a variant.
PLACES = ("models", "d1_steps", "d2_steps")


# Fits ---------------------------------------------------------------------------------------------------------------


def all_pairs(study: Study) -> list[tuple[str, str]]:
    """Every (method, base model) of the study, in its order."""
    return [(name, model) for name in study.methods for model in study.models_of(name)]


def has_grid(study: Study, method: str, model: str) -> bool:
    """Return whether a method has two or more D1 and two or more D2 at a size."""
    section, grid = study.methods[method], study.grid_of(model)
    sizes = (len(section.d1_steps or grid.d1.points), len(section.d2_steps or grid.d2.points))
    return min(sizes) >= MIN_POINTS


def fitted_pairs(study: Study) -> list[tuple[str, str]]:
    """Every (method, base model) with a grid of at least 2 x 2, in the study's order: one fit file each."""
    return [pair for pair in all_pairs(study) if has_grid(study, *pair)]


def main_methods(study: Study) -> list[str]:
    """Methods of Table 1: all keys have the defaults of their kind, except the corpus of continual pretraining."""
    return [name for name in study.methods if not deviations(study, name)]


def deviations(study: Study, name: str) -> list[str]:
    """Keys in which a method deviates from the defaults of its kind; any makes it a variant (Table 2).

    Models, points and explicit shapes are no deviations, nor is the corpus of continual pretraining; that of growth is.
    """
    method = study.methods[name]
    free = {"kind", *PLACES, *method.free_keys}
    fields = type(method).model_fields
    changed = [key for key in fields if key not in free and getattr(method, key) != fields[key].default]
    if method.corpus == study.stage1.corpus and "corpus" in changed:
        changed.remove("corpus")  # set explicitly to the default value
    return changed


def main_pairs(study: Study) -> list[tuple[str, str]]:
    """The (method, base model) of Table 1: main methods with a grid."""
    main = main_methods(study)
    return [pair for pair in fitted_pairs(study) if pair[0] in main]


def variant_pairs(study: Study) -> list[tuple[str, str]]:
    """The (method, base model) of Table 2: all others with a grid."""
    main = main_methods(study)
    return [pair for pair in fitted_pairs(study) if pair[0] not in main]


def fit_path(method: str, model: str) -> str:
    """The fit file, relative to `results/<study>/`."""
    return f"fits/{method}/{model}.json"


# Figures 1, 3, 8 and gradient norms ---------------------------------------------------------------------------------


def shown_model(study: Study, method: str) -> str:
    """The base model at which figures show a method: of its sizes with a grid, the one that most methods have.

    All rows of a figure then show one size, if there is a common one. On a tie, the method's first size is used.

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
    """The (method, base model) that Figures 1 and 3 and gradient norms show, a row or panel each.

    `figure_1_methods`, or the first continual pretraining and the first growth method; only methods with a grid.
    """
    continued, growth = _fitted_methods(study)
    fitted = continued + growth
    chosen = [name for name in study.figure_1_methods if name in fitted] or continued[:1] + growth[:1]
    return [(method, shown_model(study, method)) for method in chosen]


def other_pairs(study: Study) -> list[tuple[str, str]]:
    """The (method, base model) of Figure 8: the main methods that Figure 3 leaves out.

    If there are none, the variants that it leaves out; continual pretraining first.
    """
    shown = {method for method, _ in shown_pairs(study)}
    others = [name for name in chain(*_fitted_methods(study)) if name not in shown]
    main = main_methods(study)
    chosen = [name for name in others if name in main] or others
    return [(method, shown_model(study, method)) for method in chosen]


def _fitted_methods(study: Study) -> tuple[list[str], list[str]]:
    """Methods with a grid: continual pretraining, growth."""
    names = list(dict.fromkeys(name for name, _ in fitted_pairs(study)))
    continued = [name for name in names if not study.methods[name].grows]
    return continued, [name for name in names if name not in continued]


def method_title(study: Study, name: str) -> str:
    """A method's title for a figure, e.g. `Continual pretraining on code (cpt-code)`."""
    return study.methods[name].title(name, study.stage1.corpus)
