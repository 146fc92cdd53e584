"""How gradient norms of the second stage move with D1: one slope of logarithms, for each seed and over seeds.

After a summary of the paper's second version, overtrained bases meet larger gradients. The slope is a summary of that, not a
law: norms need not follow a power of D1. A pure function of cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from twostage.analysis.over_seeds import mean_over_seeds


@dataclass(frozen=True)
class NormSlope:
    """d ln(norm) / d ln D1 at equal D2. `seeds`: by seed; `mean` over them, and mean +- t s / sqrt(k) of two seeds or more."""

    seeds: dict[int, float]
    mean: float
    lower: float | None = None
    upper: float | None = None

    @property
    def per_doubling(self) -> str:
        """By what a doubling of D1 multiplies the norm, with its interval: `×1.068 [1.062, 1.074]`."""
        text = f"×{2**self.mean:.3f}"
        if self.lower is None or self.upper is None:
            return text
        return f"{text} [{2**self.lower:.3f}, {2**self.upper:.3f}]"


def norm_slope(cells: pd.DataFrame) -> NormSlope | None:
    """The slope over the cells of one method and base model; None where no D2 has norms at two D1.

    Args:
        cells: rows with seed, d1_tokens, d2_tokens and grad_norm_mean (means before clipping, warmup and decay left out).

    A seed's slope is least squares with an intercept of its own for each D2, so that grids with gaps are no trouble.
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
