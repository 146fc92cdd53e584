"""Boxes and arrows for schematic figures (Figure 2, the DAG picture), in inches from the lower left corner.

Only Matplotlib is used, so that no layout program is required.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyArrowPatch, FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path

from twostage.figures.style import INK, TEXT_WIDTH_INCHES, apply_style

PANEL = "#f4f4f2"
LINE = "#777777"
Point = tuple[float, float]


@dataclass(frozen=True)
class Rect:
    """A rectangle in inches."""

    left: float
    bottom: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The right edge."""
        return self.left + self.width

    @property
    def top(self) -> float:
        """The upper edge."""
        return self.bottom + self.height

    @property
    def centre(self) -> Point:
        """The centre (x, y)."""
        return self.left + self.width / 2, self.bottom + self.height / 2


def canvas(height: float, width: float = TEXT_WIDTH_INCHES) -> tuple[Figure, Axes]:
    """Return a styled figure and one invisible Axes whose coordinates are inches."""
    apply_style()
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


def draw_box(
    axes: Axes, box: Rect, *, colour: str = "white", edge: str = INK, rounding: float = 0.05
) -> None:
    """Draw a rounded box."""
    shape = f"round,pad=0,rounding_size={rounding}"
    axes.add_patch(
        FancyBboxPatch(
            (box.left, box.bottom),
            box.width,
            box.height,
            boxstyle=shape,
            facecolor=colour,
            edgecolor=edge,
            linewidth=0.7,
        )
    )


def draw_panel(axes: Axes, box: Rect, title: str) -> None:
    """Draw a tinted background with a title at its top."""
    draw_box(axes, box, colour=PANEL, edge="none", rounding=0.08)
    axes.text(box.centre[0], box.top - 0.09, title, ha="center", va="top", fontsize=8, fontweight="bold")


def draw_bar(axes: Axes, box: Rect, colour: Any) -> None:
    """Draw a filled rectangle with a white edge, e.g. one layer of a model."""
    axes.add_patch(
        Rectangle(
            (box.left, box.bottom), box.width, box.height, facecolor=colour, edgecolor="white", linewidth=0.8
        )
    )


def draw_cylinder(axes: Axes, box: Rect, colour: Any) -> None:
    """Draw a cylinder, the symbol of a data set."""
    x, rim = box.centre[0], 0.3 * box.width
    low, high = box.bottom + rim / 2, box.top - rim / 2
    for y in (low, high):
        if y == high:
            axes.add_patch(Rectangle((box.left, low), box.width, high - low, facecolor=colour, linewidth=0))
        lid = y == high
        axes.add_patch(
            Ellipse(
                (x, y),
                box.width,
                rim,
                facecolor=colour,
                edgecolor="white" if lid else "none",
                linewidth=0.8,
            )
        )


def draw_arrow(axes: Axes, points: Sequence[Point], *, dashed: bool = False, colour: str = LINE) -> None:
    """Draw an arrow along straight segments through `points`, with its head at the last point."""
    path = Path(list(points), [Path.MOVETO] + [Path.LINETO] * (len(points) - 1))
    style: Any = (0, (3, 2)) if dashed else "-"
    if len(points) > 2:
        axes.add_patch(
            PathPatch(
                Path(list(points[:-1]), path.codes[:-1]),  # type: ignore[index]
                facecolor="none",
                edgecolor=colour,
                linewidth=0.9,
                linestyle=style,
                capstyle="butt",
                joinstyle="round",
            )
        )
    axes.add_patch(
        FancyArrowPatch(
            points[-2],
            points[-1],
            arrowstyle="-|>",
            mutation_scale=7,
            shrinkA=0,
            shrinkB=0,
            color=colour,
            linewidth=0.9,
            linestyle=style,
        )
    )
