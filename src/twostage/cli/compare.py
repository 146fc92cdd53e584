"""`twostage compare DATA.csv`: compare laws by their leave-one-out error."""

from __future__ import annotations

import argparse
import math
from typing import Any

from twostage.cli.tables import add_data_options, load_points
from twostage.laws.declarations import DECLARED

#: Objectives and errors that agree to this share are those of one curve.
SAME = 1e-5


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "compare",
        help="compare laws by their leave-one-out error",
        description="Fit every form that the columns allow, and predict every cell from the others (Tables 1 and 2).",
    )
    add_data_options(parser)
    parser.add_argument(
        "--forms",
        nargs="+",
        action="extend",
        choices=DECLARED,
        metavar="FORM",
        help="default: all that the columns allow",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    import pandas as pd

    from twostage.laws.checks import collinear
    from twostage.laws.selection import compare, noise_floor

    points, _ = load_points(args, None)
    available = set(points.variables())
    forms = args.forms or [name for name, form in DECLARED.items() if set(form.variables) <= available]
    frames, skipped = [], {}
    for form in forms:
        try:
            frames.append(compare(points, (form,), objective=args.objective, delta=args.delta))
        except ValueError as error:
            if args.forms:
                raise
            skipped[form] = str(error)
    if not frames:
        raise ValueError(
            "no form can be fitted: " + "; ".join(f"{form}: {reason}" for form, reason in skipped.items())
        )
    table = pd.concat(frames).sort_values("loo_rms_nats", kind="stable").reset_index(drop=True)
    try:
        floor = noise_floor(points).sd_nats
    except ValueError:
        floor = None  # one seed per cell
    notes = collinear(points.variables()) + [
        f"{', '.join(names)} give the same curve on these points" for names in _same_curve(table)
    ]
    if args.json:
        from twostage.laws.fit_file import finite
        from twostage.laws.jsonio import dumps

        record = {
            "forms": finite(table.to_dict("records")),
            "not_fitted": skipped,
            "noise_floor_nats": floor,
            "same_curve": _same_curve(table),
            "notes": notes,
        }
        print(dumps(record))
        return 0
    _show(table, skipped, floor, len(points), notes)
    return 0


#: Headings of the errors on cells beyond those fitted, by column.
BEYOND = {
    "extrapolation_rms_nats": "extrapolation",
    "rolling_origin_rms_nats": "rolling origin",
    "largest_size_rms_nats": "largest size",
}


def _same_curve(table: Any) -> list[list[str]]:
    """Return groups of forms with equal objective and equal errors: on these points they are one curve."""
    groups: list[list[dict[str, Any]]] = []
    for row in table.to_dict("records"):
        for group in groups:
            if all(math.isclose(row[key], group[0][key], rel_tol=SAME) for key in ("objective", "rms_nats")):
                group.append(row)
                break
        else:
            groups.append([row])
    return [[row["form"] for row in group] for group in groups if len(group) > 1]


def _show(table: Any, skipped: dict[str, str], floor: float | None, n_points: int, notes: list[str]) -> None:
    from rich.table import Table

    from twostage.cli.console import make_console

    console = make_console()
    shown = Table(title=f"Leave-one-out over {n_points} points, best first", title_justify="left")
    beyond = {column: heading for column, heading in BEYOND.items() if table[column].notna().any()}
    for heading in ("form", "cell left out", *beyond.values(), "in sample", "AIC", "BIC", "co-effs"):
        shown.add_column(heading, justify="left" if heading == "form" else "right")
    for row in table.to_dict("records"):
        shown.add_row(
            row["form"],
            *(_thousandths(row[column]) for column in ("loo_rms_nats", *beyond, "rms_nats")),
            f"{row['aic'] - table['aic'].min():.1f}",
            f"{row['bic'] - table['bic'].min():.1f}",
            str(row["n_coefficients"]),
        )
    console.print(shown)
    console.print(
        "RMS errors in 1e-3 nats per token; AIC and BIC minus the best. A cell is left out with all its seeds. Extrapolation: the"
        " longest D1 and the longest D2 are left out. Rolling origin: fitted to the cheapest cells, errors on the dearer ones."
    )
    console.print(f"Best leave-one-out: {DECLARED[table['form'][0]].equation}", highlight=False)
    for column, heading in beyond.items():
        best = table["form"][table[column].idxmin()]
        if best != table["form"][0]:
            console.print(f"Best in {heading}: {DECLARED[best].equation}", highlight=False)
    if floor is not None:
        console.print(
            f"Noise between seeds of a cell: {1e3 * floor:.3f}e-3 nats; no form can predict below it."
        )
    for note in notes:
        console.print(f"[yellow]Note:[/yellow] {note}")
    for form, reason in skipped.items():
        console.print(f"[yellow]Not fitted:[/yellow] {form}: {reason}")


def _thousandths(nats: float) -> str:
    return f"{1e3 * nats:.3f}" if nats == nats else "-"
