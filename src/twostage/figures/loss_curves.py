"""Rows of Figures 5, 6 and 7: losses during training under two or more conditions ("arms"), with the end enlarged.

Left: validation losses on a small fixed sample against the tokens of the stage, a colour for each arm, with the learning
rates below. Right: the end of these curves, with the losses of the finished models on the full held-out split as
markers. `draw_rows` is pure.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from twostage.common.errors import UserError
from twostage.figures.style import (
    INK,
    SEED_MARKERS,
    TEXT_WIDTH_INCHES,
    apply_style,
    format_tokens,
    seed_markers,
)

LOSS_INCHES, RATE_INCHES = 2.1, 0.7
#: Colour-blind safe (Okabe and Ito), in the order of the arms.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
#: Share of the tokens whose losses do not set the scale: the first losses of a model from scratch are very large.
START_SHARE = 0.04
END_SHARE = 0.2  # share of the tokens in the right panel
LEGEND_CHARACTERS = 42  # per line
COLUMNS = ("panel", "arm", "kind", "method", "model", "seed", "d1_tokens", "d2_tokens", "tokens", "value")


@dataclass(frozen=True)
class Arm:
    """One condition: it selects rows of `curves` and `cells`, of all seeds."""

    label: str
    method: str
    model: str
    d1_tokens: int
    d2_tokens: int

    def rows(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the arm's rows of a table."""
        keys = ("method", "model", "d1_tokens", "d2_tokens")
        return table[np.logical_and.reduce([table[key] == getattr(self, key) for key in keys])]


def draw_rows(
    panels: Mapping[str, Sequence[Arm]],
    curves: pd.DataFrame,
    cells: pd.DataFrame,
    *,
    corpus: str | Mapping[str, str],
    token_label: str,
) -> tuple[Figure, pd.DataFrame]:
    """Draw one row for each title.

    Args:
        panels: title -> its arms; the default arm comes first.
        curves: rows of `curves.csv`; validation losses may be empty between measurements.
        cells: as `cells.read_cells` returns them.
        corpus: corpus whose held-out split the final losses are measured on; a mapping from the title if it differs.
        token_label: label of the horizontal axis.

    Returns:
        The figure and the plotted numbers: kind is `curve` (validation loss), `final` (loss of the finished model on the
        full held-out split) or `rate` (learning rate); value in nats per token, or the rate.

    Raises:
        UserError: an arm has no validation losses or no finished model.
    """
    apply_style()
    height = (LOSS_INCHES + RATE_INCHES) * len(panels)
    figure = Figure(figsize=(TEXT_WIDTH_INCHES, height), layout="constrained")
    parts = figure.subfigures(len(panels), 1, squeeze=False)[:, 0]
    rows: list[dict[str, Any]] = []
    for part, (title, arms) in zip(parts, panels.items(), strict=True):
        part.suptitle(title, fontsize=9, fontweight="bold", x=0.01, ha="left")
        left, right = part.subfigures(1, 2, width_ratios=[1.25, 1])
        full, rates = left.subplots(2, 1, height_ratios=[LOSS_INCHES, RATE_INCHES])
        end, legend = right.subplots(2, 1, height_ratios=[LOSS_INCHES, RATE_INCHES])
        own = corpus if isinstance(corpus, str) else corpus[title]
        drawn = [
            _Drawn.of(arm, colour, curves, cells, own)
            for arm, colour in zip(arms, itertools.cycle(COLOURS), strict=False)
        ]
        _draw_losses(full, end, drawn)
        _draw_rates(rates, drawn)
        full.tick_params(labelbottom=False)
        rates.set_xlim(full.get_xlim())
        for axes in (rates, end):
            axes.set_xlabel(token_label)
        _draw_legend(legend, drawn)
        rows += [{"panel": title, **row} for arm in drawn for row in arm.numbers()]
    return figure, pd.DataFrame(rows).reindex(columns=list(COLUMNS))


