"""Slope of ln(gradient norm) against ln D1 in the second stage, for each seed and as a mean over seeds.

According to a summary of the paper's second version, base models trained for longer have larger gradients in stage 2. The
slope describes that trend; it does not claim that norms follow a power law in D1. A pure function of cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from twostage.analysis.over_seeds import mean_over_seeds


@dataclass(frozen=True)
class NormSlope:
    """d ln(norm) / d ln D1 at equal D2.

    `seeds`: slope by seed. `mean`: over seeds. `lower`, `upper`: mean +- t s / sqrt(k); None with one seed.
    """

    seeds: dict[int, float]
    mean: float
    lower: float | None = None
    upper: float | None = None

    @property
    def per_doubling(self) -> str:
        """The factor by which the norm grows when D1 doubles, with its interval: `×1.068 [1.062, 1.074]`."""
        text = f"×{2**self.mean:.3f}"
        if self.lower is None or self.upper is None:
            return text
        return f"{text} [{2**self.lower:.3f}, {2**self.upper:.3f}]"


def norm_slope(cells: pd.DataFrame) -> NormSlope | None:
    """Fit the slope to the cells of one method and base model; None if no D2 has norms at two D1.

    The slope of a seed is fitted by least squares with a separate intercept for each D2, so the grid may have gaps.

    Args:
        cells: rows with seed, d1_tokens, d2_tokens and grad_norm_mean (mean before clipping, without warmup and decay).
    """
    known = cells[cells["grad_norm_mean"].notna()]
    seeds = {}
    for seed, own in known.groupby("seed"):
        logs = own[["d1_tokens", "grad_norm_mean"]].astype(float).apply(np.log)
        centred = logs - logs.groupby(own["d2_tokens"]).transform("mean")
        x, y = centred["d1_tokens"], centred["grad_norm_mean"]
        if float((x**2).sum()) > 0:
            seeds[int(str(seed))] = float((x * y).sum() / (x**2).sum())
    if not seeds:
        return None
    return NormSlope(seeds, *mean_over_seeds(seeds.values()))
