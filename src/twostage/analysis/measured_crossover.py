"""Compares reuse of a base model with training from scratch by measured losses: where the two loss curves cross.

The cells of one method and base model are compared with models trained from scratch on the same corpus, at the size
after stage 2. Losses are interpolated linearly in ln D between measured points and never extrapolated. Laws fitted to the
same cells are in `crossover_fits`, the table in `tables.crossover`. Losses are in nats per token, D in tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twostage.analysis.cells import method_cells
from twostage.catalogue.scratch_controls import nearest_size
from twostage.common.errors import UserError
from twostage.design.design import SCRATCH
from twostage.laws.points import Points
from twostage.laws.selection import NoiseFloor, noise_floor

FloatArray = NDArray[np.float64]
DRAWS = 20_000  # our choice: probabilities are accurate to 0.004, and drawing takes milliseconds
SEED = 0
LEVEL = 0.95
#: Outcomes of a comparison over all D2.
CROSSES = "scratch better from this D2 on"
REUSE = "reuse better at every measured D2"
SCRATCH_BETTER = "scratch better at every measured D2"
BACK = "scratch better at smaller D2 only, reuse at the largest"
TOO_FEW = "fewer than two D2 in common"


@dataclass(frozen=True)
class MeasuredCurve:
    """Mean measured losses over seeds against tokens.

    Attributes:
        tokens: ascending, shape (m,).
        loss: nats per token, shape (m,).
        seeds: number of seeds of each point, shape (m,).
    """

    tokens: FloatArray
    loss: FloatArray
    seeds: FloatArray

    @classmethod
    def of(cls, frame: pd.DataFrame) -> MeasuredCurve:
        """Average rows over seeds; the rows may differ in `d2_tokens` and seed only."""
        grouped = frame.groupby("d2_tokens")["loss_nats"].agg(["mean", "size"]).sort_index()
        columns = (grouped.index, grouped["mean"], grouped["size"])
        return cls(*(np.asarray(values, dtype=np.float64) for values in columns))

    def at(self, tokens: float) -> tuple[float, float] | None:
        """Return the loss at `tokens`, linear in ln D between measured points, and its variance relative to a single run.

        Returns None outside the measured range.
        """
        if not self.tokens[0] <= tokens <= self.tokens[-1]:
            return None
        right = max(int(np.searchsorted(self.tokens, tokens)), 1) if self.tokens.size > 1 else 0
        left = max(right - 1, 0)
        low, high = np.log(self.tokens[[left, right]])
        share = 0.0 if left == right else float((np.log(tokens) - low) / (high - low))
        loss = (1 - share) * self.loss[left] + share * self.loss[right]
        if left == right:
            return float(loss), float(1 / self.seeds[left])
        return float(loss), float((1 - share) ** 2 / self.seeds[left] + share**2 / self.seeds[right])

    def tokens_to(self, loss: float) -> float:
        """Return the tokens at which the curve first reaches `loss`: 0 if its first point is below, infinite if never."""
        reached = self.loss <= loss
        if not reached.any():
            return float("inf")
        right = int(np.argmax(reached))
        if right == 0:
            return float(self.tokens[0]) if self.loss[0] == loss else 0.0
        high, low = self.loss[right - 1], self.loss[right]
        share = (high - loss) / (high - low)
        log = np.log(self.tokens[right - 1]) * (1 - share) + np.log(self.tokens[right]) * share
        return float(np.exp(log))


@dataclass(frozen=True)
class Differences:
    """Loss of reuse minus loss from scratch at equal D2, for one D1.

    Attributes:
        d2: tokens, ascending, shape (m,).
        nats: differences, shape (m,); positive where training from scratch is better.
        se: standard errors in nats, independent between points, shape (m,); None if the noise is not known.
    """

    d2: FloatArray
    nats: FloatArray
    se: FloatArray | None


@dataclass(frozen=True)
class Crossing:
    """The D2 above which training from scratch is better, for one D1.

    Attributes:
        outcome: one of the texts of this module, e.g. CROSSES.
        tokens: the crossing; None unless `outcome` is CROSSES.
        lower, upper: ends of its interval; 0 means below all measured D2, infinite means above them. None if the noise is
            not known.
        p_before: share of draws in which training from scratch is better at every measured D2. None as above.
        p_inside: share of draws in which the curves cross within the measured D2.
        p_beyond: share of draws in which reuse is better at the largest D2.
    """

    outcome: str
    tokens: float | None
    lower: float | None = None
    upper: float | None = None
    p_before: float | None = None
    p_inside: float | None = None
    p_beyond: float | None = None


@dataclass(frozen=True)
class Comparison:
    """One method at one base model, compared with a model trained from scratch.

    Attributes:
        method, model, corpus: the method, its base model, and the corpus of the held-out text.
        n_final: parameters after stage 2.
        scratch_model: the model from scratch; "" if none was measured at this size.
        scratch_n: its parameters.
        scratch: its losses at all its D.
        rows: D1 -> losses of reuse at all D2.
        noise: noise between seeds of one cell; None if no cell of the table has two seeds.
        noise_from: the cells that `noise` was pooled over.
        reason: why there is no model from scratch; "" if there is one.
        reused_cells, scratch_cells: the rows behind the curves, one for each seed.
    """

    method: str
    model: str
    corpus: str
    n_final: int
    scratch_model: str
    scratch_n: int
    scratch: MeasuredCurve
    rows: dict[int, MeasuredCurve]
    noise: NoiseFloor | None
    noise_from: str
    reason: str = ""
    reused_cells: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    scratch_cells: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)

    def differences(self, d1: int) -> Differences:
        """Return the loss of reuse at `d1` minus the loss from scratch, at every D2 where both were measured."""
        row = self.rows[d1]
        d2, mine, other = np.intersect1d(row.tokens, self.scratch.tokens, return_indices=True)
        nats = row.loss[mine] - self.scratch.loss[other]
        if self.noise is None:
            return Differences(d2, nats, None)
        variance = 1 / row.seeds[mine] + 1 / self.scratch.seeds[other]
        return Differences(d2, nats, self.noise.sd_nats * np.sqrt(variance))


def compare(cells: pd.DataFrame, method: str, model: str) -> Comparison:
    """Compare the cells of one method and base model with models from scratch, without the excluded cells.

    The model from scratch is the measured one whose size is nearest to the size after stage 2, within 1 %. Noise is pooled
    over the seeds of these cells; if they all have one seed, over the seeds of all cells of the table.

    Args:
        cells: as `cells.read_cells` returns them.

    Raises:
        UserError: the method has no cells, or its cells have several corpora or sizes.
    """
    own = method_cells(cells, method, model)
    corpora, sizes = own["valid_corpus"].unique(), own["n_final"].unique()
    if len(corpora) != 1 or len(sizes) != 1:
        raise UserError(
            f"cells of {method} at {model} have valid_corpus {sorted(corpora)} and n_final {sorted(sizes)}; "
            "a comparison needs one of each"
        )
    corpus, n_final = str(corpora[0]), int(sizes[0])
    kept = cells[cells["excluded"] == ""]
    scratch = kept[(kept["method"] == SCRATCH) & (kept["valid_corpus"] == corpus)]
    known = {
        str(name): float(n) for name, n in scratch.groupby("model", sort=False)["n_final"].first().items()
    }
    name = nearest_size(known, n_final)
    control = scratch[scratch["model"] == name]
    reason = "" if name else _missing(corpus, n_final, known)
    together = pd.concat([own, control])
    noise, noise_from = _noise(together), "these cells"
    if noise is None:
        noise, noise_from = _noise(kept), "all cells of the table"
    return Comparison(
        method=method,
        model=model,
        corpus=corpus,
        n_final=n_final,
        scratch_model=name,
        scratch_n=int(known[name]) if name else 0,
        scratch=MeasuredCurve.of(control),
        rows={int(str(d1)): MeasuredCurve.of(row) for d1, row in own.groupby("d1_tokens")},
        noise=noise,
        noise_from="" if noise is None else noise_from,
        reason=reason,
        reused_cells=own,
        scratch_cells=control,
    )


def _missing(corpus: str, n_final: int, known: dict[str, float]) -> str:
    listed = ", ".join(f"{name} (N = {int(n):,})" for name, n in known.items()) or "none"
    return (
        f"no model from scratch on {corpus!r} was measured within 1 % of N = {n_final:,}, the size after stage 2; "
        f"measured: {listed}"
    )


def _noise(frame: pd.DataFrame) -> NoiseFloor | None:
    """Pool the spread between seeds; None if no cell has two seeds."""
    cell = frame.groupby(["method", "model", "valid_corpus", "d1_tokens", "d2_tokens"]).ngroup()
    try:
        return noise_floor(Points(loss=frame["loss_nats"].to_numpy(dtype=float), cell=cell.to_numpy()))
    except ValueError:
        return None


# Crossings ------------------------------------------------------------------------------------------------------------


def crossing_tokens(d2: FloatArray, differences: FloatArray) -> FloatArray:
    """Return the D2 above which training from scratch is better, interpolated linearly in ln D2 at the change of sign.

    If the sign changes several times, the last change counts, as in `laws.crossover.upper_root`. Equal losses count as
    scratch being better, because training from scratch needs no base model.

    Args:
        d2: tokens, ascending, shape (m,), m >= 2.
        differences: loss of reuse minus loss from scratch in nats, shape (draws, m).

    Returns:
        Tokens, shape (draws,); 0 where scratch is better at every D2, infinite where reuse is better at the largest D2.
    """
    negative = differences < 0
    m = d2.size
    after = m - np.argmax(negative[:, ::-1], axis=1)  # the point after the last negative one
    right = np.clip(after, 1, m - 1)
    rows = np.arange(len(differences))
    low, high = differences[rows, right - 1], differences[rows, right]
    changes = (low < 0) & (high >= 0)
    share = np.where(changes, -low / np.where(changes, high - low, 1.0), 0.0)
    log_d2 = np.log(d2)
    inside = np.exp(log_d2[right - 1] + share * (log_d2[right] - log_d2[right - 1]))
    return np.where(negative[:, -1], np.inf, np.where(negative.any(axis=1), inside, 0.0))


def find_crossing(differences: Differences, *, level: float = LEVEL, draws: int = DRAWS) -> Crossing:
    """Find where the differences cross zero, with a Monte Carlo interval.

    Each draw adds independent normal noise with the standard errors to all differences (fixed seed). A draw without a
    crossing counts as 0 if scratch is better at every measured D2, and as infinite if reuse is better at the largest D2,
    so an end of the interval may be open.
    """
    d2, nats = differences.d2, differences.nats
    if d2.size < 2:
        return Crossing(TOO_FEW, None)
    tokens = float(crossing_tokens(d2, nats[None, :])[0])
    if np.isinf(tokens):
        outcome = REUSE if (nats < 0).all() else BACK
    else:
        outcome = CROSSES if tokens > 0 else SCRATCH_BETTER
    value = tokens if outcome == CROSSES else None
    if differences.se is None:
        return Crossing(outcome, value)
    normal = np.random.default_rng(SEED).standard_normal((draws, d2.size))
    drawn = crossing_tokens(d2, nats + differences.se * normal)
    ends = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], method="inverted_cdf").tolist()
    inside = (drawn > 0) & np.isfinite(drawn)
    shares = [float(np.mean(which)) for which in (drawn == 0, inside, np.isinf(drawn))]
    return Crossing(outcome, value, *ends, *shares)
