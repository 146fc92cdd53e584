"""`twostage compare DATA.csv`: compare laws by their leave-one-out error."""

from __future__ import annotations

import argparse
from typing import Any

from twostage.cli.tables import add_data_options, load_points
from twostage.laws.declarations import DECLARED


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "compare",
        help="compare laws by their leave-one-out error",
        description="Fit every form that the columns allow, and predict every cell from the others (Tables 1 and 2).",
    )
    add_data_options(parser)
    parser.add_argument(
        "--forms", nargs="+", choices=DECLARED, metavar="FORM", help="default: all that the columns allow"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    import pandas as pd

    from twostage.laws.selection import compare, design_notes, noise_floor

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
    notes = design_notes(points)
    if args.json:
        from twostage.laws.fit_file import finite
        from twostage.laws.jsonio import dumps

        print(
            dumps(
                {
                    "forms": finite(table.to_dict("records")),
                    "not_fitted": skipped,
                    "noise_floor_nats": floor,
                    "design_notes": notes,
                }
            )
        )
        return 0
    _show(table, skipped, floor, len(points), notes)
    return 0


#: Headings of the errors on cells beyond those fitted, by column.
BEYOND = {
    "extrapolation_rms_nats": "extrapolation",
    "rolling_origin_rms_nats": "rolling origin",
    "largest_size_rms_nats": "largest size",
}


def _show(table: Any, skipped: dict[str, str], floor: float | None, n_points: int, notes: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
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
        console.print(f"[yellow]Warning:[/yellow] {note}.", highlight=False)
    for form, reason in skipped.items():
        console.print(f"[yellow]Not fitted:[/yellow] {form}: {reason}")


def _thousandths(nats: float) -> str:
    return f"{1e3 * nats:.3f}" if nats == nats else "-"
