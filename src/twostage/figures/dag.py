"""The DAG of a study as a figure: one box per rule with its number of jobs, arranged by stage.

Drawn with Matplotlib from the counts of `planning.dag.rule_jobs`; graphviz is not required. `draw` is pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twostage.analysis.sources import Sources
from twostage.design.design import Design
from twostage.figures.boxes import LINE, Point, Rect, canvas, draw_arrow, draw_box, draw_panel
from twostage.figures.style import TEXT_WIDTH_INCHES, Drawing
from twostage.planning.dag import RuleJobs, rule_jobs
from twostage.study import Study

HEIGHT_INCHES = 2.8
BOX_WIDTH, BOX_HEIGHT, ROW_INCHES = 0.92, 0.37, 0.58
MARGIN, HEADER_INCHES, GAP = 0.06, 0.33, 0.19
BUS_INCHES = 0.2  # height of the line of token files below the panels
#: Part -> (title, rules from top to bottom; None leaves a row empty).
COLUMNS_OF_RULES: Mapping[str, tuple[str, tuple[str | None, ...]]] = {
    "data": ("Data", ("prepare_corpus", "train_tokenizer", "tokenize_corpus")),
    "stage 1": ("Stage 1", (None, "train_trunk_segment", "train_decay_branch")),
    "stage 2": ("Stage 2", ("grow_checkpoint", "train_trunk_segment", "train_decay_branch")),
    "losses": ("Losses", (None, "aggregate_cells", "evaluate_checkpoint")),
    "laws": ("Laws", ("fit_law", "fit_joint_law", "fit_scratch_law")),
    "results": ("Results", (None, "plot_figure", "make_table")),
}
MANY = {"plot_figure": "plot_figure_*", "make_table": "make_table_*"}  # boxes that show several rules


def draw(study: Study, design: Design) -> tuple[Figure, pd.DataFrame]:
    """Draw the rule graph of one study.

    Returns:
        The figure and its numbers: part, rule, jobs; one row per box, and the sum as rule `total`.
    """
    jobs = rule_jobs(study, design)
    figure, axes = canvas(HEIGHT_INCHES)
    total = sum(job.jobs for job in jobs)
    axes.text(
        MARGIN + 0.02,
        HEIGHT_INCHES - 0.07,
        f"Study {study.name}: {total:,} jobs",
        va="top",
        fontsize=8.5,
        fontweight="bold",
    )
    boxes = _draw_boxes(axes, jobs)
    # `-stable` methods start from the trunk checkpoint.
    stable = any(getattr(method, "start", "decay") == "trunk" for method in study.methods.values())
    _draw_edges(axes, boxes, stable=stable)
    table = pd.DataFrame([*map(vars, jobs), {"part": "", "rule": "total", "jobs": total}])
    return figure, table


def _panels() -> dict[str, Rect]:
    width = (TEXT_WIDTH_INCHES - 2 * MARGIN - GAP * (len(COLUMNS_OF_RULES) - 1)) / len(COLUMNS_OF_RULES)
    bottom = MARGIN + BUS_INCHES
    height = HEIGHT_INCHES - bottom - 0.32
    return {
        part: Rect(MARGIN + rank * (width + GAP), bottom, width, height)
        for rank, part in enumerate(COLUMNS_OF_RULES)
    }


def _draw_boxes(axes: Axes, jobs: list[RuleJobs]) -> dict[str, Rect]:
    """Draw panels and boxes; return the boxes by `part/rule` and the panels by `part`."""
    counts = {(job.part, job.rule): job.jobs for job in jobs}
    boxes = _panels()
    for part, (title, rules) in COLUMNS_OF_RULES.items():
        panel = boxes[part]
        draw_panel(axes, panel, title)
        for row, rule in enumerate(rules):
            if rule is None or counts.get((part, rule)) == 0:
                continue
            top = panel.top - HEADER_INCHES - row * ROW_INCHES
            box = Rect(panel.centre[0] - BOX_WIDTH / 2, top - BOX_HEIGHT, BOX_WIDTH, BOX_HEIGHT)
            draw_box(axes, box)
            _label(axes, box, MANY.get(rule, rule), counts[part, rule])
            boxes[f"{part}/{rule}"] = box
    return boxes


def _label(axes: Axes, box: Rect, rule: str, jobs: int) -> None:
    x, y = box.centre
    axes.text(x, y + 0.075, rule, ha="center", va="center", fontsize=5.5, family="monospace")
    text = f"{jobs:,} job" + ("s" if jobs != 1 else "")
    axes.text(x, y - 0.08, text, ha="center", va="center", fontsize=7, fontweight="bold")


def _draw_edges(axes: Axes, boxes: dict[str, Rect], *, stable: bool) -> None:
    grows = "stage 2/grow_checkpoint" in boxes

    def down(part: str, upper: str, lower: str) -> None:
        a, b = boxes[f"{part}/{upper}"], boxes[f"{part}/{lower}"]
        draw_arrow(axes, [(a.centre[0], a.bottom), (b.centre[0], b.top)])

    down("data", "prepare_corpus", "train_tokenizer")
    down("data", "train_tokenizer", "tokenize_corpus")
    down("stage 1", "train_trunk_segment", "train_decay_branch")
    down("stage 2", "train_trunk_segment", "train_decay_branch")
    if grows:
        down("stage 2", "grow_checkpoint", "train_trunk_segment")
    base, trunk = boxes["stage 1/train_decay_branch"], boxes["stage 2/train_trunk_segment"]
    decay, evaluation = boxes["stage 2/train_decay_branch"], boxes["losses/evaluate_checkpoint"]
    turn = (base.right + trunk.left) / 2
    if stable:
        stage_1 = boxes["stage 1/train_trunk_segment"]
        axes.plot([stage_1.right, turn], [stage_1.centre[1]] * 2, color=LINE, linewidth=0.9)
    starts = [boxes["stage 2/grow_checkpoint"]] if grows else []
    for start in (trunk, *starts):
        draw_arrow(
            axes,
            [
                (base.right, base.centre[1]),
                (turn, base.centre[1]),
                (turn, start.centre[1]),
                (start.left, start.centre[1]),
            ],
        )
    draw_arrow(axes, [(decay.right, decay.centre[1]), (evaluation.left, evaluation.centre[1])])
    cells = boxes["losses/aggregate_cells"]
    draw_arrow(axes, [(evaluation.centre[0], evaluation.top), (cells.centre[0], cells.bottom)])
    low = base.bottom - 0.13  # base checkpoints are also evaluated
    draw_arrow(
        axes,
        [
            (base.centre[0], base.bottom),
            (base.centre[0], low),
            (evaluation.centre[0], low),
            (evaluation.centre[0], evaluation.bottom),
        ],
    )
    _draw_analysis(axes, boxes, cells)
    _draw_tokens(axes, boxes)


def _draw_analysis(axes: Axes, boxes: dict[str, Rect], cells: Rect) -> None:
    columns = [[cells]]
    for part in ("laws/", "results/"):
        # A small study has nothing to fit.
        columns += [found] if (found := [box for name, box in boxes.items() if name.startswith(part)]) else []
    for starts, ends in itertools.pairwise(columns):
        _fan(axes, starts, ends)


def _fan(axes: Axes, starts: list[Rect], ends: list[Rect]) -> None:
    """Draw arrows from every start to every end through one vertical line between the columns."""
    turn = (starts[0].right + ends[0].left) / 2
    middle = ends[0].centre[1]
    for start in starts:
        draw_line: list[Point] = [(start.right, start.centre[1]), (turn, start.centre[1]), (turn, middle)]
        axes.plot(*zip(*draw_line, strict=True), color=LINE, linewidth=0.9)
    for end in ends:
        axes.plot([turn, turn], [middle, end.centre[1]], color=LINE, linewidth=0.9)
        draw_arrow(axes, [(turn, end.centre[1]), (end.left, end.centre[1])])


def _draw_tokens(axes: Axes, boxes: dict[str, Rect]) -> None:
    """Draw the token files, which all training and evaluation jobs read: a line below the panels, an arrow into each."""
    source = boxes["data"]
    y = source.bottom - 0.6 * BUS_INCHES
    targets = [boxes[part].centre[0] for part in ("stage 1", "stage 2", "losses")]
    axes.plot(
        [source.centre[0], source.centre[0], targets[-1]], [source.bottom, y, y], color=LINE, linewidth=0.9
    )
    for x in targets:
        draw_arrow(axes, [(x, y), (x, source.bottom + 0.01)])
    axes.text(
        (source.right + boxes["stage 1"].left) / 2,
        y - 0.03,
        "token files",
        ha="center",
        va="top",
        fontsize=6,
    )


def draw_study(study: Study, sources: Sources) -> Drawing:
    """As `draw`."""
    return Drawing(*draw(study, Design(study)))