@dataclass(frozen=True)
class _Drawn:
    """An arm with its rows of the tables: `curve` (validation losses), `rate` (of one seed) and `final` (finished models)."""

    arm: Arm
    colour: str
    curve: pd.DataFrame
    rate: pd.DataFrame
    final: pd.DataFrame

    @classmethod
    def of(cls, arm: Arm, colour: str, curves: pd.DataFrame, cells: pd.DataFrame, corpus: str) -> _Drawn:
        own = arm.rows(curves).sort_values(["seed", "tokens"], kind="stable")
        curve = own[own["valid_loss_nats"].notna()]
        final = arm.rows(cells)
        final = final[(final["valid_corpus"] == corpus) & (final["excluded"] == "")].sort_values("seed")
        for table, what in ((curve, "validation losses in curves.csv"), (final, "final loss in cells.csv")):
            if table.empty:
                raise UserError(
                    f"{arm.method} on {arm.model}, D1 = {arm.d1_tokens}, D2 = {arm.d2_tokens}: no {what}; "
                    "make both tables again from one study (snakemake -R gather_curves aggregate_cells)"
                )
        rate = own[own["seed"] == own["seed"].min()]
        return cls(arm, colour, curve, rate, final)

    @property
    def legend(self) -> str:
        """The arm's name and its final loss; with several seeds, their mean and half range."""
        losses = self.final["loss_nats"]
        if len(losses) == 1:
            return f"{self.arm.label}: {losses.iloc[0]:.4f}"
        return f"{self.arm.label}: {losses.mean():.4f}\u00a0±\u00a0{(losses.max() - losses.min()) / 2:.4f}"

    def numbers(self) -> list[dict[str, Any]]:
        """Return the plotted numbers as rows of the figure's table."""
        identity = {"arm": self.arm.label} | {
            key: getattr(self.arm, key) for key in ("method", "model", "d1_tokens", "d2_tokens")
        }
        rows: list[dict[str, Any]] = []
        for kind, table, column in (
            ("curve", self.curve, "valid_loss_nats"),
            ("rate", self.rate, "lr"),
            ("final", self.final.assign(tokens=self.arm.d2_tokens), "loss_nats"),
        ):
            rows += [
                {**identity, "kind": kind, "seed": seed, "tokens": tokens, "value": value}
                for seed, tokens, value in zip(table["seed"], table["tokens"], table[column], strict=True)
            ]
        return rows


def _draw_losses(full: Axes, end: Axes, arms: Sequence[_Drawn]) -> None:
    longest = max(float(arm.curve["tokens"].max()) for arm in arms)
    start = (1 - END_SHARE) * longest
    for axes in (full, end):
        for arm in arms:
            for _, curve in arm.curve.groupby("seed"):
                axes.plot(
                    curve["tokens"], curve["valid_loss_nats"], color=arm.colour, linewidth=1.0, alpha=0.9
                )
            markers = seed_markers(arm.final["seed"])
            for seed, loss in zip(arm.final["seed"], arm.final["loss_nats"], strict=True):
                axes.plot(
                    arm.arm.d2_tokens,
                    loss,
                    markers[int(seed)],
                    color=arm.colour,
                    markeredgecolor="white",
                    zorder=4,
                )
        axes.yaxis.set_major_locator(MaxNLocator(6))
        token_ticks(axes)
    full.set_xlim(0, 1.03 * longest)
    end.set_xlim(start, longest + 0.08 * (longest - start))
    end.xaxis.set_major_locator(MaxNLocator(4))
    for axes, first in ((full, START_SHARE * longest), (end, start)):
        shown = _losses(arms, first)
        margin = 0.06 * max(float(np.ptp(shown)), 1e-3)
        axes.set_ylim(shown.min() - margin, shown.max() + margin)
    full.axvspan(start, longest, color=INK, alpha=0.06, linewidth=0)
    full.set_ylabel("validation loss\n(nats/token)")
    full.set_title("full run", loc="right", fontsize=7.5)
    end.set_title(f"last {END_SHARE:.0%}; markers: finished models", loc="right", fontsize=7.5)


def _losses(arms: Sequence[_Drawn], start: float) -> np.ndarray:
    """Return all losses from `start` tokens on, including the curves' interpolated losses at `start` and the final losses."""
    parts = [arm.final["loss_nats"].to_numpy() for arm in arms]
    for arm in arms:
        for _, curve in arm.curve.groupby("seed"):
            tokens, losses = curve["tokens"].to_numpy(), curve["valid_loss_nats"].to_numpy()
            parts += [losses[tokens >= start], np.interp([max(start, tokens[0])], tokens, losses)]
    return np.concatenate(parts)


def _draw_rates(axes: Axes, arms: Sequence[_Drawn]) -> None:
    # Wider lines first, so that equal rates remain visible below narrower lines.
    for rank, arm in enumerate(arms):
        width = 1.1 + 1.3 * (len(arms) - 1 - rank)
        axes.plot(arm.rate["tokens"], arm.rate["lr"], color=arm.colour, linewidth=width)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("learning\nrate")
    axes.yaxis.set_major_locator(MaxNLocator(2))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
    axes.margins(y=0.15)
    token_ticks(axes)


def _draw_legend(axes: Axes, arms: Sequence[_Drawn]) -> None:
    axes.set_axis_off()
    seeds = max(len(arm.final) for arm in arms)
    mean = f",\nmean ± half range of {seeds} seeds" if seeds > 1 else ""
    axes.legend(
        handles=[
            Line2D(
                [],
                [],
                color=arm.colour,
                marker=SEED_MARKERS[0],
                markeredgecolor="white",
                label=textwrap.fill(arm.legend, LEGEND_CHARACTERS),
            )
            for arm in arms
        ],
        title=f"finished model, full held-out split{mean}",
        loc="center",
        borderaxespad=0.0,
    )


def token_ticks(axes: Axes) -> None:
    """Label a linear axis in tokens like `1.1M`."""
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: "0" if value == 0 else format_tokens(value))
    )
