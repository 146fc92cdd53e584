"""Print the tables of `twostage plan`. The numbers come from `twostage.planning`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from twostage.cli.console import make_console
from twostage.common.units import format_quantity
from twostage.planning.billing import Rates
from twostage.planning.disk import Disk, DiskRow
from twostage.planning.plan import PAPER, CorpusUse, StudyPlan, Work


def show(
    plan: StudyPlan, parts: dict[str, StudyPlan], rates: Rates, name: str, cautions: Sequence[str] = ()
) -> None:
    """Print a plan, its warnings and `cautions` (`planning.plan.cautions`), and the totals of all subsets of the study."""
    console = make_console()
    console.print(f"[bold]Plan of {escape(name)}[/bold]: {plan.jobs:,} jobs", highlight=False)
    if not plan.jobs:
        console.print("The study's cells are read from tables (cells_table); nothing is trained.")
        return
    console.print(_rules(plan))
    console.print(_bill(plan, rates))
    for gap in rates.gaps(plan.work):
        console.print(f"[yellow]Not measured:[/yellow] {escape(gap)}", highlight=False)
    console.print(_comparison(plan, rates))
    for note in paper_notes(plan):
        console.print(note, highlight=False)
    console.print(_disk(plan.disk))
    console.print(_disk_note(plan.disk), highlight=False)
    console.print(_corpora(plan.corpora))
    for warning in [*warnings(plan), *cautions]:
        console.print(f"[yellow]Warning:[/yellow] {escape(warning)}", highlight=False)
    console.print(_parts(parts, rates))


def _table(title: str, left: int, headings: Sequence[str]) -> Table:
    """Return a table whose first `left` columns are text and whose other columns are numbers."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for index, heading in enumerate(headings):
        if index < left:
            table.add_column(heading, overflow="fold")
        else:
            table.add_column(heading, justify="right", no_wrap=True)
    return table


def _number(value: float) -> str:
    """Format a number as 12,300 or 0.0471."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _flops(value: float) -> str:
    return f"{value:.3g}"


def _bytes(value: int | None) -> str:
    return "?" if value is None else f"{format_quantity(value)}B".replace("BB", "GB")


def _money(work: Work, rates: Rates) -> tuple[str, str]:
    mark = "*" if rates.gaps(work) else ""
    return _number(rates.gpu_hours(work)) + mark, _number(rates.cost(work)) + mark


def _space(rows: Sequence[DiskRow]) -> tuple[str, str]:
    return _bytes(sum(row.total_bytes for row in rows)), _bytes(sum(row.final_bytes for row in rows))


def _rules(plan: StudyPlan) -> Table:
    table = _table("Jobs (without tables, fits and figures, which take seconds each)", 1, ("rule", "jobs"))
    for rule, count in plan.rules.items():
        table.add_row(rule, f"{count:,}")
    return table


def _bill(plan: StudyPlan, rates: Rates) -> Table:
    title = f"Training, {escape(str(rates))}"
    heads = ("method", "base model", "N", "jobs", "cells", "tokens", "6ND", "exact FLOPs", "GPU-hours", "USD")
    table = _table(title, 2, (*heads, "disk", "when done"))
    for row in plan.rows:
        table.add_row(
            row.method,
            row.model,
            format_quantity(row.n_params),
            f"{row.jobs:,}",
            f"{row.cells:,}",
            format_quantity(row.work.tokens),
            _flops(row.work.flops_6nd),
            _flops(row.work.flops),
            *_money(row.work, rates),
            *_space(
                [disk for disk in plan.disk.rows if (disk.method, disk.model) == (row.method, row.model)]
            ),
        )
    table.add_section()
    work = plan.work
    table.add_row(
        "all",
        "",
        "",
        f"{sum(row.jobs for row in plan.rows):,}",
        f"{sum(row.cells for row in plan.rows):,}",
        format_quantity(work.tokens),
        _flops(work.flops_6nd),
        _flops(work.flops),
        *_money(work, rates),
        *_space(plan.disk.rows),
    )
    table.caption = "exact: all matrix products forward and backward, with causal attention and output layer; N without embeddings"
    return table


def _comparison(plan: StudyPlan, rates: Rates) -> Table:
    table = _table("Comparison", 1, ("", "tokens", "6ND", "exact FLOPs", "GPU-hours", "USD"))
    for name, work in (("this plan", plan.work), ("every cell trained separately", plan.naive)):
        table.add_row(
            name,
            format_quantity(work.tokens),
            _flops(work.flops_6nd),
            _flops(work.flops),
            *_money(work, rates),
        )
    one = PAPER.gpu_hours
    table.add_row(
        "paper, B.4: one first and one second stage of its largest model",
        format_quantity(2 * PAPER.tokens),
        _flops(PAPER.flops),
        "",
        _number(one),
        _number(one * PAPER.all_cost / PAPER.all_gpu_hours),
    )
    table.add_row(
        "paper, B.4: the complete project", "", "", "", _number(PAPER.all_gpu_hours), _number(PAPER.all_cost)
    )
    return table


def paper_notes(plan: StudyPlan) -> list[str]:
    """Explain the paper's number, and why a grid costs more."""
    ratio = plan.work.flops_6nd / PAPER.flops
    notes = [
        f"The paper's 1e21 FLOPs: 6ND with N = {format_quantity(PAPER.n_params, 4)}, D = {format_quantity(PAPER.tokens, 4)} gives "
        f"{PAPER.recomputed(growth=1):.2e} for continual pretraining (second stage at N, which the paper gives) and "
        f"{PAPER.recomputed(growth=2):.2e} for growth (at 2N)."
    ]
    if ratio > 1:
        notes.append(
            f"This plan is {ratio:.1f} times that. In a D1 x D2 grid every D1 of every method needs a separate second-stage trunk "
            f"({plan.second_stages} for the largest model here, instead of one). Growth trains twice the parameters, every D1 and "
            "D2 has a decay (a tenth more), and smaller models and from-scratch runs are added."
        )
    return notes


