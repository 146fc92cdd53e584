"""The toy model of feature-space expansion: simulated losses, their exponents against ln D1, and errors of the laws.

After a summary of v2 of arXiv 2510.06548. `draw` is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from twostage.analysis.power_laws import Coefficient
from twostage.figures.curve_panel import LEGEND_INCHES, Colour, draw_legend
from twostage.figures.figure_1 import with_half_width
from twostage.figures.style import (
    INK,
    TEXT_WIDTH_INCHES,
    apply_style,
    d1_palette,
    plain_log_axis,
    token_axis,
)
from twostage.toy.fit import Theory, ToyFit

HEIGHT_INCHES = 2.75
PANEL_CHARACTERS = 24  # of token labels, see style.token_axis
CURVE_POINTS = 60
CONTROL = "#999999"
ACCENT = "#c0392b"
FORM_LABELS = {
    "tree": "saturating\n" r"$\alpha_2/(1+\kappa\,\ln D_1)$",
    "mul": "interaction\n" r"$\alpha_2-\alpha_3\,\ln D_1$",
    "mul0": "no interaction\n" r"($\alpha_3=0$)",
    "hyb": "hybrid",
    "add": "additive",
}
COLUMNS = ("panel", "kind", "d1_samples", "d2_samples", "form", "value", "lower", "upper")


def draw(losses: pd.DataFrame, fit: ToyFit, control: ToyFit, theory: Theory) -> tuple[Figure, pd.DataFrame]:
    """Draw three panels.

    Args:
        losses: losses of the model with splitting, as `toy.model.simulate` returns them.
        fit: fit to these losses.
        control: fit to the losses of the same model without splitting.
        theory: closed form of the model with splitting.

    Returns:
        The figure and the plotted numbers: panel (loss, exponent, form), kind and value with its 95 % interval. Losses
        are means over seeds, relative to the loss before any learning. `branching` rows give the mean number of children
        of the domain's features, `summary` rows gamma and delta.
    """
    apply_style()
    figure = Figure(figsize=(TEXT_WIDTH_INCHES, HEIGHT_INCHES + LEGEND_INCHES), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[HEIGHT_INCHES, LEGEND_INCHES], squeeze=False).flat
    left, middle, right = top.subplots(1, 3, width_ratios=[1.05, 1.05, 0.9])
    palette = d1_palette(fit.curves.groups)
    rows = _draw_losses(left, losses, fit, palette)
    rows += _draw_exponents(middle, fit, control, theory, palette)
    rows += _draw_forms(right, fit)
    branching = losses.groupby("d1_samples")["branching"].mean()
    rows += _rows("branching", "simulated", {}, d1_samples=branching.index, value=branching)
    rows += _summary(fit, control)
    draw_legend(bottom, "first-stage samples $D_1$ (lines: fits)", palette, [])
    return figure, pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def _draw_losses(
    axes: Axes, losses: pd.DataFrame, fit: ToyFit, palette: Mapping[float, Colour]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    x = np.geomspace(losses["d2_samples"].min(), losses["d2_samples"].max(), CURVE_POINTS)
    means = losses.groupby(["d1_samples", "d2_samples"])["loss"].mean().unstack("d2_samples")
    d2 = means.columns.to_numpy()
    for d1, simulated in zip(fit.curves.groups, means.to_numpy(), strict=True):
        fitted = fit.curves.predict(d1, x)
        axes.plot(d2, simulated, "o", color=palette[d1], markeredgecolor="white", zorder=3)
        axes.plot(x, fitted, color=palette[d1], zorder=2)
        for kind, tokens, values in (("simulated", d2, simulated), ("fit", x, fitted)):
            rows += _rows("loss", kind, {"d1_samples": d1}, d2_samples=tokens, value=values)
    token_axis(axes, d2.tolist(), max_characters=PANEL_CHARACTERS)
    plain_log_axis(axes)
    axes.set_xlabel("second-stage samples $D_2$")
    axes.set_ylabel("simulated loss\n(relative to the initial loss)")
    floor = fit.curves.curves[0].floor.value
    axes.set_title(f"$L = A\\,D_2^{{-\\alpha}} + E$,  $E$ = {floor:.2f}", loc="right", fontsize=7.5)
    return rows


def _draw_exponents(
    axes: Axes, fit: ToyFit, control: ToyFit, theory: Theory, palette: Mapping[float, Colour]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for kind, own in (("splitting", fit), ("no splitting", control)):
        for curve in own.curves.curves:
            value, (lower, upper) = -curve.alpha.value, _ends(curve.alpha)
            # An interval with an open end has no error bar on that side.
            bars = np.nan_to_num([[value + upper], [-lower - value]])
            colour = palette[curve.group] if own is fit else CONTROL
            axes.errorbar(
                curve.group, value, bars, fmt="o", color=colour, capsize=2, elinewidth=0.8, zorder=3
            )
            where = {"d1_samples": curve.group, "value": value, "lower": -upper, "upper": -lower}
            rows.append({"panel": "exponent", "kind": kind, **where})
    x = np.geomspace(min(fit.curves.groups), max(fit.curves.groups), CURVE_POINTS)
    middle = float(np.exp(np.mean(np.log(fit.curves.groups))))
    for kind, label, y, options in (
        ("Eq. 5", "Eq. 5, fitted", fit.exponents.predict(x), {"linestyle": "--", "color": INK}),
        (
            "theory",
            r"$-\alpha/(1+\kappa\,\ln D_1)$",
            -theory.exponent(x),
            {"color": ACCENT, "linewidth": 0.9},
        ),
        (
            "theory, first order",
            "first order of the theory",
            -theory.expansion(x, middle),
            {"linestyle": ":", "color": ACCENT},
        ),
        (
            "Eq. 5, no splitting",
            "no splitting",
            control.exponents.predict(x),
            {"linestyle": "--", "color": CONTROL},
        ),
    ):
        axes.plot(x, y, label=label, zorder=2, **options)
        rows += _rows("exponent", kind, {}, d1_samples=x, value=y)
    token_axis(axes, fit.curves.groups, max_characters=PANEL_CHARACTERS)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.margins(x=0.1)
    axes.legend(loc="best", fontsize=6.5, handlelength=2.2, borderaxespad=0.2, labelspacing=0.35)
    axes.set_xlabel("first-stage samples $D_1$")
    axes.set_ylabel(r"exponent $-\alpha(D_1)$")
    slope = with_half_width(fit.exponents, 1)
    axes.set_title(f"Eq. 5:  $\\gamma$ = {slope}", loc="right", fontsize=7.5)
    return rows


def _draw_forms(axes: Axes, fit: ToyFit) -> list[dict[str, Any]]:
    forms = fit.forms.set_index("form")["loo_rms_nats"]
    noise = fit.noise.sd_nats
    places = np.arange(len(forms))[::-1]
    axes.plot(forms, places, "o", color=INK)
    axes.axvline(noise, color=ACCENT, linestyle=":", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(min(forms.min(), noise) / 1.4, float(forms.max()) * 1.6)
    axes.set_ylim(-0.6, len(forms) - 0.2)
    axes.text(noise * 1.12, len(forms) - 0.28, "sd between seeds", color=ACCENT, fontsize=6.5, va="top")
    axes.set_yticks(places, [FORM_LABELS[str(form)] for form in forms.index], fontsize=6.5)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{1e3 * value:.3g}"))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("leave-one-out RMS\n($10^{-3}$ of the initial loss)")
    return [
        *_rows("form", "leave-one-out RMS", {}, form=forms.index, value=forms),
        {"panel": "form", "kind": "sd between seeds", "value": noise},
    ]


def _summary(fit: ToyFit, control: ToyFit) -> list[dict[str, Any]]:
    """Return gamma and delta with their intervals; these rows are in the table only."""
    slopes = {
        "gamma": fit.exponents.slope,
        "gamma without splitting": control.exponents.slope,
        "delta": fit.branching.slope,
    }
    return [
        {"panel": "summary", "kind": kind, "value": slope.value, "lower": ends[0], "upper": ends[1]}
        for kind, slope in slopes.items()
        for ends in [_ends(slope)]
    ]


def _rows(panel: str, kind: str, fixed: Mapping[str, Any], **columns: Iterable[Any]) -> list[dict[str, Any]]:
    """Return one row of the table for each element of the columns."""
    return [
        {"panel": panel, "kind": kind, **fixed, **dict(zip(columns, values, strict=True))}
        for values in zip(*columns.values(), strict=True)
    ]


def _ends(coefficient: Coefficient) -> tuple[float, float]:
    lower, upper = coefficient.interval.lower, coefficient.interval.upper
    return (np.nan if lower is None else lower, np.nan if upper is None else upper)
