"""Every figure, declared once: what it shows, needs and reads, the function that draws it, and its caption.

docs/recipe-figure.md explains how to add one. Drawing functions are given by name and not imported, so that building the DAG stays
fast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twostage.catalogue import obstacles
from twostage.catalogue.compared_methods import (
    DATA_KEYS,
    RATE_KEYS,
    panel_branches,
    panels,
    schedule_branches,
    trajectory_branches,
)
from twostage.catalogue.entry import CELLS, CURVES, FigureEntry, by_name
from twostage.catalogue.laws_over_sizes import joint_fits, joint_obstacle
from twostage.catalogue.scratch_controls import control_obstacle, shown_controls
from twostage.catalogue.shown_methods import fit_path, method_title, other_pairs, shown_pairs
from twostage.study import Study


def _of_methods(pairs: Callable[[Study], list[tuple[str, str]]], **fields: Any) -> FigureEntry:
    """Declare a figure of the cells and fits of some methods."""
    return FigureEntry(
        reads=lambda study: [CELLS, *(fit_path(*pair) for pair in pairs(study))],
        choice=lambda study: [method_title(study, name) for name, _ in pairs(study)],
        **fields,
    )


def _of_twins(keys: tuple[str, ...], **fields: Any) -> FigureEntry:
    """Declare a figure of the loss curves of methods that differ in `keys` only."""
    return FigureEntry(
        reads=lambda study: [CELLS, CURVES],
        choice=lambda study: [repr(panel) for panel in panels(study, keys)],
        curves=lambda design: panel_branches(design, keys),
        **fields,
    )


def _over_sizes(kind: str, *, scratch: bool, **fields: Any) -> FigureEntry:
    """Declare a figure of the joint law of the first method of a kind, and with `scratch` of the law of models from scratch."""
    return FigureEntry(
        lacks=lambda study: joint_obstacle(study, kind, scratch=scratch),
        reads=lambda study: joint_fits(study, kind, scratch=scratch),
        choice=lambda study: study.laws.catch_up_n_final,
        **fields,
    )


def _all_but_checkpoints(study: Study) -> str:
    return study.model_dump_json(exclude={"checkpoints"})


_ONE_GRID = "a method with two or more D1 and D2 at one size"
_SIZES = "three sizes over 4x in N"
#: By name, in the paper's order.
FIGURES: dict[str, FigureEntry] = by_name(
    _of_methods(
        shown_pairs,
        name="figure-1",
        title="Figure 1",
        shows="loss against D2 for each D1; exponent and factor against D1",
        needs=_ONE_GRID,
        lacks=obstacles.no_grid,
        draw="twostage.figures.figure_1:draw_study",
        caption="""
**Saturation in the second stage (Figure 1 of the paper).** Rows: one continual-pretraining and one growth method.
*Left:* validation loss against second-stage tokens D2, one colour for each number of first-stage tokens D1. Points are measured
(one marker for each seed); lines are power laws L = A D2^-α + E with one floor E for all curves of the method.
*Middle:* the fitted exponents, plotted as -α(D1), and Eq. 5, -α(D1) = γ ln D1 + E'. A rising line (γ > 0) is saturation: the
longer the base model was trained, the less the loss falls with second-stage tokens.
*Right:* the factors A(D1) and a power law fitted to them. A is the reducible loss extrapolated to D2 = 1 token, so its error is
strongly correlated with that of α. Error bars and ± are 95 % intervals. Neighbouring points share E, so their errors are
correlated and the slope is more precise than the bars suggest. A panel without a fit states the reason.
The plotted numbers are in ``figure-1.csv``, next to the figure.
""",
    ),
    FigureEntry(
        name="figure-2",
        title="Figure 2",
        shows="illustration: the two stages",
        lacks=obstacles.no_training,
        draw="twostage.figures.figure_2:draw_study",
        choice=_all_but_checkpoints,
        caption="""
**The two stages (Figure 2 of the paper).** Base models are pretrained on D1 tokens of the base corpus, then trained again on D2
tokens: on another corpus (continual pretraining), or after growth in depth (repeated layers) or in width (copied neurons).
Orange: parts added by growth. How does the validation loss depend on D1 and D2? Corpora, models, methods and the ranges of D1 and
D2 over all models are those of the study file. The curves on the right are a sketch, not a result. All token counts are in
``figure-2.csv``.
""",
    ),
    _of_methods(
        shown_pairs,
        name="figure-3",
        title="Figure 3",
        shows="loss against D1 for each D2, methods of Figure 1",
        needs=_ONE_GRID,
        lacks=obstacles.no_grid,
        draw="twostage.figures.figure_3:draw_study",
        caption="""
**Power laws in first-stage tokens (Figure 3 of the paper).** Validation loss against first-stage tokens D1, one colour for each
number of second-stage tokens D2, one panel for each method of Figure 1. Points are measured (one marker for each seed); lines are
power laws L = A D1^-α + E with one floor E for all curves of a panel. The plotted numbers are in ``figure-3.csv``.
""",
    ),
    _over_sizes(
        "cpt",
        scratch=False,
        name="figure-4-left",
        title="Figure 4 (left)",
        shows="joint law of continual pretraining, tested",
        needs=f"continual pretraining at {_SIZES}",
        draw="twostage.figures.figures_4_9:draw_study",
        caption="""