def _disk(disk: Disk) -> Table:
    heads = ("kind", "policy", "files", "if all are kept", "when done")
    table = _table("Checkpoints on disk", 2, heads)
    for kind, policy in disk.policy.items():
        rows = [row for row in disk.rows if row.kind == kind]
        table.add_row(kind, policy, f"{sum(row.files for row in rows):,}", *_space(rows))
    table.add_section()
    table.add_row("all", "", f"{sum(row.files for row in disk.rows):,}", *_space(disk.rows))
    return table


def _disk_note(disk: Disk) -> str:
    """Describe the peak, the rolling states and the tokens, one sentence each."""
    if disk.final_bytes < disk.total_bytes:
        peak = (
            f"Peak: {_bytes(disk.peak_bytes)} if runs follow one another, up to {_bytes(disk.total_bytes)} if they are parallel. "
            "The last stage-2 trunk of each run is always kept."
        )
    else:
        peak = "Nothing is released (section `checkpoints` of the study)."
    tokens = ", ".join(f"{corpus} {_bytes(size)}" for corpus, size in disk.token_bytes.items())
    return (
        f"{peak} The rolling states of each running job take up to {_bytes(disk.rolling_bytes)} in rolling/. Tokens: {tokens} "
        "(without the texts)."
    )


def _corpora(uses: Sequence[CorpusUse]) -> Table:
    heads = ("corpus", "run that reads most", "reads", "corpus has", "epochs", "source of the size")
    table = Table(title="Corpora", title_justify="left", title_style="bold")
    for heading in heads:
        table.add_column(heading, justify="right" if heading in ("reads", "corpus has", "epochs") else "left")
    for use in uses:
        held = "?" if use.held.tokens is None else format_quantity(use.held.tokens)
        epochs = "?" if use.epochs is None else f"{use.epochs:.2f}"
        table.add_row(use.corpus, use.run, format_quantity(use.tokens), held, epochs, use.held.source)
    return table


def warnings(plan: StudyPlan) -> list[str]:
    """Return a warning for every corpus that a run reads more than once."""
    return [
        f"corpora.{use.corpus}: {use.run} reads it {use.epochs:.2f} times ({format_quantity(use.tokens)} of "
        f"{format_quantity(use.held.tokens or 0)} tokens; {use.held.source}); add text, or shorten the grid"
        for use in plan.corpora
        if use.epochs is not None and use.epochs > 1
    ]


def _parts(parts: dict[str, StudyPlan], rates: Rates) -> Table:
    heads = (
        "subset",
        "jobs",
        "cells",
        "tokens",
        "6ND",
        "exact FLOPs",
        "GPU-hours",
        "USD",
        "disk",
        "when done",
    )
    table = _table("Subsets of the study", 1, heads)
    for name, part in parts.items():
        table.add_row(
            name,
            f"{part.jobs:,}",
            f"{sum(row.cells for row in part.rows):,}",
            format_quantity(part.work.tokens),
            _flops(part.work.flops_6nd),
            _flops(part.work.flops),
            *_money(part.work, rates),
            _bytes(part.disk.total_bytes),
            _bytes(part.disk.final_bytes),
        )
    return table
