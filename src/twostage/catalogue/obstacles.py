"""Why a study cannot have a figure or table. Each function returns one sentence with the key to change and the fix, or "".

The reasons about laws over model sizes are in `laws_over_sizes`, those about models from scratch in
`scratch_controls`.
"""

from __future__ import annotations

from twostage.catalogue.compared_methods import DATA_KEYS, RATE_KEYS, ablation_pairs
from twostage.catalogue.shown_methods import other_pairs, shown_pairs
from twostage.study import Study


def no_training(study: Study) -> str:
    """Return why nothing about models, recipe and jobs can be shown."""
    if study.trained_methods:
        return ""
    return "methods: all are of kind measured, so the study has no models and no training of its own; declare a method that is trained"


def no_grid(study: Study) -> str:
    """Return why no method has a grid that laws can be fitted to."""
    if shown_pairs(study):
        return ""
    where = "grid.d1 and grid.d2" if study.trained_methods else "cells_table.cells"
    return f"methods: none has two or more D1 and two or more D2 at one size; add points to {where}"


def no_gradient_norms(study: Study) -> str:
    """Return why there are no gradient norms."""
    return no_training(study) or no_grid(study)


def no_others(study: Study) -> str:
    """Return why no method is left for Figure 8."""
    if problem := no_grid(study):
        return problem
    if other_pairs(study):
        return ""
    return "methods: Figure 3 shows all that have two or more D1 and D2; add another continual-pretraining or growth method"


def no_curves(study: Study) -> str:
    """Return why there are no loss curves."""
    if study.cells_table is not None:
        missing = study.cells_table.curves is None
        return "cells_table.curves: there are no loss curves; name a curves.csv" if missing else ""
    if study.validation is None:
        return (
            "validation: there are no losses during training; add validation: {every_steps: 20, samples: 64}"
        )
    return ""


def no_schedule_ablation(study: Study) -> str:
    """Return why there is no pair of runs with different schedules."""
    if problem := no_training(study):
        return problem
    ablation = study.ablations.schedule
    if ablation is None:
        return (
            "ablations.schedule: no run under another schedule; add schedule: {model: "
            f"{study.base_models[0]}, total_steps: ...}}"
        )
    if ablation.model not in study.base_models:
        return f"ablations.schedule.model: {ablation.model!r} is not in this subset of the study; use a subset that has it"
    return no_curves(study)


def no_fresh_data(study: Study) -> str:
    """Return why no growth method with fresh data can be compared with one that repeats the data of stage 1."""
    if problem := no_training(study):
        return problem
    if ablation_pairs(study, DATA_KEYS):
        return no_curves(study)
    return "methods: no two growth methods differ only in data: fresh; add such a copy of one"


def no_changed_rate(study: Study) -> str:
    """Return why no two methods differ only in the learning rate."""
    if problem := no_training(study):
        return problem
    if ablation_pairs(study, RATE_KEYS):
        return no_curves(study)
    return (
        "methods: no two methods differ only in schedule, peak_lr_fraction or warmup_steps; "
        "add such a copy of one, e.g. with schedule: constant and peak_lr_fraction: 0.1"
    )


def no_downstream(study: Study) -> str:
    """Return why there are no scores of benchmark tasks."""
    if problem := no_training(study):
        return problem
    if study.cells_table is not None:
        return "cells_table: scores of tasks are measured on checkpoints, and nothing is trained; remove cells_table"
    if getattr(study, "downstream", None) is None:
        return "downstream: no tasks are evaluated; add this section"
    return ""
