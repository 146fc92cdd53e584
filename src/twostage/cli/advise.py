"""`twostage advise FIT.json --scratch SCRATCH.json --d1 10T --d2 300B --n 7B`: reuse the base or train from scratch?"""

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
        "advise",
        help="compare reuse of a base model with training from scratch",
        description="Compare reuse of a base model with training from scratch: tokens needed, and how certain the answer is.",
    )
    parser.add_argument(
        "fit", type=Path, metavar="FIT.json", help="law of the second stage (mul, joint, ...)"
    )
    parser.add_argument(
        "--scratch",
        type=Path,
        metavar="FIT.json",
        help="law of training from scratch on the second-stage corpus (chinchilla, power)",
    )
    add_plan_options(parser, required=True)
    add_growth_option(parser)
    parser.add_argument(
        "--draws", type=int, default=500, help="number of draws behind the intervals (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws (default: %(default)s)")
    add_level_option(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Advise and print."""
    from twostage.laws.advice import advise, sentences
    from twostage.laws.consequences import laws_of
    from twostage.laws.fit_file import finite, read_fit

    check_level(args.level)
    if args.draws < 2:
        raise ValueError(f"--draws: {args.draws} must be at least 2")
    values = quantities(args)
    fit, points = read_fit(args.fit)
    reused = laws_of(fit, points, args.draws, seed=args.seed)
    scratch_fit, scratch_points = read_fit(args.scratch) if args.scratch else (None, None)
    scratch = laws_of(scratch_fit, scratch_points, args.draws, seed=args.seed + 1) if scratch_fit else None
    advice = advise(reused, scratch, **values, growth_factor=args.growth_factor, level=args.level)
    notes = notes_on(fit, points, {name: values[name] for name in fit.law.variables})
    if scratch_fit:
        final = values | {"n": values["n"] * args.growth_factor} if "n" in values else values
        inputs = {name: final[name] for name in scratch_fit.law.variables}
        notes += [f"from scratch: {note}" for note in notes_on(scratch_fit, scratch_points, inputs)]
    lines = sentences(advice)
    if args.json:
        from twostage.laws.jsonio import dumps

        print(dumps(finite(asdict(advice) | {"sentences": lines, "notes": notes})))
        return 0
    _show(advice, lines, notes, args.level)
    return 0


def _show(advice: Any, lines: list[str], notes: list[str], level: float) -> None:
    from rich.table import Table

    from twostage.cli.console import make_console
    from twostage.common.units import format_quantity
    from twostage.laws.consequences import Estimate

    console = make_console()
    for line in lines:
        console.print(line, highlight=False)
    table = Table(title_justify="left")
    for heading in ("quantity", "estimate", f"{100 * level:g} % interval", "exists in"):
        table.add_column(heading, justify="left" if heading == "quantity" else "right")
    for name, number in vars(advice).items():
        if not isinstance(number, Estimate):
            continue
        write = format_quantity if name.endswith("_tokens") else "{:.5g}".format
        cells = [
            "none" if value != value else write(value) for value in (number.value, number.lower, number.upper)
        ]
        table.add_row(name, cells[0], f"{cells[1]} .. {cells[2]}", f"{100 * number.exists_share:.0f} %")
    console.print(table)
    for note in notes:
        console.print(f"Note: {note}", highlight=False)
