"""Which fits, figures and tables a study has, where they lie, and what methods are called in them.

Pure functions of the study for rules, tables and figures; without pandas or matplotlib, so that parsing the DAG stays
fast.
"""

from __future__ import annotations

from twostage.errors import UserError
from twostage.study import Cpt, Expand, Stack, Study

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


def fitted_pairs(study: Study) -> list[tuple[str, str]]:
    """Every (method, base model) of the study, in its order: one fit file each."""
    return [(name, model) for name in study.methods for model in study.models_of(name)]


def fit_path(method: str, model: str) -> str:
    """The fit file, relative to `results/<study>/`."""
    return f"fits/{method}/{model}.json"


def figure_pairs(study: Study, figure: str) -> list[tuple[str, str]]:
    """The (method, base model) that a figure shows, a row or panel each; of several models the method's first.

    Figure 1: `figure_1_methods`, or the first continual pretraining and the first growth method; Figure 3: all methods.

    Raises:
        UserError: not a figure of measured cells.
    """
    if figure == "figure-3":
        methods = list(study.methods)
    elif figure == "figure-1":
        growth = [name for name, method in study.methods.items() if not isinstance(method, Cpt)]
        continued = [name for name, method in study.methods.items() if isinstance(method, Cpt)]
        methods = list(study.figure_1_methods) or continued[:1] + growth[:1]
    else:
        raise UserError(f"figure {figure!r} is not drawn from a study's cells; choose figure-1 or figure-3")
    first = dict(reversed(fitted_pairs(study)))
    return [(method, first[method]) for method in methods]


def figure_fits(study: Study, figure: str) -> list[str]:
    """The fit files behind a figure, relative to `results/<study>/`, in the order of `figure_pairs`."""
    return [fit_path(*pair) for pair in figure_pairs(study, figure)]


def all_fits(study: Study) -> list[str]:
    """Every fit file of the study, relative to `results/<study>/`."""
    return [fit_path(*pair) for pair in fitted_pairs(study)]


def method_title(study: Study, name: str) -> str:
    """A method's title for a figure, e.g. `Continual pretraining on code (cpt-code)`."""
    method = study.methods[name]
    if isinstance(method, Cpt):
        replay = f", {method.replay:.0%} replay" if method.replay else ""
        return f"Continual pretraining on {method.corpus}{replay} ({name})"
    if isinstance(method, Stack):
        return f"Model growth by stacking ×{method.factor} ({name})"
    assert isinstance(method, Expand)
    return f"Model growth by width expansion ({name})"
