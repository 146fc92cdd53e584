"""`twostage predict FIT.json --d1 300B --d2 50B`: the loss that a fitted law predicts, with its interval."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from twostage.cli.notes import notes_on
from twostage.cli.tables import add_level_option, check_level
from twostage.common.units import format_quantity, parse_quantity


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "predict",
        help="predict a loss from a fit",
        description="Predict a loss in nats per token, with its interval.",
    )
    parser.add_argument("fit", type=Path, metavar="FIT.json", help="a fit written by `twostage fit`")
    add_plan_options(parser)
    add_level_option(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=run)


def add_growth_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for the size after growth, which the law from scratch needs."""
    parser.add_argument(
        "--growth-factor",
        type=float,
        default=1.0,
        metavar="G",
        help="parameters after / before growth: 1 for continual pretraining, 2 for stack and expand (default: %(default)s)",
    )


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


def run(args: argparse.Namespace) -> int:
    """Predict and print."""
    from twostage.laws.consequences import predict
    from twostage.laws.fit_file import read_fit

    check_level(args.level)
    fit, points = read_fit(args.fit)
    given = quantities(args)
    for name in fit.law.variables:
        if name not in given:
            raise ValueError(f"form {fit.form!r} needs --{name}: {fit.law.equation}")
    values = {name: given[name] for name in fit.law.variables}
    loss = predict(fit, points, level=args.level, **values)
    notes = notes_on(fit, points, values) + [
        f"not used by form {fit.form!r}: --{name}" for name in given if name not in values
    ]
    if args.json:
        from twostage.laws.fit_file import finite
        from twostage.laws.jsonio import dumps

        record = {
            "form": fit.form,
            **values,
            "loss_nats": loss.value,
            "lower": loss.lower,
            "upper": loss.upper,
            "level": loss.level,
        }
        print(dumps(finite(record | {"method": loss.method, "notes": notes})))
        return 0
    where = ", ".join(f"{name.upper()} = {format_quantity(value)}" for name, value in values.items())
    interval = f"{loss.lower:.5f} to {loss.upper:.5f}, {loss.method}"
    if math.isnan(loss.lower) or math.isnan(loss.upper):
        interval = "open: these points do not determine it"
    print(f"{where}: {loss.value:.5f} nats per token ({100 * loss.level:g} % interval {interval})")
    for note in notes:
        print(f"Note: {note}")
    return 0
