"""The schema of a fit file, and the checks that its parts agree: what a file says is what is used.

Imported only where a file is read, because pydantic is slow to import.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    model_validator,
)

from twostage.laws.certificate import Certificate
from twostage.laws.declarations import DECLARED
from twostage.laws.fit import SCHEMA_VERSION, Fit, Interval, units_of
from twostage.laws.form import Form
from twostage.laws.forms import FORMS
from twostage.laws.objective import MAX_DELTA, MIN_DELTA
from twostage.laws.points import FloatArray, Points

#: An interval may miss its estimate by rounding.
SLACK = 1e-9
#: Problems listed in an error.
SHOWN = 3
#: What could not be computed is null in the file.
MaybeNan = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CovarianceFields(_Strict):
    """The covariance of the coefficients, in the given order."""

    order: list[str]
    matrix: list[list[MaybeNan]]


class PointsFields(_Strict):
    """The fitted points: one list per variable, all of one length."""

    loss: list[Positive] = Field(min_length=1)
    d1: list[Positive] | None = None
    d2: list[Positive] | None = None
    n: list[Positive] | None = None
    seed: list[int] | list[str] | None = None

    @model_validator(mode="after")
    def _one_length(self) -> PointsFields:
        for name, values in self:
            if values is not None and len(values) != len(self.loss):
                raise ValueError(f"{name} has {len(values)} values, but loss has {len(self.loss)}")
        return self

    def points(self) -> Points:
        """The points; labels of cells and trunks follow from the variables."""
        arrays = {name: np.array(values) for name, values in self if values is not None}
        return Points(**arrays)


class FitFields(BaseModel):
    """A fit; files may have further keys (`data`, those of a study)."""

    model_config = ConfigDict(extra="ignore")

    schema_version: Literal[SCHEMA_VERSION]  # type: ignore[valid-type]
    form: str
    equation: str
    coefficients: dict[str, FiniteFloat | None]
    centre: dict[str, FiniteFloat]
    centred: dict[str, FiniteFloat] | None
    standard_errors: dict[str, MaybeNan]
    standard_errors_source: str
    intervals: dict[str, Interval]
    covariance: CovarianceFields
    objective: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    objective_name: Literal["huber", "lad"]
    delta: Annotated[float, Field(ge=MIN_DELTA, le=MAX_DELTA)] | None
    n_points: Annotated[int, Field(ge=1)]
    units: dict[str, Any]
    log_base: Literal["e"]
    certificate: Certificate
    warnings: list[str]
    points: PointsFields | None = None

    @model_validator(mode="after")
    def _agrees(self) -> FitFields:
        law = DECLARED.get(self.form)
        if law is None:
            raise ValueError(f"form: {self.form!r} is not one of {', '.join(DECLARED)}")
        names = list(law.coefficients)
        _same("equation", self.equation, law.equation)
        _same("units", self.units, units_of(law))
        for key in ("coefficients", "standard_errors"):
            _same(f"the names in {key}", sorted(getattr(self, key)), sorted(names))
        for name, coefficient in law.coefficients.items():
            value = self.coefficients[name]
            if value is None and self.centred is None:
                raise ValueError(f"coefficients.{name}: null is not a number")
            if value is not None and not coefficient.lower <= value <= coefficient.upper:
                raise ValueError(
                    f"coefficients.{name}: {value} is not between {coefficient.lower:g} and {coefficient.upper:g}"
                )
        _same("covariance.order", self.covariance.order, names)
        if [len(row) for row in self.covariance.matrix] != [len(names)] * len(names):
            raise ValueError(f"covariance.matrix: must have {len(names)} rows of {len(names)} numbers")
        for name, interval in self.intervals.items():
            if name not in self.coefficients:
                raise ValueError(f"intervals.{name}: there is no such coefficient")
            _check_interval(name, self.coefficients[name], interval)
        if (self.delta is None) != (self.objective_name == "lad"):
            raise ValueError("delta: must be a number for the objective huber, and null for lad")
        if self.points is not None and len(self.points.loss) != self.n_points:
            raise ValueError(f"n_points: {self.n_points}, but points has {len(self.points.loss)}")
        return self

    def fit(self) -> Fit:
        """The fit in memory."""
        law = FORMS[self.form]
        if set(self.centre) != set(law.logs(**dict.fromkeys(law.variables, 1.0))):
            raise ValueError(
                f"centre: has the names {', '.join(self.centre)}, which are not those of {self.form!r}"
            )
        coefficients, theta = self._both(law)
        return Fit(
            form=self.form,
            coefficients=coefficients,
            theta=theta,
            centre=self.centre,
            objective=self.objective,
            objective_name=self.objective_name,
            delta=self.delta,
            n_points=self.n_points,
            certificate=self.certificate,
            covariance=np.array(self.covariance.matrix, float),
            standard_errors={name: self.standard_errors[name] for name in law.coefficients},
            standard_errors_source=self.standard_errors_source,
            warnings=tuple(self.warnings),
            intervals=self.intervals,
        )

    def _both(self, law: Form) -> tuple[dict[str, float], FloatArray]:
        """The raw coefficients and the internal vector, one of which follows from the other."""
        given = {name: self.coefficients[name] for name in law.coefficients}
        if self.centred is None:
            coefficients = {name: float(value) for name, value in given.items() if value is not None}
            with np.errstate(all="ignore"):
                theta = np.asarray(law.from_raw(coefficients, self.centre), float)
            if not np.isfinite(theta).all():
                raise ValueError("coefficients: the loss at the centre of the points is not a finite number")
            return coefficients, theta
        _same("the names in centred", sorted(self.centred), sorted(law.internal))
        theta = np.array([self.centred[name] for name in law.internal])
        with np.errstate(all="ignore"):
            coefficients = {name: float(np.real(v)) for name, v in law.to_raw(theta, self.centre).items()}
        for name, value in given.items():
            if value is not None and not np.isclose(value, coefficients[name], rtol=1e-9, atol=0):
                raise ValueError(
                    f"coefficients.{name}: {value} in the file, but {coefficients[name]} follows from centred"
                )
        return coefficients, theta


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise ValueError(f"{what}: {found!r} in the file, {expected!r} in this version of the law")


def _check_interval(name: str, value: float | None, interval: Interval) -> None:
    if not 0 < interval.level < 1:
        raise ValueError(f"intervals.{name}.level: {interval.level} is not between 0 and 1")
    if value is None:
        return
    slack = SLACK * abs(value)
    low = -math.inf if interval.lower is None else interval.lower - slack
    high = math.inf if interval.upper is None else interval.upper + slack
    if not low <= value <= high:
        raise ValueError(
            f"coefficients.{name}: {value} is outside its interval ({interval.lower} to {interval.upper}); one of the two"
            " was changed"
        )


def parse_fit(record: object) -> FitFields:
    """Check a record that was read from a fit file.

    Raises:
        ValueError: names each key that is missing or wrong, and the fix.
    """
    if not isinstance(record, dict):
        raise ValueError(f"not a JSON object but a {type(record).__name__}")
    if "laws" in record:
        raise ValueError("it holds several laws, not one")
    if "schema_version" not in record and "form" in record and "coefficients" in record:
        raise ValueError("written by version 0.1 of twostage, whose format is no longer read")
    try:
        return FitFields.model_validate(record)
    except ValidationError as error:
        problems = error.errors()
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ValueError("; ".join(_explained(problem) for problem in problems[:SHOWN]) + more) from None


def _explained(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"key {key!r} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if not key:
        return str(message)
    value = repr(problem["input"])
    return (
        f"{key}: {message[0].lower()}{message[1:]} (found {value if len(value) < 60 else value[:57] + '...'})"
    )
