"""From a study's tables and fit files to any of its measured figures: which module draws it, from what.

Reads files and draws; writes nothing. Figures that no number of the study enters (Figure 2, the DAG) are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from twostage.analysis.cells import read_cells
from twostage.analysis.joint_fit import SizesFit
from twostage.analysis.method_fit import MethodFit
from twostage.common.errors import UserError
from twostage.design.design import Design
from twostage.exhibits.comparisons import panels, schedule_branches
from twostage.exhibits.controls import shown_controls
from twostage.exhibits.joint_design import JOINT_FIGURES
from twostage.exhibits.presentation import figure_pairs, method_title
from twostage.figures import crossover, figure_1, figure_3, figure_5, figures_6_7, gradient_norm
from twostage.figures.from_fits import draw_from_fits
from twostage.figures.loss_curves import Arm
from twostage.figures.style import format_tokens
from twostage.study import Study

Drawing = tuple[Figure, pd.DataFrame]
_SCHEDULES = {"wsd": "WSD", "constant": "constant", "cosine": "cosine"}


@dataclass(frozen=True)
class Sources:
    """Files that a figure is drawn from: those of the study that it needs, others may be absent."""

    cells: Path | None = None
    curves: Path | None = None
    fits: Sequence[Path] = ()

    def read_cells(self) -> pd.DataFrame:
        """The table of cells; `UserError` where it was not given."""
        if self.cells is None:
            raise UserError("cells: this figure needs cells.csv; pass --cells")
        return read_cells(self.cells)

    def read_curves(self) -> pd.DataFrame:
        """The table of loss curves; `UserError` where it was not given."""
        if self.curves is None:
            raise UserError("curves: this figure needs curves.csv; pass --curves")
        return pd.read_csv(self.curves)

    def texts(self) -> list[str]:
        """The fit files, as text."""
        return [path.read_text(encoding="utf-8") for path in self.fits]


def draw_figure(name: str, study: Study, sources: Sources) -> Drawing:
    """Draw one figure; returns it and the plotted numbers.

    Raises:
        UserError: not such a figure, a source is missing, or the sources lack what it shows.
    """
    if name in JOINT_FIGURES:
        fits = [SizesFit.from_json(text) for text in sources.texts()]
        return draw_from_fits(name, *fits, n_final=study.laws.catch_up_n_final)
    if name not in _DRAW:
        raise UserError(
            f"figure {name!r} is not drawn from measurements; choose one of {', '.join([*_DRAW, *JOINT_FIGURES])}"
        )
    return _DRAW[name](name, study, sources)


def _from_method_fits(name: str, study: Study, sources: Sources) -> Drawing:
    fits = [MethodFit.from_json(text) for text in sources.texts()]
    titled = {method_title(study, fit.method): fit for fit in fits}
    draw = figure_1.draw if name == "figure-1" else figure_3.draw
    return draw(sources.read_cells(), titled)


def _schedules(name: str, study: Study, sources: Sources) -> Drawing:
    design = Design(study)
    arms = [
        Arm(_SCHEDULES[design.schedule(branch.run)], design.label(branch), branch.run.model, 0, branch.tokens)
        for branch in schedule_branches(design)
    ]
    return figure_5.draw(sources.read_curves(), sources.read_cells(), arms, corpus=study.stage1.corpus)


def _twins(name: str, study: Study, sources: Sources) -> Drawing:
    design = Design(study)
    titled: dict[str, list[Arm]] = {}
    corpora: dict[str, str] = {}
    for panel in panels(study, name):
        d1 = [design.d1_tokens(method, panel.model, panel.d1_steps) for method in panel.methods]
        d2 = design.decay_tokens(panel.model, panel.d2_steps)
        title = f"{method_title(study, panel.methods[0])}, {panel.model}, $D_1$ = {format_tokens(d1[0])}"
        titled[title] = [
            Arm(arm_label(study, name, method), method, panel.model, tokens, d2)
            for method, tokens in zip(panel.methods, d1, strict=True)
        ]
        corpora[title] = study.corpus_of(panel.methods[0])
    return figures_6_7.draw(sources.read_curves(), sources.read_cells(), titled, corpus=corpora)


def arm_label(study: Study, figure: str, method: str) -> str:
    """What distinguishes an arm of Figure 6 or 7, e.g. `fresh data` or `constant at 10% of the peak`."""
    section = study.methods[method]
    if figure == "figure-6":
        return "fresh data" if section.data == "fresh" else "the base model's data again"
    kind = _SCHEDULES[section.schedule or study.recipe.schedule]
    parts = [
        kind if section.peak_lr_fraction == 1 else f"{kind} at {section.peak_lr_fraction:.3g} × the peak"
    ]
    if section.warmup_steps is not None:
        parts.append(f"warmup {section.warmup_steps} steps")
    return ", ".join(parts)


def _gradient_norms(name: str, study: Study, sources: Sources) -> Drawing:
    rows = {
        f"{method_title(study, method)}, {model}": (method, model)
        for method, model in figure_pairs(study, name)
    }
    curves = None if sources.curves is None else sources.read_curves()
    return gradient_norm.draw(sources.read_cells(), curves, rows)


def _crossover(name: str, study: Study, sources: Sources) -> Drawing:
    panels = {
        f"{method_title(study, one.method)}, {one.model}": (one.method, one.model)
        for one in shown_controls(study)
    }
    return crossover.draw(sources.read_cells(), panels)


_DRAW: dict[str, Callable[[str, Study, Sources], Drawing]] = {
    "figure-1": _from_method_fits,
    "figure-3": _from_method_fits,
    "figure-5": _schedules,
    "figure-6": _twins,
    "figure-7": _twins,
    "figure-8": _from_method_fits,
    "gradient-norm": _gradient_norms,
    "crossover": _crossover,
}