**The joint law of continual pretraining (Figure 4, left, of the paper).** Eq. 7,
L = A D1^-α1 D2^(-α2 + α3 ln D1) + B N^-β + E, fitted to all base models of the study's first method of continual pretraining with
enough sizes. Measured against predicted loss, one colour for each N (non-embedding parameters). Orange diamonds are the lowest
tenth of the losses, which were held out of the plotted fit. *Below:* error of the prediction in per cent. The law fitted to all
cells, its 95 % intervals and this test are in ``fits/joint/``; the plotted numbers are in ``figure-4-left.csv``.
""",
    ),
    _over_sizes(
        "stack",
        scratch=True,
        name="figure-4-right",
        title="Figure 4 (right)",
        shows="D*: growth or from scratch",
        needs=f"stacking at {_SIZES}, and models from scratch on its corpus",
        draw="twostage.figures.figure_4_right:draw_study",
        published="twostage.figures.published:draw_figure_4_right",
        caption="""
**Growth or from scratch (Figure 4, right, of the paper).** D*(N) of Eq. 8: with D1 = D2 = D* tokens, a stacked model and a model
of the same final size trained from scratch on D* tokens reach equal losses. Above the curve training from scratch is better. The
curve is solved numerically from the study's joint law and its law L = A/N^α + B/D^β + E of models from scratch (the base models).
The band is the 95 % interval over refits to resampled residuals, of those that cross (``exists_share`` in
``figure-4-right.csv``). Dashed: the paper's analytic form, quadratic in ln N, fitted to the curve. The curve extends to 1,000
times the largest fitted N, as in the paper, which is an extrapolation.
""",
    ),
    FigureEntry(
        name="figure-5",
        title="Figure 5",
        shows="loss curves: two schedules from scratch",
        needs="ablations.schedule, validation",
        lacks=obstacles.no_schedule_ablation,
        draw="twostage.figures.figure_5:draw_study",
        reads=lambda study: [CELLS, CURVES],
        choice=lambda study: repr(study.ablations.schedule),
        curves=schedule_branches,
        caption="""
**Two learning-rate schedules (Figure 5 of the paper).** Models from scratch that differ only in the schedule; the number of
steps is ``ablations.schedule`` of the study. *Left:* validation losses during training, on a small fixed sample of the held-out
split, and the learning rates. *Right:* the last fifth. Markers, and the numbers in the legend, are the losses of the finished
models on the full held-out split, so they may differ from the ends of the curves. With one seed, a difference below the noise
between seeds is not significant. The plotted numbers are in ``figure-5.csv``.
""",
    ),
    _of_twins(
        DATA_KEYS,
        name="figure-6",
        title="Figure 6",
        shows="loss curves: repeated or fresh data in growth",
        needs="a growth method and its copy with data: fresh; validation",
        lacks=obstacles.no_fresh_data,
        draw="twostage.figures.figures_6_7:draw_figure_6",
        caption="""
**Repeated or new data in model growth (Figure 6 of the paper).** Growth methods that differ only in their data: the base model's
samples again, as in all other figures, or the samples that follow those of the base model. One row for each method, at the
largest D1 and D2 that both have. *Left:* validation losses during the second stage, on a small fixed sample of the held-out split,
and the learning rates. *Right:* the last fifth. Markers, and the numbers in the legend, are the losses of the finished models on
the full held-out split. The plotted numbers are in ``figure-6.csv``.
""",
    ),
    _of_twins(
        RATE_KEYS,
        name="figure-7",
        title="Figure 7",
        shows="loss curves: other learning rates in stage 2",
        needs="a method and its copy with another schedule, peak_lr_fraction or warmup_steps; validation",
        lacks=obstacles.no_changed_rate,
        draw="twostage.figures.figures_6_7:draw_figure_7",
        caption="""
**Other learning rates in the second stage (Figure 7 of the paper).** Methods that differ from one with the recipe's settings only
in schedule, peak rate or warmup. One row for each such method, continual pretraining first, at the largest D1 and D2 that all
have. *Left:* validation losses during the second stage, on a small fixed sample of the held-out split, and the learning rates; the
rise at the start comes from warming up again. *Right:* the last fifth. Markers, and the numbers in the legend, are the losses of
the finished models on the full held-out split. The plotted numbers are in ``figure-7.csv``.
""",
    ),
    _of_methods(
        other_pairs,
        name="figure-8",
        title="Figure 8",
        shows="as Figure 3, the other methods",
        needs="more methods than Figure 3 shows",
        lacks=obstacles.no_others,
        draw="twostage.figures.figure_3:draw_study",
        caption="""
**Power laws in first-stage tokens, other methods (Figure 8 of the paper).** As Figure 3, for the main methods that Figure 3 does
not show (those with the default settings of their kind) or, if there are none, for the variants. The plotted numbers are in
``figure-8.csv``.
""",
    ),
    _over_sizes(
        "stack",
        scratch=False,
        name="figure-9",
        title="Figure 9",
        shows="joint law of stacking, tested",
        needs=f"stacking at {_SIZES}",
        draw="twostage.figures.figures_4_9:draw_study",
        caption="""
