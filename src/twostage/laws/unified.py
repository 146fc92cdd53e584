"""One law for both stages at once (Appendix D.3): base models (D2 = 0), models from scratch (D1 = 0) and reused ones.

The authors report that such a law "does not provide a satisfactory fit"; this module fits it and measures the misfit.
All other results come from separate fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from twostage.laws.fit import Fit, fit_law
from twostage.laws.points import FloatArray, Points

GROUPS = ("base", "from scratch", "reused")


@dataclass(frozen=True)
class UnifiedFit:
    """The unified law, its residuals and the errors of separate laws on the same points.

    Attributes:
        fit: a `mul` (or `joint`) fit in D1 + 1 and D2 + 1 tokens (footnote 2).
        residuals: one row per point: d1_tokens, d2_tokens, (n,) group, loss_nats, predicted_nats, error_nats
            (predicted minus measured).
        summary: one row per group: n_points, unified_rms_nats, separate_form, separate_rms_nats. The separate form is
            `mul` or `joint` for reused models and `power` or `chinchilla` for the one-stage groups; NaN where a group
            has too few points for it.
        separate_fits: group -> its own fit.
    """

    fit: Fit
    residuals: pd.DataFrame
    summary: pd.DataFrame
    separate_fits: dict[str, Fit]


def unified_loss(fit: Fit, d1: FloatArray, d2: FloatArray, n: FloatArray | None = None) -> FloatArray:
    """L = A (D1+1)^-alpha1 (D2+1)^(-alpha2 + alpha3 ln(D1+1)) [+ B N^-beta] + E, in nats; D1 or D2 may be 0."""
    return fit.predict(d1=np.asarray(d1) + 1.0, d2=np.asarray(d2) + 1.0, n=n)


def fit_unified(
    loss: FloatArray,
    d1: FloatArray,
    d2: FloatArray,
    n: FloatArray | None = None,
    *,
    objective: str = "huber",
    delta: float = 1e-3,
) -> UnifiedFit:
    """Fit the D + 1 form to base, from-scratch and reused models together.

    Args:
        loss: nats per token on the second-stage corpus, shape (m,).
        d1: first-stage tokens, shape (m,); 0 for a model trained from scratch on the second-stage corpus.
        d2: second-stage tokens, shape (m,); 0 for a base model evaluated before its second stage.
        n: parameters, shape (m,); with it the law has a size term (`joint`).
        objective, delta: as in `fit_law`.

    Raises:
        ValueError: a negative number of tokens, a row with D1 = D2 = 0, no row of both stages, or no one-stage row.
    """
    d1, d2, loss = (np.asarray(x, dtype=np.float64) for x in (d1, d2, loss))
    for name, values in (("d1", d1), ("d2", d2)):
        bad = ~(values >= 0)
        if bad.any():
            raise ValueError(
                f"row {int(np.argmax(bad)) + 1}, column {name!r}: {values[bad][0]} must be 0 or more tokens"
            )
    untrained = (d1 == 0) & (d2 == 0)
    if untrained.any():
        raise ValueError(
            f"row {int(np.argmax(untrained)) + 1}: D1 = D2 = 0 is an untrained model; drop the row"
        )
    group = np.select([d2 == 0, d1 == 0], [GROUPS[0], GROUPS[1]], GROUPS[2])
    if not (group == "reused").any():
        raise ValueError("no row has both D1 > 0 and D2 > 0; a unified law needs models of both stages")
    if (group == "reused").all():
        raise ValueError(
            "no row has D1 = 0 or D2 = 0; a unified law needs base models or models from scratch too"
        )
    form, one_stage = ("mul", "power") if n is None else ("joint", "chinchilla")
    points = Points(loss=loss, d1=d1 + 1.0, d2=d2 + 1.0, n=n)
    fit = fit_law(points, form, objective=objective, delta=delta)
    predicted = unified_loss(fit, d1, d2, points.n)
    columns = {"d1_tokens": d1, "d2_tokens": d2} | ({} if points.n is None else {"n": points.n})
    residuals = pd.DataFrame(
        columns
        | {"group": group, "loss_nats": loss, "predicted_nats": predicted, "error_nats": predicted - loss}
    )
    rows, separate_fits = [], {}
    for name in GROUPS:
        rows_of = group == name
        if not rows_of.any():
            continue
        own_form = form if name == "reused" else one_stage
        part = points.subset(rows_of)
        if name == "base":  # the one-stage forms call their tokens d2
            part = Points(loss=part.loss, d2=part.d1, n=part.n)
        elif name == "from scratch":
            part = Points(loss=part.loss, d2=part.d2, n=part.n)
        separate_rms = float("nan")
        try:
            own = fit_law(part, own_form, objective=objective, delta=delta)
        except ValueError:
            own = None  # too few points for a separate law: NaN in the summary
        if own is not None:
            separate_fits[name] = own
            variables = part.variables_for(own.law.variables)
            separate_rms = _rms(own.predict(**variables) - part.loss)
        rows.append(
            {
                "group": name,
                "n_points": int(rows_of.sum()),
                "unified_rms_nats": _rms((predicted - loss)[rows_of]),
                "separate_form": own_form,
                "separate_rms_nats": separate_rms,
            }
        )
    return UnifiedFit(fit, residuals, pd.DataFrame(rows), separate_fits)


def _rms(errors: FloatArray) -> float:
    return float(np.sqrt(np.mean(errors**2)))
