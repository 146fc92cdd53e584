"""Which fits and figure rows a study has, where they lie, and what methods are called in them.

Pure functions of the study for rules, tables and figures; without pandas or matplotlib, so that parsing the DAG stays
fast. Whether a figure can be drawn at all is `catalogue`'s question.
"""

from __future__ import annotations

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
#: Where a method is trained and measured, not what it does.
PLACES = ("models", "d1_steps", "d2_steps")


# Fits ---------------------------------------------------------------------------------------------------------------


def all_pairs(study: Study) -> list[tuple[str, str]]:
    """Every (method, base model) of the study, in its order."""
    return [(name, model) for name in study.methods for model in study.models_of(name)]


def has_grid(study: Study, method: str, model: str) -> bool:
    """Tell whether a method has two or more D1 and two or more D2 at a size."""
    section, grid = study.methods[method], study.grid_of(model)
    sizes = (len(section.d1_steps or grid.d1.points), len(section.d2_steps or grid.d2.points))
    return min(sizes) >= MIN_POINTS


def fitted_pairs(study: Study) -> list[tuple[str, str]]:
    """Every (method, base model) with a grid of at least 2 x 2, in the study's order: one fit file each."""
    return [pair for pair in all_pairs(study) if has_grid(study, *pair)]


def main_methods(study: Study) -> list[str]:
    """Methods of Table 1: nothing deviates from the defaults of their kind but the corpus of continual pretraining."""
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
        changed.remove("corpus")  # written out, but the default
    return changed


def table_pairs(study: Study, table: str) -> list[tuple[str, str]]:
    """The (method, base model) that a table has a row for: main ones in Table 1, variants in Table 2, all in Table 7.

    Raises:
        UserError: not a table with a row for each method.
    """
    main = main_methods(study)
    if table not in ("table-1", "table-2", "table-7"):
        raise UserError(f"table {table!r} has no row for each method; choose table-1, table-2 or table-7")
    return [
        (name, model)
        for name, model in fitted_pairs(study)
        if table == "table-7" or (name in main) == (table == "table-1")
    ]


def fit_path(method: str, model: str) -> str:
    """The fit file, relative to `results/<study>/`."""
    return f"fits/{method}/{model}.json"


def table_fits(study: Study, table: str) -> list[str]:
    """The fit files behind Table 1, 2 or 7, a row each, relative to `results/<study>/`."""
    return [fit_path(*pair) for pair in table_pairs(study, table)]


# Figures 1, 3, 8 and gradient norms ---------------------------------------------------------------------------------


def shown_model(study: Study, method: str) -> str:
    """The base model at which figures show a method: of its sizes with a grid, the one that most methods have.

    So all rows of a figure show one size where there is one; of equals the method's first.

    Raises:
        UserError: the method has no grid of at least 2 x 2.
    """
    pairs = fitted_pairs(study)
    models = [model for name, model in pairs if name == method]
    if not models:
        raise UserError(f"method {method!r} has no size with two or more D1 and D2; add points to its grid")
    counts = {model: sum(other == model for _, other in pairs) for model in models}
    return max(models, key=lambda model: counts[model])


def figure_pairs(study: Study, figure: str) -> list[tuple[str, str]]:
    """The (method, base model) that a figure shows, a row or panel each; only methods with a grid of at least 2 x 2.

    Figures 1 and 3 and gradient norms: `figure_1_methods`, or the first continual pretraining and the first growth
    method. Figure 8, in the form of Figure 3: the main methods that Figure 3 leaves out, or, if there are none, the
    variants that it leaves out; continual pretraining first.

    Raises:
        UserError: not a figure with a row or panel for each method.
    """
    fitted = list(dict.fromkeys(name for name, _ in fitted_pairs(study)))
    continued = [name for name in fitted if not study.methods[name].grows]
    growth = [name for name in fitted if study.methods[name].grows]
    first = [name for name in study.figure_1_methods if name in fitted] or continued[:1] + growth[:1]
    if figure in ("figure-1", "figure-3", "gradient-norm"):
        chosen = first
    elif figure == "figure-8":
        others = [name for name in continued + growth if name not in first]
        main = main_methods(study)
        chosen = [name for name in others if name in main] or others
    else:
        raise UserError(
            f"figure {figure!r} has no panel for each method; choose figure-1, figure-3, figure-8 or gradient-norm"
        )
    return [(method, shown_model(study, method)) for method in chosen]


def figure_fits(study: Study, figure: str) -> list[str]:
    """The fit files behind a figure, relative to `results/<study>/`, in the order of `figure_pairs`."""
    return [fit_path(*pair) for pair in figure_pairs(study, figure)]


def method_title(study: Study, name: str) -> str:
    """A method's title for a figure, e.g. `Continual pretraining on code (cpt-code)`."""
    return study.methods[name].title(name, study.stage1.corpus)