**The joint law of model growth by stacking (Figure 9 of the paper).** As Figure 4 (left), for the study's first stacking method;
N counts parameters *before* growth. Orange diamonds are the lowest tenth of the losses, which were held out of the plotted fit. The plotted
numbers are in ``figure-9.csv``.
""",
    ),
    _over_sizes(
        "stack",
        scratch=True,
        name="figure-10",
        title="Figure 10",
        shows="tokens from scratch to catch up with stacking",
        needs=f"stacking at {_SIZES}, and models from scratch on its corpus",
        draw="twostage.figures.figures_10_11:draw_figure_10",
        published="twostage.figures.published:draw_figure_10",
        caption="""
**Catching up with model growth (Figure 10 of the paper).** *Left:* predicted loss of a model trained from scratch (black) and of
stacked models with different sunk costs D1, from the study's own laws, with 95 % bands. *Right:* tokens that training from scratch
takes to reach the loss of the stacked model. On the dashed line the base model saves nothing; on the dotted line of its colour it
saves its full sunk cost. Circles: beyond this point training from scratch is better. The final model has
``laws.catch_up_n_final`` parameters (the paper: 7B), by default those of the largest fitted model; sunk costs and tokens per
parameter are the paper's. Numbers: ``figure-10.csv``.
""",
    ),
    _over_sizes(
        "cpt",
        scratch=True,
        name="figure-11",
        title="Figure 11",
        shows="tokens from scratch to catch up with continual pretraining",
        needs=f"continual pretraining at {_SIZES}, and models from scratch on its corpus (scratch)",
        draw="twostage.figures.figures_10_11:draw_figure_11",
        published="twostage.figures.published:draw_figure_11",
        caption="""
**Catching up with continual pretraining (Figure 11 of the paper).** As Figure 10, for the study's first method of continual
pretraining with enough sizes, compared with models trained from scratch on that method's corpus. Numbers: ``figure-11.csv``.
""",
    ),
    FigureEntry(
        name="gradient-norm",
        title="Gradient norms",
        shows="against D2 for each D1, and their mean against D1",
        needs=f"{_ONE_GRID}; without validation the means alone",
        lacks=obstacles.no_gradient_norms,
        draw="twostage.figures.gradient_norm:draw_study",
        reads=lambda study: [CELLS] if obstacles.no_curves(study) else [CELLS, CURVES],
        choice=lambda study: [method_title(study, name) for name, _ in shown_pairs(study)],
        curves=trajectory_branches,
        columns=(("cells", "grad_norm_mean"), ("curves", "grad_norm")),
        message="draw gradient norms",
        caption="""
**Gradient norms in the second stage (a diagnostic after a summary of the paper's second version).** One row for each method of
Figure 1. *Left:* the norm of the full gradient before clipping, averaged over equal intervals of tokens, along the longest run at
each D1 (first seed). *Right:* its mean over the trunk after the warmup, against D1, one colour for each D2. The title gives the
factor by which the mean grows when D1 doubles at equal D2 (fitted to the logarithms for each seed; mean over seeds and 95 % t
interval). A study without ``validation`` has only the right panel. The plotted numbers are in ``gradient-norm.csv``.
""",
    ),
    FigureEntry(
        name="crossover",
        title="Crossover",
        shows="reuse minus models from scratch at equal D2, both measured",
        needs="models from scratch on a method's corpus, at its size after stage 2, at two or more of its D2",
        lacks=control_obstacle,
        draw="twostage.figures.crossover:draw_study",
        reads=lambda study: [CELLS],
        choice=lambda study: [repr(control) for control in shown_controls(study)],
        message="draw the measured crossover",
        caption="""
**Reuse or from scratch, measured (ours, not the paper's).** Loss of reuse minus loss of models trained from scratch on the same
corpus, at the size after stage 2, with the same number of second-stage tokens; one line for each D1, averaged over seeds. Below
zero, reuse is better. Diamonds: the D2 above which training from scratch is better, interpolated linearly in ln D2. Grey band: two
standard errors of a difference, from the noise between seeds (absent if every cell has one seed). If there are several model
sizes, the figure shows the size that most methods have. All sizes, intervals, and crossings of fitted laws are in the table
*Crossover*. The plotted numbers are in ``crossover.csv``, next to the figure.
""",
    ),
    FigureEntry(
        name="dag",
        title="The DAG",
        shows="the study's jobs and what they depend on",
        lacks=obstacles.no_training,
        draw="twostage.figures.dag:draw_study",
        choice=_all_but_checkpoints,
        message="draw the rule graph of study {study.name}",
        caption="""
**The workflow of this study as a rule graph.** One box for each rule with its number of jobs, from raw text to laws and figures,
counted from the study's design. Each trunk segment also depends on the segment before it. Methods that continue or grow a base
model share its checkpoints, so the first stage is trained once for all of them. The numbers are in ``dag.csv``.
""",
    ),
)
