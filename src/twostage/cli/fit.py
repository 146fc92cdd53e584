"""`twostage fit DATA.csv --form mul`: fit one law to a table of losses, with intervals and a certificate."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twostage.cli.tables import add_data_options, add_level_option, check_level, load_points
from twostage.laws.declarations import DECLARED

if TYPE_CHECKING:
    from twostage.laws.fit import Fit


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "fit",
        help="fit a scaling law to a table of losses",
        description="Fit one scaling law: global optimum with certificate, profile-likelihood intervals.",
        epilog="\n".join(["laws:", *(f"  {name:<11} {form.equation}" for name, form in DECLARED.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_options(parser)
    parser.add_argument("--form", required=True, choices=DECLARED, help="the law; equations below")
    parser.add_argument(
        "--bootstrap",
        type=int,
        metavar="K",
        default=0,
        help="standard errors from K refits to resampled points",
    )
    parser.add_argument(
        "--bootstrap-unit",
        choices=("points", "trunks", "seeds"),
        default="points",
        help="what is resampled; trunks: all rows of one D1 and seed together; seeds: all rows of one seed",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default: %(default)s)")
    add_level_option(parser)
    parser.add_argument(
        "--allow-degenerate",
        action="store_true",
        help="fit even where some coefficients are not identified; warnings name them",
    )
    parser.add_argument("--out", type=Path, metavar="FIT.json", help="write the fit here")
    parser.add_argument("--json", action="store_true", help="print the fit as JSON instead of tables")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fit, print, write."""
    from twostage.laws.fit import OVERFLOW, fit_law
    from twostage.laws.fit_file import fit_record
    from twostage.laws.uncertainty import bootstrap, profile_intervals, standard_errors

    check_level(args.level)
    if args.bootstrap < 0 or args.bootstrap == 1:
        raise ValueError(f"--bootstrap: {args.bootstrap} refits give no standard error; use at least 2")
    points, columns = load_points(args, DECLARED[args.form].variables)
    fit = fit_law(
        points, args.form, objective=args.objective, delta=args.delta, allow_degenerate=args.allow_degenerate
    )
    wrong = [name for name, value in fit.coefficients.items() if not math.isfinite(value)]
    if wrong:
        raise ValueError(f"form {args.form!r}: {', '.join(wrong)}: {OVERFLOW}")
    fit = fit.with_intervals(profile_intervals(points, fit, args.level))
    if args.bootstrap:
        draws = bootstrap(
            points, args.form, args.bootstrap, unit=args.bootstrap_unit, seed=args.seed, fit=fit
        )
        source = f"bootstrap over {args.bootstrap_unit} ({args.bootstrap} refits, seed {args.seed})"
        fit = fit.with_standard_errors(standard_errors(draws, tuple(fit.law.coefficients)), source)
    extra = {
        "data": {
            "file": str(args.data),
            "columns": columns,
            "where": args.where,
            "units": args.units,
            "decimal": args.decimal,
            "repeat": args.repeat,
            "accept_units": args.accept_units,
            "dropped_highest": args.drop_highest,
        }
    }
    record = fit_record(fit, points, extra)
    if args.out:
        from twostage.common.storage import write_atomic

        write_atomic(args.out, record)
    if args.json:
        print(record, end="")
    else:
        _show(fit, points, args)
    return 0


def _show(fit: Fit, points: Any, args: argparse.Namespace) -> None:
    from rich.table import Table

    from twostage.cli.console import make_console
    from twostage.laws.uncertainty import soft_coefficients

    console = make_console()
    table = Table(title=fit.law.equation, title_justify="left")
    for heading in ("coefficient", "estimate", "standard error", f"{100 * args.level:g} % interval"):
        table.add_column(heading, justify="left" if heading == "coefficient" else "right", no_wrap=True)
    for name, value in fit.coefficients.items():
        interval = fit.intervals[name]
        low, high = ("open" if end is None else f"{end:.6g}" for end in (interval.lower, interval.upper))
        table.add_row(name, f"{value:.10g}", f"{fit.standard_errors[name]:.4g}", f"{low} .. {high}")
    console.print(table)
    certificate = fit.certificate
    console.print(
        f"{fit.n_points} points, {fit.objective_name} objective {fit.objective:.10g} (sum). Natural logarithm, tokens, nats per token."
        f" Standard errors: {fit.standard_errors_source}."
    )
    console.print(
        f"Optimum: {'certified' if certificate.certified else 'NOT certified'}; {certificate.starts} starts,"
        f" {certificate.basins} basins, residual of the optimality conditions {certificate.kkt_residual:.1e}."
    )
    if soft := soft_coefficients(fit):
        console.print(
            f"Uncertain (standard error above a tenth of the value): {', '.join(soft)}."
            " Predictions can be precise nevertheless."
        )
    for name, interval in fit.intervals.items():
        if interval.note:
            console.print(f"Interval of {name}: {interval.note}.", highlight=False)
    for warning in fit.warnings:
        console.print(f"[yellow]Warning:[/yellow] {warning}")
    if args.out:
        console.print(f"Written: {args.out}", soft_wrap=True, highlight=False)
