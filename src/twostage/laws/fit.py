"""Fit one law to points: coefficients with covariance and a certificate of the optimum, and its JSON file.

`fit_law` is the exact solver. Intervals are in
`uncertainty`, the choice between forms in `selection`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from twostage.laws.certificate import Certificate, certify
from twostage.laws.checks import check_points
from twostage.laws.covariance import covariance_of
from twostage.laws.declarations import Declaration
from twostage.laws.form import Form
from twostage.laws.forms import form_of
from twostage.laws.jsonio import dumps, loads
from twostage.laws.nested import solve_problems
from twostage.laws.objective import Objective
from twostage.laws.points import FloatArray, Points
from twostage.laws.problem import Problem
from twostage.laws.solver import Solution, helper_weights

#: Of fit files; raised when their keys change. Files of other versions are refused.
SCHEMA_VERSION = 2
UNITS = {"d1": "tokens", "d2": "tokens", "n": "non-embedding parameters", "loss": "nats per token"}


OVERFLOW = (
    "not finite in raw units, because the exponents are implausibly large; the points do not determine the law: check the"
    " columns, or measure more cells"
)


def at_bound(name: str) -> str:
    """Return the warning that the best value of a coefficient is one of its bounds."""
    return f"{name} sits at its bound"


@dataclass(frozen=True)
class Interval:
    """A confidence interval. An end that was not found is None. `note` explains this, or an end at a bound of the coefficient."""

    lower: float | None
    upper: float | None
    level: float
    method: str
    note: str = ""


@dataclass(frozen=True)
class Fit:
    """A fitted law. `coefficients` are in raw units (natural log, tokens). `theta` (k,) is the same law in the solver's
    coordinates, scales and then exponents, in which `centre` (means of ln D1, ln D2, ln N, or ln of the sum) is
    subtracted from the logarithms. `objective` is the sum over points. `covariance` is (k, k) in the order of `coefficients`."""

    form: str
    coefficients: dict[str, float]
    theta: FloatArray
    centre: dict[str, float]
    objective: float
    objective_name: str
    delta: float | None
    n_points: int
    certificate: Certificate
    covariance: FloatArray
    standard_errors: dict[str, float]
    standard_errors_source: str
    warnings: tuple[str, ...] = ()
    intervals: dict[str, Interval] = field(default_factory=dict)

    @property
    def law(self) -> Form:
        """The functional form."""
        return form_of(self.form)

    @property
    def objective_spec(self) -> Objective:
        """The objective as an argument of the solver."""
        return Objective(self.objective_name, self.delta if self.delta is not None else 1e-3)

    def predict(
        self, d1: ArrayLike | None = None, d2: ArrayLike | None = None, n: ArrayLike | None = None
    ) -> FloatArray:
        """Loss in nats per token, evaluated in centred coordinates; shape of the broadcast inputs."""
        logs = self.law.logs(d1, d2, n)
        shape = next(iter(logs.values())).shape
        log_loss = self.law.response(logs, self.centre).log_predict(self.theta[None, :])
        return np.asarray(np.exp(log_loss[0])).reshape(shape)

    def residuals(self, points: Points) -> FloatArray:
        """ln(predicted) - ln(measured), shape (m,)."""
        return np.log(self.predict(**points.variables_for(self.law.variables))) - points.log_loss

    def estimate(self, name: str) -> tuple[float, float | None, float | None]:
        """Return a coefficient and the ends of its interval; the ends are None if it has no interval."""
        interval = self.intervals.get(name)
        ends = (None, None) if interval is None else (interval.lower, interval.upper)
        return self.coefficients[name], *ends

    def with_intervals(self, intervals: Mapping[str, Interval]) -> Fit:
        """The same fit with intervals added."""
        return replace(self, intervals={**self.intervals, **intervals})

    def with_standard_errors(self, standard_errors: Mapping[str, float], source: str) -> Fit:
        """The same fit with standard errors of another source (e.g. a bootstrap)."""
        return replace(self, standard_errors=dict(standard_errors), standard_errors_source=source)

    def to_json(self) -> str:
        """The fit file: 17 digits, units, log base, objective, certificate, covariance, intervals."""
        law = self.law
        return dumps(
            {
                "schema_version": SCHEMA_VERSION,
                "form": self.form,
                "equation": law.equation,
                "coefficients": self.coefficients,
                "standard_errors": self.standard_errors,
                "standard_errors_source": self.standard_errors_source,
                "intervals": {name: asdict(interval) for name, interval in self.intervals.items()},
                "covariance": {"order": list(law.coefficients), "matrix": self.covariance.tolist()},
                "centre": self.centre,
                "centred": None
                if self._follows_from_raw()
                else dict(zip(law.internal, self.theta.tolist(), strict=True)),
                "objective": self.objective,
                "objective_name": self.objective_name,
                "delta": self.delta,
                "n_points": self.n_points,
                "units": units_of(law),
                "log_base": "e",
                "certificate": asdict(self.certificate),
                "warnings": list(self.warnings),
            }
        )

    def _follows_from_raw(self) -> bool:
        """Tell whether the raw coefficients hold the law; they do not if a scale under- or overflows."""
        with np.errstate(all="ignore"):
            theta = self.law.from_raw(self.coefficients, self.centre)
        return bool(np.allclose(theta, self.theta, rtol=1e-6, atol=1e-9))

    @classmethod
    def from_json(cls, text: str) -> Fit:
        """Read a fit file; ValueError names what is missing or wrong. `fit_file.read_fit` also checks the points."""
        from twostage.laws.fit_schema import parse_fit  # pydantic is slow to import

        return parse_fit(loads(text)).fit()


def units_of(law: Declaration) -> dict[str, Any]:
    """Units of the variables of a law and of the loss, and its constants; as in fit files."""
    units: dict[str, Any] = {name: UNITS[name] for name in (*law.variables, "loss")}
    return units | dict(law.constants)


def fit_law(
    points: Points,
    form: str,
    *,
    objective: str = "huber",
    delta: float = 1e-3,
    allow_degenerate: bool = False,
) -> Fit:
    """Fit a form at the global minimum of the objective.

    Args:
        points: the measured losses.
        form: name of a law in `FORMS`.
        objective: `huber` (sum of Huber(delta) of log residuals) or `lad` (sum of |log residual|).
        delta: threshold of the Huber loss.
        allow_degenerate: fit points that cannot identify the form, and warn which coefficients are not identified. There must
            be at least as many points as coefficients.

    Raises:
        ValueError: the points cannot identify the form: fewer cells than coefficients, one D1, or for `joint` fewer than
            three sizes over 4x in N.
    """
    law, spec = form_of(form), Objective(objective, delta)
    warnings = check_points(points, law, allow_degenerate=allow_degenerate)
    problem = Problem.of(points, law)
    solution = solve_problem(problem, spec)
    certificate = certify(problem, solution, spec)
    return assemble(problem, solution.theta, solution.value, spec, certificate, warnings)


def solve_problem(problem: Problem, spec: Objective) -> Solution:
    """Return the global minimum of one problem. It is never worse than that of a nested form."""
    return solve_problems([problem], helper_weights(problem.weights), spec, verify=True)[0].member(0)


def assemble(
    problem: Problem,
    theta: FloatArray,
    value: float,
    spec: Objective,
    certificate: Certificate,
    warnings: list[str],
) -> Fit:
    """Return the `Fit` of internal parameters, with raw coefficients, covariance and warnings about bounds and identification.

    The internal vector follows from the raw coefficients, as it does when a file is read, unless these under- or overflow.
    What has an infinite coefficient is not certified.
    """
    law = problem.law
    with np.errstate(all="ignore"):
        raw = {name: float(np.real(v)) for name, v in law.to_raw(theta, problem.centre).items()}
        covariance, more = covariance_of(problem, theta, spec)
        errors = np.sqrt(np.diag(covariance))
    constant = problem.box.lower == problem.box.upper
    more += [
        f"{n} is not identified by these points" for n, c in zip(law.internal, constant, strict=True) if c
    ]
    same = problem.internal(raw)
    if np.allclose(same, theta, rtol=1e-6, atol=1e-9):
        theta = same
    if not all(np.isfinite(v) for v in raw.values()):
        certificate = replace(certificate, certified=False)
        more.append(f"{', '.join(n for n, v in raw.items() if not np.isfinite(v))}: {OVERFLOW}")
    warnings = warnings + more + [at_bound(name) for name in certificate.bounds_hit]
    if not certificate.certified:
        warnings.append("the optimum is not certified: its optimality conditions do not hold to tolerance")
    return Fit(
        form=law.name,
        coefficients=raw,
        theta=theta,
        centre=dict(problem.centre),
        objective=float(value),
        objective_name=spec.name,
        delta=spec.delta if spec.name == "huber" else None,
        n_points=problem.response.size,
        certificate=certificate,
        covariance=covariance,
        standard_errors=dict(zip(law.coefficients, map(float, errors), strict=True)),
        standard_errors_source="covariance",
        warnings=tuple(warnings),
    )
