"""Selects methods that differ in one setting, and the runs whose loss curves are drawn (Figures 5, 6, 7, gradient norms).

Pure functions of a study and its design, for `catalogue`, rules and figures. The curves themselves are in `curves.csv`.
"""

from __future__ import annotations

from dataclasses import dataclass

from twostage.catalogue.shown_methods import PLACES, shown_pairs
from twostage.design.design import Design
from twostage.design.paths import Branch, Segment, Stage1Run, Stage2Run
from twostage.methods import Method
from twostage.study import Study

#: Keys in which the compared methods differ: in Figure 6, in Figure 7.
DATA_KEYS = ("data",)
RATE_KEYS = ("schedule", "peak_lr_fraction", "warmup_steps")


@dataclass(frozen=True)
class Panel:
    """One comparison: the same base model, D1 and D2 under two or more methods.

    Attributes:
        methods: names; the method with the default settings comes first.
        d1_steps, d2_steps: trunk lengths, which are points of the model's grid.
    """

    methods: tuple[str, ...]
    model: str
    d1_steps: int
    d2_steps: int


def ablation_pairs(study: Study, keys: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return pairs (method, twin). The method changes some of `keys`; its twin has their defaults and is otherwise equal.

    They may differ in models and grid points, but have at least one model, D1 and D2 in common. Continual pretraining
    comes first.
    """
    pairs = []
    for name, method in study.methods.items():
        if _defaults(study, method, keys):
            continue
        for other, twin in study.methods.items():
            alike = _rest(method, keys) == _rest(twin, keys)
            if alike and _defaults(study, twin, keys) and _meet(study, (other, name)):
                pairs.append((name, other))
                break
    return sorted(pairs, key=lambda pair: study.methods[pair[0]].grows)


def _defaults(study: Study, method: Method, keys: tuple[str, ...]) -> bool:
    for key in keys:
        value, default = getattr(method, key), type(method).model_fields[key].default
        if value != default and not (key == "schedule" and value == study.recipe.schedule):
            return False
    return True


def _rest(method: Method, keys: tuple[str, ...]) -> dict[str, object]:
    return method.model_dump(exclude={*keys, *PLACES})


def _meet(study: Study, names: tuple[str, ...]) -> Panel | None:
    """Return the first base model that all methods have, with the largest D1 and D2 that all have; None if there is none."""
    methods = [study.methods[name] for name in names]
    for model in study.models_of(names[-1]):
        if any(model not in study.models_of(name) for name in names):
            continue
        grid = study.grid_of(model)
        d1 = set.intersection(*(set(method.d1_steps or grid.d1.points) for method in methods))
        d2 = set.intersection(*(set(method.d2_steps or grid.d2.points) for method in methods))
        if d1 and d2:
            return Panel(names, model, max(d1), max(d2))
    return None


def panels(study: Study, keys: tuple[str, ...]) -> list[Panel]:
    """Return one panel for each twin with all methods that differ from it in `keys`, or several if these share no grid point."""
    arms: dict[str, list[str]] = {}
    for name, twin in ablation_pairs(study, keys):
        arms.setdefault(twin, []).append(name)
    found = []
    for twin, names in arms.items():
        together = _meet(study, (twin, *names))
        found += [together] if together else [p for name in names if (p := _meet(study, (twin, name)))]
    return found


# Which runs are read ------------------------------------------------------------------------------------------------


def panel_branches(design: Design, keys: tuple[str, ...]) -> list[Branch]:
    """Return the decay branches of all panels: every method and every seed of the study."""
    branches = []
    for panel in panels(design.study, keys):
        d2 = design.branch_tokens(panel.model, panel.d2_steps)
        for name in panel.methods:
            d1 = design.d1_tokens(name, panel.model, panel.d1_steps)
            runs = [Stage2Run(name, panel.model, seed, d1) for seed in design.study.seeds]
            branches += [Branch(run, d2) for run in runs]
    return branches


def schedule_branches(design: Design) -> list[Branch]:
    """Return the two branches of Figure 5, the recipe's schedule first; [] without `ablations.schedule`."""
    study, ablation = design.study, design.study.ablations.schedule
    if ablation is None:
        return []
    tokens = ablation.total_steps * design.tokens_per_step(ablation.model)
    return [
        Branch(Stage1Run(study.stage1.corpus, ablation.model, study.seeds[0], schedule), tokens)
        for schedule in ("", ablation.against)
    ]


def trajectory_branches(design: Design) -> list[Branch]:
    """Return the branches whose gradient norms are drawn: each method at each D1, with its longest D2 and the first seed."""
    branches = []
    for method, model in shown_pairs(design.study):
        section, grid = design.study.methods[method], design.study.grid_of(model)
        d2 = design.branch_tokens(model, max(section.d2_steps or grid.d2.points))
        for steps in section.d1_steps or grid.d1.points:
            run = Stage2Run(method, model, design.study.seeds[0], design.d1_tokens(method, model, steps))
            branches.append(Branch(run, d2))
    return branches


def chain(design: Design, branch: Branch) -> list[Segment | Branch]:
    """Return the jobs of a run that lead to a branch, in order of training: trunk segments, then the branch."""
    jobs: list[Segment | Branch] = [branch]
    before = design.branch_parent(branch)
    while before is not None:
        jobs.append(before)
        before = design.segment_parent(before)
    return jobs[::-1]
