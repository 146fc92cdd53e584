"""Which methods of a study have measured controls: models trained from scratch on their corpus, at the size after stage 2.

Pure functions of a study for the catalogue, rules and the figure `crossover`; without pandas or matplotlib, so that
parsing the DAG stays fast. The losses themselves are compared in `analysis.measured_crossover`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from twostage.catalogue.laws_over_sizes import NO_SCRATCH
from twostage.catalogue.shown_methods import all_pairs
from twostage.design.design import SCRATCH, Design
from twostage.design.paths import Stage1Run, Stage2Run
from twostage.study import Study

SIZE_TOLERANCE = 0.01  # our choice: as for width expansion, which aims at 2N within 1 %
MIN_D2 = 2  # smallest number of common D2; a crossing is interpolated between two


@dataclass(frozen=True)
class Control:
    """A method at one base model, and the model from scratch that it is compared with.

    Attributes:
        method, model: the method and its base model.
        scratch: name of the model trained from scratch; "" if the study has none.
        d2_tokens: D2 at which both are measured, ascending.
    """

    method: str
    model: str
    scratch: str
    d2_tokens: tuple[int, ...]

    @property
    def complete(self) -> bool:
        """Whether there are enough common D2 to find a crossing."""
        return len(self.d2_tokens) >= MIN_D2


def nearest_size(sizes: Mapping[str, float], n_final: float) -> str:
    """Return the model whose size N is nearest to `n_final`, within 1 %; "" where there is none."""
    near = {name: abs(n / n_final - 1) for name, n in sizes.items()}
    name = min(near, key=lambda name: near[name], default="")
    return name if name and near[name] <= SIZE_TOLERANCE else ""


def controls(study: Study) -> list[Control]:
    """Return the control of every method at every base model, in the study's order."""

    design = Design(study)
    return [_control(design, *pair) for pair in all_pairs(study) if study.methods[pair[0]].trained]


def _control(design: Design, method: str, model: str) -> Control:

    study, seed = design.study, design.study.seeds[0]
    steps = (study.methods[method].d1_steps or study.grid_of(model).d1.points)[0]
    reused = Stage2Run(method, model, seed, design.d1_tokens(method, model, steps))
    corpus = study.corpus_of(method)
    sizes = {name: float(study.architecture(name).n_params) for name in scratch_models(study, corpus)}
    scratch = nearest_size(sizes, design.architecture(reused).n_params)
    if not scratch:
        return Control(method, model, "", ())
    run = Stage1Run(corpus, scratch, seed)
    measured = {branch.tokens for branch in design.branches(run) if design.label(branch) == SCRATCH}
    own = {branch.tokens for branch in design.branches(reused)}
    return Control(method, model, scratch, tuple(sorted(measured & own)))


def scratch_models(study: Study, corpus: str) -> list[str]:
    """Return the models trained from scratch on a corpus: base models on the base corpus, and those of `scratch`."""
    models = list(study.base_models) if corpus == study.stage1.corpus else []
    for section in study.scratch.values():
        if section.corpus == corpus:
            models += section.models or study.base_models
    return list(dict.fromkeys(models))


def shown_controls(study: Study) -> list[Control]:
    """Return the panels of the figure: each method with a control, at the base model that most of these methods have.

    Continual pretraining comes first.
    """
    known = [control for control in controls(study) if control.complete]
    shown: dict[str, Control] = {}
    for method in dict.fromkeys(control.method for control in known):
        own = [control for control in known if control.method == method]
        shown[method] = max(own, key=lambda control: _count(known, control.model))
    return sorted(shown.values(), key=lambda control: study.methods[control.method].grows)


def _count(known: Iterable[Control], model: str) -> int:
    return sum(control.model == model for control in known)


def control_obstacle(study: Study) -> str:
    """Return why no method can be compared with a model from scratch, with the key and the fix; "" if one can."""
    found = controls(study)
    if any(control.complete for control in found):
        return ""
    if not found:
        return NO_SCRATCH
    for control in found:
        if control.scratch:
            return (
                f"scratch: models from scratch share {list(control.d2_tokens)} of the D2 of {control.method} at "
                f"{control.model}, and at least two are needed to find a crossing; choose steps that are in the grid's d2 and d1"
            )
    continued = [control for control in found if not study.methods[control.method].grows]
    first = [*continued, *found][0]
    corpus = study.corpus_of(first.method)
    if continued:
        return f"scratch: there are no models from scratch on {corpus!r} at the size of {first.model}; add {corpus}: {{corpus: {corpus}}}"
    return (
        f"scratch: no model from scratch on {corpus!r} has the size of {first.model} after {first.method}; add a model of "
        f"{n_after(study, first):,} parameters to models, leave it out of stage1.models, and name it in scratch.models"
    )


def n_after(study: Study, control: Control) -> int:
    """Return the number of parameters after stage 2."""

    run = Stage2Run(control.method, control.model, study.seeds[0], 0)
    return Design(study).architecture(run).n_params
