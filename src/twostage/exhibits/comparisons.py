"""Methods that differ in one respect only, and the loss curves that show what it does (Figures 5, 6, 7, gradient norms).

Pure functions of a study and its design, for `catalogue`, rules and figures. Reads no curve: `curves.csv` is gathered
from the runs that `wanted_branches` names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from twostage.design.design import Design
from twostage.design.paths import Branch, Segment, Stage1Run, Stage2Run
from twostage.exhibits.presentation import PLACES, figure_pairs
from twostage.methods import Method
from twostage.study import Study

#: Figure -> the keys of a method that its arms may differ in.
COMPARED: dict[str, tuple[str, ...]] = {
    "figure-6": ("data",),
    "figure-7": ("schedule", "peak_lr_fraction", "warmup_steps"),
}
#: Figures whose curves come from `curves.csv`; gradient norms can do without.
CURVE_FIGURES = ("figure-5", *COMPARED, "gradient-norm")


@dataclass(frozen=True)
class Panel:
    """One comparison: the same base model, D1 and D2 under two or more methods.

    Attributes:
        methods: the one with the defaults first.
        d1_steps, d2_steps: trunk lengths, points of the model's grid.
    """

    methods: tuple[str, ...]
    model: str
    d1_steps: int
    d2_steps: int


def ablation_pairs(study: Study, figure: str) -> list[tuple[str, str]]:
    """Return (method, twin): a method with changed keys, and the one that has their defaults and is equal in all else.

    Figure 6: `data`; Figure 7: any of `schedule`, `peak_lr_fraction`, `warmup_steps`. Models and points do not count,
    but twins share at least one of each. Continual pretraining comes first.
    """
    keys = COMPARED[figure]
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
    """The first base model that methods share, and there the largest D1 and D2 that they share."""
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


def panels(study: Study, figure: str) -> list[Panel]:
    """The panels of Figure 6 or 7: one for each twin, with all methods that differ from it where they meet."""
    arms: dict[str, list[str]] = {}
    for name, twin in ablation_pairs(study, figure):
        arms.setdefault(twin, []).append(name)
    found = []
    for twin, names in arms.items():
        together = _meet(study, (twin, *names))
        found += [together] if together else [p for name in names if (p := _meet(study, (twin, name)))]
    return found


# Which runs are read ------------------------------------------------------------------------------------------------


def panel_branches(design: Design, panel: Panel) -> list[Branch]:
    """The runs that a panel of Figure 6 or 7 draws: every method, every seed of the whole study."""
    branches = []
    for name in panel.methods:
        for seed in design.study.seeds:
            d1 = design.d1_tokens(name, panel.model, panel.d1_steps)
            run = Stage2Run(name, panel.model, seed, d1)
            branches.append(Branch(run, design.decay_tokens(panel.model, panel.d2_steps)))
    return branches


def schedule_branches(design: Design) -> list[Branch]:
    """The two runs of Figure 5, the recipe's schedule first; none without `ablations.schedule`."""
    study, ablation = design.study, design.study.ablations.schedule
    if ablation is None:
        return []
    tokens = ablation.total_steps * design.tokens_per_step(ablation.model)
    return [
        Branch(Stage1Run(study.stage1.corpus, ablation.model, study.seeds[0], schedule), tokens)
        for schedule in ("", ablation.against)
    ]


def trajectory_branches(design: Design) -> list[Branch]:
    """The runs whose gradient norms are drawn: of each row's method the longest D2 at each D1, first seed."""
    branches = []
    for method, model in figure_pairs(design.study, "gradient-norm"):
        section, grid = design.study.methods[method], design.study.grid_of(model)
        d2 = design.decay_tokens(model, max(section.d2_steps or grid.d2.points))
        for steps in section.d1_steps or grid.d1.points:
            run = Stage2Run(method, model, design.study.seeds[0], design.d1_tokens(method, model, steps))
            branches.append(Branch(run, d2))
    return branches


def wanted_branches(design: Design, figures: Iterable[str]) -> list[Branch]:
    """The branches whose curves the figures draw, each once; the trunk segments before them belong to a curve."""
    branches: list[Branch] = []
    for figure in figures:
        if figure == "figure-5":
            branches += schedule_branches(design)
        elif figure in COMPARED:
            for panel in panels(design.study, figure):
                branches += panel_branches(design, panel)
        elif figure == "gradient-norm":
            branches += trajectory_branches(design)
    return list(dict.fromkeys(branches))


def chain(design: Design, branch: Branch) -> list[Segment | Branch]:
    """The jobs of one stage that end in a branch, in order of training: its trunk segments, then itself."""
    jobs: list[Segment | Branch] = [branch]
    before = design.branch_parent(branch)
    while before is not None:
        jobs.append(before)
        before = design.segment_parent(before)
    return jobs[::-1]
