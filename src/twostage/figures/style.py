"""The common style of all figures and the function that writes their files.

One theme and one colour scale for D1 are used everywhere, sizes fit a paper's text width, and equal figures give equal
files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedFormatter,
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from twostage.common.storage import atomic_path
from twostage.common.units import format_quantity

TEXT_WIDTH_INCHES = 7.0  # two columns of a conference page
PNG_DPI = 220
# The lightest part of the colour scales is not used: it is invisible on white paper and most projectors.
_DARKEST, _LIGHTEST = 0.0, 0.85
#: One marker per seed, in the order of the seeds; all filled, so that error bars stay visible.
SEED_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
INK = "#333333"

_STYLE: dict[str, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": PNG_DPI,
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "legend.title_fontsize": 7.5,
    "axes.linewidth": 0.7,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "lines.markeredgewidth": 0.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType: text stays text, as journals ask
    "mathtext.fontset": "dejavusans",
}


def apply_style() -> None:
    """Set the theme for every figure drawn afterwards in this process."""
    sns.set_theme(context="paper", style="ticks", rc=_STYLE | {"axes.grid": True})


def new_figure(
    rows: int, columns: int, *, height: float, width: float = TEXT_WIDTH_INCHES, **subplots: Any
) -> tuple[Figure, Any]:
    """Return a styled figure and its axes, array of shape (rows, columns); `height` and `width` in inches."""
    apply_style()
    # pyplot is not used, because it keeps every figure in memory until it is closed.
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **subplots)


def format_tokens(value: float) -> str:
    """Format a token count with three digits: 563200 -> `563k`, 1.1e6 -> `1.1M`, 1.84e10 -> `18.4B`."""
    return format_quantity(value).replace("K", "k")


def d1_palette(values: Iterable[float]) -> dict[float, tuple[float, float, float]]:
    """Map each distinct D1 to a colour, from dark to light, evenly spaced in rank; `values` may be in any order."""
    return _ranked(values, "viridis")


def d2_palette(values: Iterable[float]) -> dict[float, tuple[float, float, float]]:
    """Like `d1_palette`, for curves of constant D2; another colour scale distinguishes them from D1."""
    return _ranked(values, "plasma")


def _ranked(values: Iterable[float], scale: str) -> dict[float, tuple[float, float, float]]:
    distinct = sorted(set(values))
    colours = mpl.colormaps[scale]
    span = max(len(distinct) - 1, 1)
    return {
        value: tuple(colours(_DARKEST + (_LIGHTEST - _DARKEST) * rank / span)[:3])  # type: ignore[misc]
        for rank, value in enumerate(distinct)
    }


def seed_markers(seeds: Iterable[int]) -> dict[int, str]:
    """Map each seed to a marker; markers repeat if there are more seeds than markers."""
    return {seed: SEED_MARKERS[i % len(SEED_MARKERS)] for i, seed in enumerate(sorted(set(seeds)))}


def token_axis(axes: Axes, values: Sequence[float], axis: str = "x", *, max_characters: int = 26) -> None:
    """Make an axis logarithmic in tokens, with a tick at each distinct value and labels like `1.1M`.

    If the labels together are longer than `max_characters` (26 fit a third of the text width), only every second, third,
    ... tick has a label. The largest value always has one.
    """
    ticks = sorted(set(values))
    labels = [format_tokens(value) for value in ticks]
    step = 1
    while sum(len(label) + 1 for label in labels[::-1][::step]) > max_characters and step < len(labels):
        step += 1
    shown = [label if (len(ticks) - 1 - rank) % step == 0 else "" for rank, label in enumerate(labels)]
    (axes.set_xscale if axis == "x" else axes.set_yscale)("log")
    chosen = axes.xaxis if axis == "x" else axes.yaxis
    chosen.set_major_locator(FixedLocator(ticks))
    chosen.set_major_formatter(FixedFormatter(shown))
    chosen.set_minor_locator(NullLocator())
    chosen.set_minor_formatter(NullFormatter())


def plain_log_axis(axes: Axes) -> None:
    """Make the y axis logarithmic with plain numbers: decades, or a few round values if it spans little more than one."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    wide = high > 20 * low
    axes.yaxis.set_major_locator(LogLocator() if wide else MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_locator(LogLocator(subs="all") if wide else NullLocator())


def save_figure(figure: Figure, stem: str | Path, data: pd.DataFrame) -> None:
    """Write `<stem>.pdf`, `<stem>.png` and the plotted numbers, `<stem>.csv` (17 digits), each file atomically.

    Equal figures give equal bytes, because no dates are written. Exception: in a PDF with nested panels the sixth decimal
    of coordinates may differ. Figures are not cropped, so that panels of one kind have one size.

    Raises:
        ValueError: `data` is empty.
    """
    if data.empty:
        raise ValueError(f"{stem}: no numbers were plotted; `data` must have at least one row")
    stem = Path(stem)
    with atomic_path(stem.with_name(stem.name + ".pdf")) as path:
        figure.savefig(path, format="pdf", metadata={"CreationDate": None})
    with atomic_path(stem.with_name(stem.name + ".png")) as path:
        figure.savefig(path, format="png", dpi=PNG_DPI)
    with atomic_path(stem.with_name(stem.name + ".csv")) as path:
        data.to_csv(path, index=False, float_format="%.17g", lineterminator="\n")
