"""`twostage predict FIT.json --d1 300B --d2 50B`: the loss a fitted law expects, with interval."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twostage.common.units import format_quantity, parse_quantity

if TYPE_CHECKING:
    from twostage.laws.fit import Fit
    from twostage.laws.points import Points


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "predict",
        help="predict a loss from a fit",
        description="Predicted loss in nats per token, with interval.",
    )
    parser.add_argument("fit", type=Path, metavar="FIT.json", help="a fit written by `twostage fit`")
    add_plan_options(parser)
    parser.add_argument(
        "--level", type=float, default=0.95, help="coverage of the interval (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=run)


def add_plan_options(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Options for D1, D2 and N, in human units."""
    parser.add_argument(
        "--d1", metavar="TOKENS", required=required, help="first-stage tokens of the base, e.g. 300B"
    )
    parser.add_argument("--d2", metavar="TOKENS", required=required, help="second-stage tokens, e.g. 1.1e9")
    parser.add_argument("--n", metavar="PARAMETERS", help="non-embedding parameters (before growth), e.g. 7B")


def quantities(args: argparse.Namespace) -> dict[str, float]:
    """The given ones of d1, d2 and n, as numbers."""
    given = {name: getattr(args, name) for name in ("d1", "d2", "n")}
    return {name: parse_quantity(text, name=f"--{name}") for name, text in given.items() if text is not None}


def outside(points: Points | None, values: dict[str, float]) -> list[str]:
    """Sentences on inputs outside the range of the fitted points."""
    notes = []
    for name, value in values.items():
        measured = None if points is None else points.variable(name)
        if measured is not None and not measured.min() <= value <= measured.max():
            low, high = format_quantity(measured.min()), format_quantity(measured.max())
            notes.append(
                f"{name} = {format_quantity(value)} lies outside the fitted range ({low} to {high}): an extrapolation"
            )
    return notes


def run(args: argparse.Namespace) -> int:
    """Predict and print."""
    from twostage.laws.fit_file import read_fit

    if not 0 < args.level < 1:
        raise ValueError(f"--level: {args.level} must lie between 0 and 1, e.g. 0.95")
    fit, points = read_fit(args.fit)
    given = quantities(args)
    for name in fit.law.variables:
        if name not in given:
            raise ValueError(f"form {fit.form!r} needs --{name}: {fit.law.equation}")
    values = {name: given[name] for name in fit.law.variables}
    loss = float(fit.predict(**values))
    lower, upper, method = _interval(fit, points, values, args.level)
    notes = outside(points, values) + [
        f"not used by form {fit.form!r}: --{name}" for name in given if name not in values
    ]
    if args.json:
        from twostage.laws.fit_file import finite
        from twostage.laws.jsonio import dumps

        record = {
            "form": fit.form,
            **values,
            "loss_nats": loss,
            "lower": lower,
            "upper": upper,
            "level": args.level,
        }
        print(dumps(finite(record | {"method": method, "notes": notes})))
        return 0
    where = ", ".join(f"{name.upper()} = {format_quantity(value)}" for name, value in values.items())
    print(
        f"{where}: {loss:.5f} nats per token ({100 * args.level:g} % interval {lower:.5f} to {upper:.5f}, {method})"
    )
    for note in notes:
        print(f"Note: {note}")
    return 0


def _interval(
    fit: Fit, points: Points | None, values: dict[str, float], level: float
) -> tuple[float, float, str]:
    """Interval of the law's value: profile likelihood where the file holds the points, else from the covariance."""
    import numpy as np

    if points is not None:
        from twostage.laws.uncertainty import interval_of

        interval = interval_of(points, fit, lambda c: float(np.log(fit.law.predict(c, **values))), level)
        ends = [
            float("nan") if end is None else float(np.exp(end)) for end in (interval.lower, interval.upper)
        ]
        return ends[0], ends[1], interval.method
    from twostage.laws.consequences import delta_interval

    return *delta_interval(fit, level=level, **values), "covariance"
