"""The input of Figures 4 (right), 10 and 11 from a study's own laws over model sizes (`analysis.joint_fit.SizesFit`).

Chooses the plotted ranges, computes the bands from refits to resampled residuals, and notes how far a figure extends beyond
the fitted sizes. The variants from the paper's printed coefficients are in `published`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from twostage.analysis.joint_fit import SizesFit
from twostage.analysis.sources import Sources
from twostage.common.errors import UserError
from twostage.figures.style import format_tokens
from twostage.laws.consequences import Draws, laws_of
from twostage.laws.curves import DEFAULT_D1, DEFAULT_TOKENS, catch_up_curves
from twostage.study import Study

DRAWS = (
    400  # our choice: enough for a plotted band; `twostage advise` uses more for the numbers that it prints
)
PAPER_N_FINAL = 7e9  # of Figures 10 and 11; other sizes use the paper's sunk costs and tokens per parameter


@dataclass(frozen=True)
class LawPair:
    """A joint law and the law from scratch that it is compared with, each with its draws."""

    joint: SizesFit
    scratch: SizesFit
    reused_draws: Draws
    scratch_draws: Draws

    @classmethod
    def read(cls, sources: Sources) -> LawPair:
        """Read both fits, in this order.

        Raises:
            UserError: one is missing, or they are of losses on different corpora.
        """
        joint, *others = (SizesFit.from_json(text) for text in sources.texts())
        if not others:
            raise UserError(f"needs the fit of models trained from scratch on {joint.corpus!r} too")
        (scratch,) = others
        if scratch.corpus != joint.corpus:
            raise UserError(
                f"the joint law is of losses on {joint.corpus!r}, the law from scratch of losses on "
                f"{scratch.corpus!r}; compare losses on one corpus"
            )
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


class CatchUp(NamedTuple):
    """What Figures 10 and 11 show: the table, parameters of the final model, the method, and a note below."""

    table: pd.DataFrame
    n_final: float
    method: str
    note: str


def catch_up_of(study: Study, sources: Sources) -> CatchUp:
    """Predict losses, and tokens from scratch to reach them, at `laws.catch_up_n_final` parameters (Figures 10 and 11).

    Raises:
        UserError: the law from scratch does not fall with tokens, so no number of tokens reaches the loss of reuse.
    """
    pair, n_final = LawPair.read(sources), study.laws.catch_up_n_final
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
            f"{error}; measure more from-scratch cells on {pair.joint.corpus!r}, or remove the figure from figures"
        ) from None
    note = f"{pair.source()} Bands are 95 % intervals."
    if n_base > largest:
        note += f" N is {n_base / largest:.2g} times the largest fitted N."
    return CatchUp(table, factor * n_base, pair.joint.name, note)
