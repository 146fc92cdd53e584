"""Figure 1: losses against D2 for each D1, and exponents and factors of the fitted power laws against D1.

One row for each method. Left: Eq. 1 with one floor for all curves. Middle: -alpha(D1) with Eq. 5. Right: A(D1) with a
power law. Error bars are 95 % intervals. `draw` is pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from twostage.analysis.cells import method_cells
from twostage.analysis.method_fit import MethodFit
from twostage.analysis.power_laws import Coefficient, PowerLaws, Trend
from twostage.common.errors import UserError
from twostage.figures.curve_panel import LEGEND_INCHES, Colour, draw_curves, draw_legend, write_reason
from twostage.figures.style import INK, TEXT_WIDTH_INCHES, apply_style, d1_palette, plain_log_axis, token_axis

ROW_INCHES = 2.3
PANEL_CHARACTERS = 26  # of token labels, see style.token_axis
COLUMNS = ("method", "model", "panel", "kind", "d1_tokens", "d2_tokens", "seed", "value", "lower", "upper")


def draw(cells: pd.DataFrame, fits: Mapping[str, MethodFit]) -> tuple[Figure, pd.DataFrame]:
    """Draw one row for each fit.

    Args:
        cells: as `cells.read_cells` returns them.
        fits: title of the row -> fit of its method.

    Returns:
        The figure and the plotted numbers: panel (loss, exponent, factor), kind (measured, fit, coefficient, trend) and
        value with its interval. Exponents are -alpha. Factors are A in nats per token at D2 = 1 token.
    """
    apply_style()
    height = ROW_INCHES * len(fits) + LEGEND_INCHES
    figure = Figure(figsize=(TEXT_WIDTH_INCHES, height), layout="constrained")
    parts = figure.subfigures(
        len(fits) + 1, 1, height_ratios=[*[ROW_INCHES] * len(fits), LEGEND_INCHES], squeeze=False
    )
    frames = {title: method_cells(cells, fit.method, fit.model) for title, fit in fits.items()}
    palette = d1_palette(float(value) for frame in frames.values() for value in frame["d1_tokens"])
    seeds = sorted({seed for fit in fits.values() for seed in fit.seeds})
    rows: list[dict[str, Any]] = []
    for part, (title, fit) in zip(parts[:, 0], fits.items(), strict=False):
        part.suptitle(title, fontsize=9, fontweight="bold", x=0.01, ha="left")
        left, middle, right = part.subplots(1, 3, width_ratios=[1.15, 1, 1])
        row = _draw_loss(left, frames[title], fit, palette)
        row += _draw_coefficients(middle, right, fit, palette)
        rows += [{"method": fit.method, "model": fit.model, **numbers} for numbers in row]
    draw_legend(parts[-1, 0], "first-stage tokens $D_1$ (lines: fits)", palette, seeds)
    return figure, pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def _draw_loss(
    axes: Axes, frame: pd.DataFrame, fit: MethodFit, palette: Mapping[float, Colour]
) -> list[dict[str, Any]]:
    curves = fit.curves["d2"]
    rows = draw_curves(
        axes, frame, curves, "d2_tokens", "d1_tokens", palette, max_characters=PANEL_CHARACTERS
    )
    axes.set_xlabel("second-stage tokens $D_2$")
    if curves.power_laws is not None:
        axes.set_title(
            f"$L = A\\,D_2^{{-\\alpha}} + E$,  $E$ = {curves.power_laws.curves[0].floor.value:.2f}",
            loc="right",
            fontsize=7.5,
        )
    return [{"panel": "loss", **row} for row in rows]


def _draw_coefficients(
    middle: Axes, right: Axes, fit: MethodFit, palette: Mapping[float, Colour]
) -> list[dict[str, Any]]:
    curves = fit.curves["d2"]
    laws = curves.power_laws
    if laws is None:
        for axes in (middle, right):
            write_reason(axes, curves.reason)
        return []
    exponents = [_negative(curve.alpha) for curve in laws.curves]
    factors = [_exponential(curve.log_factor) for curve in laws.curves]
    middle.set_ylabel(r"exponent $-\alpha(D_1)$")
    right.set_ylabel("factor $A(D_1)$\n(nats/token at $D_2$ = 1 token)")
    rows = _points(middle, "exponent", laws, exponents, palette) + _points(
        right, "factor", laws, factors, palette
    )
    plain_log_axis(right)
    for axes in (middle, right):
        axes.set_xlabel("first-stage tokens $D_1$")
        token_axis(axes, laws.groups, max_characters=PANEL_CHARACTERS)
        axes.margins(x=0.12, y=0.1)
    middle.yaxis.set_major_locator(MaxNLocator(5))
    return rows + _trends(middle, right, laws)


def _trends(middle: Axes, right: Axes, laws: PowerLaws) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    try:
        exponent, factor = laws.exponent_trend(), laws.factor_trend()
    except UserError:  # the errors of the coefficients are not known, so the points are drawn without a line
        return rows
    x = np.geomspace(min(laws.groups), max(laws.groups), 60)
    for axes, panel, y in (
        (middle, "exponent", exponent.predict(x)),
        (right, "factor", np.exp(factor.predict(x))),
    ):
        axes.plot(x, y, "--", color=INK, linewidth=0.9, zorder=1)
        rows += [
            {"panel": panel, "kind": "trend", "d1_tokens": a, "value": b}
            for a, b in zip(x.tolist(), y.tolist(), strict=True)
        ]
    middle.set_title(f"Eq. 5:  $\\gamma$ = {with_half_width(exponent, 1)}", loc="right", fontsize=7.5)
    right.set_title(
        f"$A \\propto D_1^{{-\\alpha_1}}$:  $\\alpha_1$ = {with_half_width(factor, -1)}",
        loc="right",
        fontsize=7.5,
    )
    return rows


def with_half_width(trend: Trend, sign: int) -> str:
    """Format the slope times `sign` with half the width of its interval, to two digits of the latter: `0.0046 ± 0.0012`."""
    lower, upper = trend.slope.interval.lower, trend.slope.interval.upper
    assert lower is not None
    assert upper is not None
    half = (upper - lower) / 2
    digits = max(0, 1 - int(np.floor(np.log10(half))))  # two digits of the half width
    return f"{sign * trend.slope.value:.{digits}f} ± {half:.{digits}f}"


def _points(
    axes: Axes,
    panel: str,
    laws: PowerLaws,
    values: list[tuple[float, float, float]],
    palette: Mapping[float, Colour],
) -> list[dict[str, Any]]:
    rows = []
    for group, (value, lower, upper) in zip(laws.groups, values, strict=True):
        # An interval with an open end has no error bar on that side.
        below, above = (0.0 if np.isnan(end) else abs(end - value) for end in (lower, upper))
        axes.errorbar(
            group, value, [[below], [above]], fmt="o", color=palette[group], capsize=2, elinewidth=1, zorder=3
        )
        rows.append(
            {
                "panel": panel,
                "kind": "coefficient",
                "d1_tokens": group,
                "value": value,
                "lower": lower,
                "upper": upper,
            }
        )
    return rows


def _ends(coefficient: Coefficient) -> tuple[float, float]:
    lower, upper = coefficient.interval.lower, coefficient.interval.upper
    return (np.nan if lower is None else lower, np.nan if upper is None else upper)


def _negative(coefficient: Coefficient) -> tuple[float, float, float]:
    lower, upper = _ends(coefficient)
    return -coefficient.value, -upper, -lower


def _exponential(coefficient: Coefficient) -> tuple[float, float, float]:
    lower, upper = _ends(coefficient)
    return float(np.exp(coefficient.value)), float(np.exp(lower)), float(np.exp(upper))
