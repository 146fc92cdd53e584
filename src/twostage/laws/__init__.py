"""Scaling laws of two-stage pretraining: fit them to measured losses, compare them, and predict.

A base model is trained on D1 tokens and then on D2 tokens. `Points` holds the measured losses (nats per token; D1 and D2
in tokens, N in non-embedding parameters), `fit_law` fits one of the laws in `FORMS` to them, and all other functions take
points or fits. Logarithms are natural. The names below are the public interface; they are imported on first use, so
that `import twostage.laws` is fast. Neither torch nor snakemake is needed.

Example:
    >>> import numpy as np
    >>> from twostage.laws import FORMS, Points, compare, fit_law, predict
    >>> d1, d2 = (grid.ravel() for grid in np.meshgrid(1e9 * 2.0 ** np.arange(5), 1e9 * 2.0 ** np.arange(5)))
    >>> noise = 1 + 1e-3 * np.random.default_rng(0).standard_normal(25)
    >>> truth = {"A": 30.0, "alpha1": 0.06, "alpha2": 0.12, "E": 1.0}
    >>> points = Points(loss=FORMS["mul0"].predict(truth, d1=d1, d2=d2) * noise, d1=d1, d2=d2)
    >>> fit = fit_law(points, "mul0")
    >>> fit.certificate.certified
    True
    >>> loss = predict(fit, points, d1=4e9, d2=8e9)
    >>> bool(loss.lower < FORMS["mul0"].predict(truth, d1=4e9, d2=8e9) < loss.upper)
    True
    >>> list(compare(points, ["mul0", "add"]).columns[:2])
    ['form', 'loo_rms_nats']

| names | for |
| --- | --- |
| `Points` | measured losses, checked; `Points.from_frame` reads a pandas table |
| `FORMS`, `Form` | the laws by name: equation, coefficients with units and bounds, columns |
| `fit_law`, `Fit` | the certified global optimum; what it returns |
| `fit_record`, `read_fit` | a fit and its points as JSON text, and back from a file |
| `profile_interval`, `profile_intervals`, `interval_of`, `Interval` | intervals of coefficients and functions of them |
| `bootstrap`, `standard_errors` | refits to resampled points, trunks, seeds or residuals |
| `compare`, `leave_one_out`, `extrapolation_errors`, `extrapolation_test`, `noise_floor` | which law: errors on cells that were left out (Tables 1, 2) |
| `predict`, `Estimate` | a loss with its interval |
| `laws_of`, `Draws`, `advise`, `Advice` | draws of a fitted law; reuse the base or train from scratch |
| `d_star_estimate`, `catch_up_estimate`, `saving_estimate` | Eq. 8, Figures 10 and 11, tokens saved, with intervals |
| `worth`, `Worth` | second-stage tokens that a base is worth |
| `Law`, `law_of`, `optimal_allocation` | a law with fixed coefficients; compute-optimal D2 and N (Eq. 9) |
| `fit_unified` | one law for base, from-scratch and reused models together (Appendix D.3) |

Modules: `points` the data; `declarations` the laws; `form`, `forms`, `tree`, `blend` their calculus; `response` a law on given points
with exact derivatives, `batch` several of them at once; `objective`, `problem`, `checks` what is minimised; `seeds`, `descent`,
`lad`, `solver`, `nested`, `refits` minimise it; `certificate` checks the optimum; `fit`, `fit_file`, `fit_schema`,
`fit_check`, `jsonio` the result and its file; `covariance`, `likelihood`, `quantities`, `profile`, `functional`, `uncertainty` intervals;
`selection` the choice between laws; `crossover`, `allocation`, `consequences`, `base_worth`, `advice`, `curves`, `unified` what
follows from a fit.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twostage.laws.advice import Advice, advise
    from twostage.laws.allocation import optimal_allocation
    from twostage.laws.base_worth import Worth, worth
    from twostage.laws.consequences import (
        Draws,
        Estimate,
        catch_up_estimate,
        d_star_estimate,
        laws_of,
        predict,
        saving_estimate,
    )
    from twostage.laws.crossover import Law, law_of
    from twostage.laws.fit import Fit, Interval, fit_law
    from twostage.laws.fit_file import fit_record, read_fit
    from twostage.laws.form import Form
    from twostage.laws.forms import FORMS
    from twostage.laws.points import Points
    from twostage.laws.selection import (
        compare,
        extrapolation_errors,
        extrapolation_test,
        leave_one_out,
        noise_floor,
    )
    from twostage.laws.uncertainty import (
        bootstrap,
        interval_of,
        profile_interval,
        profile_intervals,
        standard_errors,
    )
    from twostage.laws.unified import fit_unified

_NAMES = {
    "advice": "Advice advise",
    "allocation": "optimal_allocation",
    "consequences": "Draws Estimate catch_up_estimate d_star_estimate laws_of predict saving_estimate",
    "crossover": "Law law_of",
    "fit": "Fit Interval fit_law",
    "fit_file": "fit_record read_fit",
    "form": "Form",
    "forms": "FORMS",
    "points": "Points",
    "selection": "compare extrapolation_errors extrapolation_test leave_one_out noise_floor",
    "unified": "fit_unified",
    "base_worth": "Worth worth",
    "uncertainty": "bootstrap interval_of profile_interval profile_intervals standard_errors",
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "FORMS",
    "Advice",
    "Draws",
    "Estimate",
    "Fit",
    "Form",
    "Interval",
    "Law",
    "Points",
    "Worth",
    "advise",
    "bootstrap",
    "catch_up_estimate",
    "compare",
    "d_star_estimate",
    "extrapolation_errors",
    "extrapolation_test",
    "fit_law",
    "fit_record",
    "fit_unified",
    "interval_of",
    "law_of",
    "laws_of",
    "leave_one_out",
    "noise_floor",
    "optimal_allocation",
    "predict",
    "profile_interval",
    "profile_intervals",
    "read_fit",
    "saving_estimate",
    "standard_errors",
    "worth",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
