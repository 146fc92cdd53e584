"""Laws over model sizes, fitted to a study's own cells: the joint law of a method (Eq. 7) and the law from scratch.

Each law is one fit file, `fits/joint/<method>.json` or `fits/scratch/<corpus>.json`. It has the format that `twostage fit`
writes, so that `twostage predict` and `advise` can read it, plus the models and an extrapolation test. Losses are in nats
per token, N in non-embedding parameters *before* growth, D in tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from twostage.common.errors import UserError
from twostage.design.design import SCRATCH
from twostage.laws.fit import Fit, fit_law
from twostage.laws.fit_file import fit_record
from twostage.laws.jsonio import dumps, loads
from twostage.laws.points import Points
from twostage.laws.selection import ExtrapolationResult, extrapolation_test
from twostage.laws.uncertainty import profile_intervals

HELD_OUT_SHARE = 0.1  # the lowest losses: Figures 4 (left) and 9


@dataclass(frozen=True)
class SizesFit:
    """One law over model sizes; see the module docstring.

    Attributes:
        name: the method (joint law) or `scratch`.
        corpus: corpus of the second stage (from scratch: of the training) and of the evaluation.
        models: base models, in ascending N.
        growth_factor: n_final / n_base of the largest model; 1 without growth.
        fit: `joint` or `chinchilla`, with profile-likelihood intervals.
        points: the fitted cells, one point for each seed.
        extrapolation: the same form, fitted without the lowest tenth of the losses, and its errors on them.
    """

    name: str
    corpus: str
    models: tuple[str, ...]
    growth_factor: float
    fit: Fit
    points: Points
    extrapolation: ExtrapolationResult

    @property
    def n_base_range(self) -> tuple[float, float]:
        """The smallest and the largest fitted N, before growth."""
        n = self.points.variables_for(["n"])["n"]
        return float(n.min()), float(n.max())

    def to_json(self) -> str:
        """Return the text of the fit file; numbers have 17 digits."""
        test = self.extrapolation
        extra = {
            "name": self.name,
            "corpus": self.corpus,
            "models": list(self.models),
            "growth_factor": self.growth_factor,
            "extrapolation": {
                "share": HELD_OUT_SHARE,
                "held_out": np.asarray(test.held_out, bool).tolist(),
                "errors_nats": test.errors_nats.tolist(),
                "rms_nats": test.rms_nats,
                "fit": loads(test.fit.to_json()),
            },
        }
        return fit_record(self.fit, self.points, extra)

    @classmethod
    def from_json(cls, text: str) -> SizesFit:
        """Read a fit file; a missing key is a `UserError` that names it."""
        data = loads(text)
        try:
            test = data["extrapolation"]
            return cls(
                name=data["name"],
                corpus=data["corpus"],
                models=tuple(data["models"]),
                growth_factor=data["growth_factor"],
                fit=Fit.from_json(text),
                points=Points(**{name: np.asarray(values) for name, values in data["points"].items()}),
                extrapolation=ExtrapolationResult(
                    fit=Fit.from_json(dumps(test["fit"])),
                    held_out=np.array(test["held_out"], bool),
                    errors_nats=np.array(test["errors_nats"], float),
                    rms_nats=test["rms_nats"],
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"fit file of a law over sizes: {error}; make it again with: snakemake -f <the fit file>"
            ) from None


def fit_joint(cells: pd.DataFrame, method: str, *, delta: float) -> SizesFit:
    """Fit the joint law (Eq. 7) to all base models of one method, without the excluded cells.

    Args:
        cells: as `cells.read_cells` returns them.
        method: a stage-2 method of the study.
        delta: threshold of the Huber loss of ln L.

    Raises:
        UserError: the method has no cells, or the cells cannot identify the law (fewer than three sizes, a range of N
            below 4x, or fewer points than coefficients), with or without the lowest tenth of the losses.
    """
    rows = cells[(cells["method"] == method) & (cells["excluded"] == "")]
    if method == SCRATCH or rows.empty:
        known = sorted(set(cells["method"]) - {SCRATCH})
        raise UserError(f"no cells of method {method!r}; the table has {known}")
    return _fit(rows, method, "joint", delta)


def fit_scratch(cells: pd.DataFrame, corpus: str, *, delta: float) -> SizesFit:
    """Fit L = A/N^alpha + B/D^beta + E to the models trained from scratch on a corpus; other arguments as `fit_joint`.

    On the base corpus these are the base models after D1 tokens.

    Raises:
        UserError: as `fit_joint`.
    """
    scratch = cells[cells["method"] == SCRATCH]
    rows = scratch[(scratch["valid_corpus"] == corpus) & (scratch["excluded"] == "")]
    if rows.empty:
        known = sorted(set(scratch["valid_corpus"]))
        raise UserError(f"no models trained from scratch on corpus {corpus!r}; the table has {known}")
    return _fit(rows, SCRATCH, "chinchilla", delta)


def _fit(rows: pd.DataFrame, name: str, form: str, delta: float) -> SizesFit:
    order = ["n_base", "d1_tokens", "d2_tokens", "seed"]
    rows = rows.sort_values(order, kind="stable").reset_index(drop=True)
    corpora = sorted(set(rows["valid_corpus"]))
    if len(corpora) != 1:
        raise UserError(f"cells of {name} are measured on {corpora}; a law needs losses on a single corpus")
    what = f"{form} law of {name} on {corpora[0]}"
    try:
        points = Points.from_frame(
            rows,
            d1="d1_tokens" if form == "joint" else None,
            d2="d2_tokens",
            n="n_base",
            loss="loss_nats",
            seed="seed",
        )
        fit = fit_law(points, form, delta=delta)
    except ValueError as error:
        raise UserError(f"{what}: {error}") from None
    try:
        test = extrapolation_test(points, form, HELD_OUT_SHARE, delta=delta)
    except ValueError as error:
        raise UserError(f"{what} without the lowest {HELD_OUT_SHARE:.0%} of the losses: {error}") from None
    if len(points) > len(fit.coefficients):
        fit = fit.with_intervals(profile_intervals(points, fit))
    largest = rows.iloc[-1]
    return SizesFit(
        name=name,
        corpus=corpora[0],
        models=tuple(dict.fromkeys(rows["model"])),
        growth_factor=float(largest["n_final"] / largest["n_base"]),
        fit=fit,
        points=points,
        extrapolation=test,
    )
