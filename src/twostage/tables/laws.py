"""Tables 1, 2 and 7 for a study's own methods, with the paper's numbers for comparison.

They are made from existing fits. A missing fit is a gap, and its reason is printed below the table, together with the
study's excluded cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from twostage.analysis.estimate_text import GAP, estimate_text
from twostage.analysis.method_fit import MethodFit
from twostage.analysis.sources import Sources
from twostage.catalogue.shown_methods import PAPER_VARIANTS
from twostage.laws.declarations import DECLARED
from twostage.paper.published import published_table
from twostage.study import ExcludedCell, Study
from twostage.tables.table import Table, excluded_notes, identity, shown_identity

EXPONENTS = ("alpha1", "alpha2", "alpha3")
EXPONENT_TITLES = {"alpha1": "α₁", "alpha2": "α₂", "alpha3": "α₃"}
PAPER = "paper, 0.1B"


def table_1(fits: Sequence[MethodFit], excluded: Sequence[ExcludedCell] = ()) -> Table:
    """Return the leave-one-out RMS errors of the forms for the main methods (Table 1 of the paper); columns as `table_2`."""
    return _loo_table("Table 1: leave-one-out RMS error of four laws, 10⁻³ nats per token", fits, excluded)


def table_2(fits: Sequence[MethodFit], excluded: Sequence[ExcludedCell] = ()) -> Table:
    """Return the leave-one-out RMS errors for variants of the methods, in 1e-3 nats per token (Table 2 of the paper).

    Numbers: method, model, n_base, n_final, n_cells, n_seeds, rms_<form>, best_form, noise_floor (standard deviation
    between seeds of one cell; empty with one seed), unit, paper_variant, paper_rms_<form> (as printed), note.
    """
    title = "Table 2: leave-one-out RMS error of four laws for variants of the methods, 10⁻³ nats per token"
    return _loo_table(title, fits, excluded)


def _loo_table(title: str, fits: Sequence[MethodFit], excluded: Sequence[ExcludedCell]) -> Table:
    paper = pd.concat([published_table(1), published_table(2)])
    forms = list(dict.fromkeys(form for fit in fits for form in fit.laws))
    rows, shown, notes = [], [], _Notes()
    for fit in fits:
        rms = {form: law.loo_rms_nats for form, law in fit.laws.items()}
        known = {form: value for form, value in rms.items() if value is not None}
        best = min(known, key=lambda form: known[form]) if known else ""
        reasons = [law.reason for law in fit.laws.values() if law.reason]
        variant = PAPER_VARIANTS.get(fit.method, "")
        printed: dict[str, object] = dict(paper.loc[variant]) if variant else {}
        theirs = {form: str(printed.get(f"rms_{form}", "")) for form in forms}
        noise = None if fit.noise is None else 1e3 * fit.noise.sd_nats
        rows.append(
            identity(fit)
            | {f"rms_{form}": _thousand(rms.get(form)) for form in forms}
            | {"best_form": best, "noise_floor": noise, "unit": "1e-3 nats", "paper_variant": variant}
            | {f"paper_rms_{form}": theirs[form] or None for form in forms}
            | {"note": "; ".join(reasons)}
        )
        cells = {}
        for form in forms:
            text = GAP if rms.get(form) is None else f"{1e3 * known[form]:.2f}"
            mark = notes.mark(fit.laws[form].reason) if form in fit.laws else ""
            cells[DECLARED[form].title] = text + ("*" if form == best and len(known) > 1 else "") + mark
        shown.append(
            shown_identity(fit)
            | cells
            | {"noise between seeds": GAP if noise is None else f"{noise:.2f}"}
            | {f"{DECLARED[form].title} ({PAPER})": theirs[form] or GAP for form in forms}
        )
    return Table(
        title=title,
        numbers=pd.DataFrame(rows),
        shown=pd.DataFrame(shown),
        notes=(
            "* smallest error of the row. A cell is left out with all its seeds. Errors below the noise between seeds cannot "
            "be distinguished; with one seed that noise is not known.",
            "The paper's numbers are for a model of 0.1B parameters on other data (Tables 1 and 2); only the order of the "
            "forms is comparable.",
            *notes.texts,
            *excluded_notes(excluded),
        ),
    )


def table_7(fits: Sequence[MethodFit], excluded: Sequence[ExcludedCell] = ()) -> Table:
    """Return the exponents of the multiplicative law (Eq. 2) with 95 % profile-likelihood intervals (Table 7 of the paper).

    Numbers: method, model, n_base, n_final, n_cells, n_seeds; alpha1..3 with _lower and _upper (D in tokens, natural log;
    empty if not determined); alpha1_centred and alpha2_centred, the exponents at the centre of the grid
    (d2_centre_tokens, d1_centre_tokens), which do not depend on the unit of D; paper_variant, paper_alpha1..3 (as
    printed), note.
    """
    paper = published_table(7)
    rows, shown, notes = [], [], _Notes()
    for fit in fits:
        law = fit.laws.get("mul")
        fitted = None if law is None else law.fit
        variant = PAPER_VARIANTS.get(fit.method, "")
        theirs = {name: str(paper.loc[variant, name]) if variant else "" for name in EXPONENTS}
        reason = "the study's laws.forms has no mul" if law is None else law.reason if law.fit is None else ""
        numbers: dict[str, object] = {}
        cells = {}
        for name in EXPONENTS:
            value, lower, upper = (None, None, None) if fitted is None else fitted.estimate(name)
            numbers |= {name: value, f"{name}_lower": lower, f"{name}_upper": upper}
            cells[EXPONENT_TITLES[name]] = estimate_text(value, lower, upper, ".4f") + notes.mark(reason)
        for name, other in (("alpha1", "d2"), ("alpha2", "d1")):
            value = None if fitted is None else float(fitted.theta[fitted.law.internal.index(name)])
            numbers[f"{name}_centred"] = value
            numbers[f"{other}_centre_tokens"] = None if fitted is None else math.exp(fitted.centre[other])
            cells[f"{EXPONENT_TITLES[name]} at the centre"] = GAP if value is None else f"{value:.4f}"
        note = "; ".join([reason] * bool(reason) + list(fitted.warnings if fitted else ()))
        rows.append(
            identity(fit)
            | numbers
            | {"paper_variant": variant}
            | {f"paper_{name}": theirs[name] or None for name in EXPONENTS}
            | {"note": note}
        )
        shown.append(
            shown_identity(fit)
            | cells
            | {f"{EXPONENT_TITLES[name]} ({PAPER})": theirs[name] or GAP for name in EXPONENTS}
        )
    return Table(
        title="Table 7: exponents of the multiplicative law with interaction (Eq. 2)",
        numbers=pd.DataFrame(rows),
        shown=pd.DataFrame(shown),
        notes=(
            "Brackets: 95 % profile-likelihood intervals. D in tokens, natural logarithm. With an interaction, α₁ and α₂ depend "
            "on the unit of D (D → D/u shifts both by α₃ ln u); at the centre of the grid (geometric mean of D₁ and D₂) "
            "they do not. α₃ never does.",
            "The paper's numbers are for a model of 0.1B parameters on other data.",
            *notes.texts,
            *excluded_notes(excluded),
        ),
    )


class _Notes:
    """Numbered notes; equal texts share a number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, text: str) -> str:
        """Return ` [1]` for a text, and "" for none."""
        return f" [{self._numbers.setdefault(text, len(self._numbers) + 1)}]" if text else ""

    @property
    def texts(self) -> list[str]:
        return [f"[{number}] {text}" for text, number in self._numbers.items()]


def _thousand(value: float | None) -> float | None:
    return None if value is None else 1e3 * value


def make_table_1(study: Study, sources: Sources) -> Table:
    """`table_1` of a study."""
    return table_1(read_fits(sources), study.excluded_cells)


def make_table_2(study: Study, sources: Sources) -> Table:
    """`table_2` of a study."""
    return table_2(read_fits(sources), study.excluded_cells)


def make_table_7(study: Study, sources: Sources) -> Table:
    """`table_7` of a study."""
    return table_7(read_fits(sources), study.excluded_cells)


def read_fits(sources: Sources) -> list[MethodFit]:
    """The fit files, a row each."""
    return [MethodFit.from_json(text) for text in sources.texts()]
