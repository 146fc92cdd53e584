"""`twostage worth FIT.json --d1 300B --d2 50B`: how many second-stage tokens the base is worth."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from twostage.cli.notes import notes_on
from twostage.cli.predict import add_growth_option, add_plan_options, quantities
from twostage.cli.tables import add_level_option, check_level


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "worth",
        help="say how many second-stage tokens a base is worth",
        description="Say how many second-stage tokens a base is worth: what a model without a base needs for the same loss, minus"
        " D2, with its interval.",
    )
    parser.add_argument(
        "fit", type=Path, metavar="FIT.json", help="law of the second stage, e.g. transfer, blend"
    )
    parser.add_argument(
        "--scratch",
        type=Path,
        metavar="FIT.json",
        help="law of training from scratch (chinchilla, power); default: the same law without a base, where the form has"
        " that limit",
    )
    add_plan_options(parser, required=True)
    add_growth_option(parser)
    add_level_option(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compute and print."""
    from twostage.common.units import format_quantity
    from twostage.laws.base_worth import worth
    from twostage.laws.fit_file import finite, read_fit
    from twostage.laws.jsonio import dumps

    check_level(args.level)
    values = quantities(args)
    fit, points = read_fit(args.fit)
    scratch = read_fit(args.scratch) if args.scratch else None
    found = worth(fit, points, **values, scratch=scratch, growth_factor=args.growth_factor, level=args.level)
    notes = notes_on(fit, points, {name: values[name] for name in fit.law.variables}) + [found.note] * bool(
        found.note
    )
    if args.json:
        print(dumps(finite(asdict(found) | {"form": fit.form, "notes": notes})))
        return 0
    ends = "no interval"
    if found.lower is not None and found.upper is not None:
        low, high = (_tokens(end) for end in (found.lower, found.upper))
        ends = f"{100 * found.level:g} % interval {low} to {high}, {found.method}"
    print(
        f"A base of {format_quantity(found.d1_tokens)} tokens is worth {_tokens(found.worth_tokens)} second-stage tokens ({ends})"
    )
    if found.worth_tokens < float("inf"):
        print(
            f"Loss {found.loss_nats:.5f} nats per token after {format_quantity(found.d2_tokens)} tokens; without a base it takes"
            f" {_tokens(found.scratch_tokens)} ({found.against}). One base token is worth {found.per_base_token:.3g}."
        )
    for note in notes:
        print(f"Note: {note}")
    return 0


def _tokens(value: float) -> str:
    from twostage.common.units import format_quantity

    if value == float("inf"):
        return "any number of"
    return f"-{format_quantity(-value)}" if value < 0 else format_quantity(value)
