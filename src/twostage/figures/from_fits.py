"""Figures 4 (left, right), 9, 10 and 11 from a study's own laws over model sizes (`analysis.joint_fit.SizesFit`).

Chooses the plotted ranges, computes the bands from refits to resampled residuals, and states below each extrapolating
figure how far it extends beyond the fitted sizes. The variants from the paper's printed coefficients are in `published`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from twostage.analysis.joint_fit import SizesFit
from twostage.common.errors import UserError
from twostage.figures import figure_4_left, figure_4_right, figure_9, figure_10, figure_11
from twostage.figures.notes import add_note
from twostage.figures.style import format_tokens, new_figure
from twostage.laws.consequences import Draws, laws_of
from twostage.laws.crossover import d_star, log_quadratic, log_quadratic_d_star
from twostage.laws.curves import (
    DEFAULT_D1,
    DEFAULT_TOKENS,
    catch_up_curves,
    d_star_curve,
    extrapolation_table,
)

DRAWS = (
    400  # our choice: enough for a plotted band; `twostage advise` uses more for the numbers that it prints
)
SIZES = 41  # number of points of D*(N)
BEYOND = 1000.0  # D*(N) is drawn up to this multiple of the largest fitted N, as in the paper (1B -> 1T)
PAPER_N_FINAL = 7e9  # of Figures 10 and 11; other sizes use the paper's sunk costs and tokens per parameter
Drawing = tuple[Figure, pd.DataFrame]


@dataclass(frozen=True)
class _Pair:
    """A joint law and the law from scratch that it is compared with, each with its draws."""

    joint: SizesFit
    scratch: SizesFit
    reused_draws: Draws
    scratch_draws: Draws

    @classmethod
    def of(cls, joint: SizesFit, scratch: SizesFit) -> _Pair:
        drawn = [laws_of(one.fit, one.points, DRAWS, seed=seed) for seed, one in enumerate((joint, scratch))]
        return cls(joint, scratch, *drawn)

    def source(self) -> str:
        """Describe the source of the laws, for the note."""
        parts = []
        for what, one in (("joint law of " + self.joint.name, self.joint), ("from scratch", self.scratch)):
            low, high = one.n_base_range
            parts.append(
                f"{what}: {len(one.points)} cells, {len(one.models)} sizes {format_tokens(low)} to {format_tokens(high)}"
            )
        d2 = max(float(one.points.variables_for(["d2"])["d2"].max()) for one in (self.joint, self.scratch))
        return (
            f"From this study's cells ({'; '.join(parts)}; corpus {self.joint.corpus}), up to {format_tokens(d2)} tokens;"
            " everything beyond is extrapolated."
        )


def draw_from_fits(
    figure: str, joint: SizesFit, scratch: SizesFit | None = None, *, n_final: float | None = None
) -> Drawing:
    """Draw one figure; returns it and the plotted numbers.

    Args:
        figure: figure-4-left, figure-4-right, figure-9, figure-10 or figure-11.
        joint: joint law of the figure's method.
        scratch: law of models trained from scratch on the same corpus; required for Figures 4 (right), 10 and 11.
        n_final: parameters of the final model in Figures 10 and 11; default: the largest fitted size, after growth.

    Raises:
        UserError: the figure is unknown, the law from scratch is missing or of another corpus, or its loss does not
            decrease with tokens, so that training from scratch never catches up.
    """
    if figure == "figure-4-left":
        return figure_4_left.draw(_extrapolation(joint), method=joint.name)
    if figure == "figure-9":
        return figure_9.draw(_extrapolation(joint), method=joint.name)
    if figure not in ("figure-4-right", "figure-10", "figure-11"):
        raise UserError(
            f"figure {figure!r} is not drawn from laws over N; see exhibits.joint_design.JOINT_FIGURES"
        )
    if scratch is None:
        raise UserError(
            f"{figure}: the fit of models trained from scratch on {joint.corpus!r} is missing; give it too"
        )
    if scratch.corpus != joint.corpus:
        raise UserError(
            f"{figure}: the joint law was fitted to losses on {joint.corpus!r}, the law from scratch to losses on "
            f"{scratch.corpus!r}; give two laws of the same corpus"
        )
    pair = _Pair.of(joint, scratch)
    if figure == "figure-4-right":
        return _d_star(pair)
    return _catch_up(figure, pair, n_final)


def _extrapolation(joint: SizesFit) -> pd.DataFrame:
    return extrapolation_table(joint.points, joint.extrapolation)


def _d_star(pair: _Pair) -> Drawing:
    joint, factor = pair.joint, pair.joint.growth_factor
    low, high = joint.n_base_range
    sizes = np.geomspace(low, BEYOND * high, SIZES)
    table = d_star_curve(
        pair.scratch_draws,
        pair.reused_draws,
        sizes=sizes,
        growth_factor=factor,
        analytic=(float("nan"),)
        * 3,  # this one is centred at N = 1e11, for the paper's range; ours is fitted below
    )
    note = pair.source()
    label = ""
    try:
        centre = float(np.sqrt(low * BEYOND * high))
        d0, slope, curvature = log_quadratic(
            pair.scratch_draws.point,
            pair.reused_draws.point,
            n_range=(low, BEYOND * high),
            n_centre=centre,
            growth_factor=factor,
        )
    except ValueError:  # the approximation requires a crossover at every size
        note += " The laws do not cross at every size, so there is no analytic approximation."
    else:
        table["analytic_tokens"] = log_quadratic_d_star(d0, slope, curvature, table["n_base"], centre)
        label = (
            f"{format_tokens(d0)} x$^{{{slope:.2g}{curvature:+.2g}\\,\\ln x}}$, x = N/{format_tokens(centre)}"
        )
    if not np.isfinite(table["d_star_tokens"]).any():
        return _no_crossing(pair, table, note)
    share = float(table["exists_share"].min())
    if share < 1:
        note += f" At some sizes only {share:.0%} of the refits have a D*; the band is over those refits."
    figure, numbers = figure_4_right.draw(table, method=joint.name, analytic_label=label, note=note)
    _make_room(figure, numbers)
    return figure, numbers


def _make_room(figure: Figure, numbers: pd.DataFrame) -> None:
    """Set limits that keep curve and band clear of the legend; the band counts only up to 1e4 times from the curve."""
    tokens = numbers["d_star_tokens"].to_numpy()
    ends = [tokens, numbers["lower"].to_numpy(), numbers["upper"].to_numpy()]
    near = [np.clip(end, tokens / 1e4, tokens * 1e4)[np.isfinite(end)] for end in ends]
    low, high = np.log(np.concatenate(near).min()), np.log(np.concatenate(near).max())
    below, above = 0.45, 0.12  # shares of the axis
    span = max(high - low, 1.0) / (1 - below - above)
    figure.axes[0].set_ylim(np.exp(low - below * span), np.exp(high + above * span))


def _no_crossing(pair: _Pair, table: pd.DataFrame, note: str) -> Drawing:
    """Draw the result that there is no D*: either growth or training from scratch is better at large token counts."""
    n = float(table["n_base"].iloc[0])
    beyond = d_star(
        pair.scratch_draws.point, pair.reused_draws.point, n, growth_factor=pair.joint.growth_factor
    ).beyond
    better = "training from scratch" if beyond == "scratch" else f"growth ({pair.joint.name})"
    figure, axes = new_figure(1, 1, height=3.2, width=4.2)
    panel = axes[0, 0]
    ends = table["n_base"].iloc[[0, -1]]
    panel.set(xscale="log", xlim=tuple(ends), xlabel="parameters before growth, N", yticks=[])
    panel.set_title(f"Growth ({pair.joint.name}) or from scratch?")
    panel.text(
        0.5,
        0.5,
        f"no D* at any of these sizes:\nwith very many tokens {better} is better",
        transform=panel.transAxes,
        ha="center",
        va="center",
    )
    add_note(figure, note)
    return figure, table


def _catch_up(figure: str, pair: _Pair, n_final: float | None) -> Drawing:
    factor = pair.joint.growth_factor
    largest = pair.joint.n_base_range[1]
    n_base = largest if n_final is None else n_final / factor
    scale = factor * n_base / PAPER_N_FINAL
    try:
        table = catch_up_curves(
            pair.scratch_draws,
            pair.reused_draws,
            n_base=n_base,
            growth_factor=factor,
            d1_tokens=[scale * d1 for d1 in DEFAULT_D1],
            tokens=scale * DEFAULT_TOKENS,
        )
    except ValueError as error:
        raise UserError(
            f"{figure}: {error}; measure more from-scratch cells on {pair.joint.corpus!r}, or remove {figure} from figures"
        ) from None
    note = f"{pair.source()} Bands are 95 % intervals."
    if n_base > largest:
        note += f" N is {n_base / largest:.2g} times the largest fitted N."
    draw = figure_10.draw if figure == "figure-10" else figure_11.draw
    return draw(table, n_final=factor * n_base, method=pair.joint.name, note=note)
