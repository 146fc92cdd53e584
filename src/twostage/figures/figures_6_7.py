"""Figures 6 and 7: the second stage of a method, compared with methods that differ from it in one setting.

Figure 6: growth on the base model's own data or on new data. Figure 7: other learning rates than the recipe's. `draw` is
pure.
"""

from __future__ import annotations

from collections.abc import Callable

from twostage.analysis.sources import Sources
from twostage.catalogue.compared_methods import DATA_KEYS, RATE_KEYS, panels
from twostage.catalogue.shown_methods import method_title
from twostage.design.design import Design
from twostage.figures.loss_curves import SCHEDULES, Arm, draw_rows
from twostage.figures.style import Drawing, format_tokens
from twostage.study import Study


def draw_figure_6(study: Study, sources: Sources) -> Drawing:
    """Draw methods that differ in their data."""
    return _draw(study, sources, DATA_KEYS, data_label)


def draw_figure_7(study: Study, sources: Sources) -> Drawing:
    """Draw methods that differ in their learning rate."""
    return _draw(study, sources, RATE_KEYS, rate_label)


def _draw(
    study: Study, sources: Sources, keys: tuple[str, ...], label: Callable[[Study, str], str]
) -> Drawing:
    """A row for each panel: title -> arms, the one with the defaults first."""
    design = Design(study)
    rows: dict[str, list[Arm]] = {}
    corpora: dict[str, str] = {}
    for panel in panels(study, keys):
        d1 = [design.d1_tokens(method, panel.model, panel.d1_steps) for method in panel.methods]
        d2 = design.branch_tokens(panel.model, panel.d2_steps)
        title = f"{method_title(study, panel.methods[0])}, {panel.model}, $D_1$ = {format_tokens(d1[0])}"
        rows[title] = [
            Arm(label(study, method), method, panel.model, tokens, d2)
            for method, tokens in zip(panel.methods, d1, strict=True)
        ]
        corpora[title] = study.corpus_of(panel.methods[0])
    tables = (sources.curves(), sources.cells())
    return Drawing(*draw_rows(rows, *tables, corpus=corpora, token_label="second-stage tokens $D_2$"))


def data_label(study: Study, method: str) -> str:
    """The data of an arm of Figure 6."""
    return "fresh data" if study.methods[method].data == "fresh" else "the base model's data again"


def rate_label(study: Study, method: str) -> str:
    """The learning rate of an arm of Figure 7, e.g. `constant at 0.1 × the peak`."""
    section = study.methods[method]
    kind = SCHEDULES[section.schedule or study.recipe.schedule]
    fraction = section.peak_lr_fraction
    parts = [kind if fraction == 1 else f"{kind} at {fraction:.3g} × the peak"]
    if section.warmup_steps is not None:
        parts.append(f"warmup {section.warmup_steps} steps")
    return ", ".join(parts)
