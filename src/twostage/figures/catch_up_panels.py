"""Panels of Figures 10 and 11: loss against tokens for several sunk costs, and tokens from scratch to the same loss."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from twostage.figures.notes import add_note
from twostage.figures.style import INK, d1_palette, format_tokens, new_figure

_COLUMNS = {"d1_tokens", "d2_tokens", "loss_nats", "lower", "upper", "scratch_tokens", "catch_up_tokens"}


def draw_catch_up(
    table: pd.DataFrame, *, title: str, reused: str, note: str = ""
) -> tuple[Figure, pd.DataFrame]:
    """Draw predicted loss against tokens (left) and the tokens from scratch to the loss of the reused model (right).

    In the right panel, reuse saves nothing on the dashed line, and its full sunk cost D1 on the dotted line of its colour.

    Args:
        table: rows of `laws.curves.catch_up_curves`.
        title: title of the figure.
        reused: name of the coloured curves, e.g. `stacking`.
        note: source of the laws, printed below the panels.

    Returns:
        The figure and the plotted numbers, which are the table itself.

    Raises:
        ValueError: a column is missing, or the table has no curve from scratch (d1_tokens = 0) or only that curve.
    """
    missing = _COLUMNS - set(table.columns)
    if missing:
        raise ValueError(
            f"table: column {sorted(missing)[0]!r} is missing; build it with laws.curves.catch_up_curves"
        )
    from_scratch, bootstrapped = table[table["d1_tokens"] == 0], table[table["d1_tokens"] > 0]
    if from_scratch.empty or bootstrapped.empty:
        raise ValueError(
            "table: must have a curve from scratch (d1_tokens = 0) and at least one with d1_tokens > 0"
        )
    colours = d1_palette(bootstrapped["d1_tokens"])
    figure, axes = new_figure(1, 2, height=3.3)
    left, right = axes[0]
    left.plot(
        from_scratch["d2_tokens"],
        from_scratch["loss_nats"],
        color=INK,
        linewidth=1.8,
        label="none: from scratch",
        zorder=4,
    )
    _band(left, from_scratch, INK)
    tokens = np.sort(table["d2_tokens"].unique())
    finite = bootstrapped["scratch_tokens"][np.isfinite(bootstrapped["scratch_tokens"])]
    for d1, colour in colours.items():
        rows = bootstrapped[bootstrapped["d1_tokens"] == d1]
        left.plot(rows["d2_tokens"], rows["loss_nats"], color=colour, label=format_tokens(d1))
        _band(left, rows, colour)
        crossing = float(rows["catch_up_tokens"].iloc[0])
        if tokens[0] <= crossing <= tokens[-1]:
            loss = np.interp(np.log(crossing), np.log(rows["d2_tokens"]), rows["loss_nats"])
            left.plot(
                crossing, loss, marker="o", color=colour, markeredgecolor="white", markersize=5, zorder=5
            )
            right.plot(
                crossing, crossing, marker="o", color=colour, markeredgecolor="white", markersize=5, zorder=5
            )
        right.plot(
            rows["d2_tokens"], rows["scratch_tokens"].where(np.isfinite(rows["scratch_tokens"])), color=colour
        )
        right.plot(tokens, tokens + d1, color=colour, linestyle=":", linewidth=0.9, zorder=1)
    right.plot(tokens, tokens, color=INK, linestyle="--", linewidth=0.9, zorder=2)
    left.set(
        yscale="log",
        ylabel="predicted loss (nats/token)",
        xlabel="second-stage tokens D2, or tokens from scratch",
    )
    right.set(
        yscale="log",
        ylabel="tokens from scratch to the same loss",
        xlabel=f"second-stage tokens D2 of {reused}",
    )
    for axis in (left.xaxis, right.xaxis):
        axis.axes.set_xscale("log")
        axis.set_major_formatter(FuncFormatter(lambda value, _: format_tokens(value)))
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_tokens(value)))
    low, high = table["loss_nats"].min(), table["loss_nats"].max()
    left.yaxis.set_major_locator(FixedLocator(_nice_ticks(low, high)))
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    left.yaxis.set_minor_locator(NullLocator())
    left.yaxis.set_minor_formatter(NullFormatter())
    upper = finite.max() if len(finite) else tokens[-1]
    right.set_ylim(tokens[0], min(max(float(upper), tokens[-1]) * 3, tokens[-1] * 1e4))
    left.set_title("predicted loss")
    right.set_title("tokens to catch up")
    left.legend(title="sunk cost D1", loc="upper right", labelspacing=0.25, borderaxespad=0.3)
    right.plot([], [], color=INK, linestyle="--", linewidth=0.9, label="nothing saved")
    right.plot([], [], color=INK, linestyle=":", linewidth=0.9, label="sunk cost saved once")
    right.plot([], [], marker="o", linestyle="", color=INK, label="from scratch catches up")
    right.legend(loc="upper left")
    figure.suptitle(title, fontsize=9.5)
    add_note(figure, note)
    return figure, table


def _band(panel: Axes, rows: pd.DataFrame, colour: object) -> None:
    if np.isfinite(rows["lower"]).all():
        panel.fill_between(
            rows["d2_tokens"], rows["lower"], rows["upper"], color=colour, alpha=0.18, linewidth=0
        )


def _nice_ticks(low: float, high: float) -> list[float]:
    """Return about five round values between two losses, for a logarithmic axis that spans less than a decade."""
    step = 10 ** np.floor(np.log10((high - low) / 4))
    step *= min((1, 2, 5, 10), key=lambda factor: abs((high - low) / (factor * step) - 5))
    first = np.ceil(low / step)
    return [float(round(step * (first + i), 10)) for i in range(int((high - step * first) / step) + 1)]
