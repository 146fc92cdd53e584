"""The paper's claims on a study's tables: decided only if all intervals agree, whether the claim holds or fails."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pandas as pd
import pytest

from twostage.analysis.cells import read_cells
from twostage.analysis.claims import FAILS, HOLDS, OPEN, claims
from twostage.analysis.measured_crossover import CROSSES, REUSE
from twostage.study import load_study
from twostage.tables.summary import claims_table, summary

ROOT = Path(__file__).resolve().parents[2]
ARCHIVE = ROOT / "results/reference/mini/tables"
WHO = {"method": "stack", "model": "33k"}


@pytest.fixture(scope="module")
def archived():
    """The archived losses of this repository: cells and the tables made from them."""
    names = ("table-1", "table-2", "table-7", "table-8", "alpha3", "crossover")
    files = [path for name in names if (path := ARCHIVE / f"{name}.csv").is_file()]
    return {"cells": read_cells(ARCHIVE / "cells.csv")} | {file.stem: pd.read_csv(file) for file in files}


def no_cells():
    return read_cells(ARCHIVE / "cells.csv").iloc[:0]


def verdicts(start, **tables):
    frames = {name.replace("_", "-"): pd.DataFrame(rows) for name, rows in tables.items()}
    found = claims({"cells": no_cells(), **frames})
    return [finding.verdict for claim in found if claim.text.startswith(start) for finding in claim.findings]


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        ({"rms_mul": 1.0, "rms_mul0": 2.0, "rms_add": 3.0}, [HOLDS]),
        ({"rms_mul": 2.5, "rms_mul0": 2.0, "rms_add": 3.0}, [FAILS]),
        ({"rms_mul": None, "rms_mul0": 2.0, "rms_add": 3.0}, []),  # nothing to compare
    ],
)
def test_the_best_form_is_compared_with_all_others(errors, verdict):
    rows = [WHO | {"best_form": "x"} | errors]
    assert verdicts("The multiplicative law", table_1=rows) == verdict
    assert verdicts("The multiplicative law", table_2=rows) == verdict


@pytest.mark.parametrize(
    ("alpha3", "profile", "seed_mean", "verdict"),
    [
        (0.02, (0.01, 0.03), (0.005, 0.04), HOLDS),
        (0.02, (0.01, 0.03), (-0.005, 0.04), OPEN),  # one interval that contains zero is enough
        (0.02, (0.01, None), (None, None), HOLDS),  # the missing end does not matter for the sign
        (0.02, (None, 0.03), (None, None), OPEN),
        (0.02, (None, None), (None, None), OPEN),
        (-0.02, (-0.03, -0.01), (None, None), FAILS),
        (-0.02, (-0.03, 0.01), (None, None), OPEN),
    ],
)
def test_a_sign_needs_all_intervals(alpha3, profile, seed_mean, verdict):
    row = WHO | {"alpha3": alpha3}
    for name, ends in (("profile", profile), ("seed_mean", seed_mean)):
        row |= {f"{name}_lower": ends[0], f"{name}_upper": ends[1]}
    assert verdicts("α₃ > 0: saturation", alpha3=[row]) == [verdict]


def test_scratch_wins_only_where_it_was_measured():
    rows = [WHO | {"kind": "summary", "d1_tokens": d1, "outcome": CROSSES} for d1 in (1000, 2000)]
    assert verdicts("From scratch wins", crossover=rows) == [HOLDS]
    rows[1]["outcome"] = REUSE
    assert verdicts("From scratch wins", crossover=rows) == [OPEN]


def test_every_number_of_the_page_is_the_tables(archived):
    page = summary(archived, load_study(ROOT / "config/mini-reference.yaml"))
    for _, row in archived["table-1"].iterrows():
        line = next(
            line
            for line in page.splitlines()
            if line.startswith(f"| {row['method']}, {row['model']} | {row['n_cells']} |")
        )
        numbers = [f"{row[f'rms_{form}']:.1f}" for form in ("mul", "mul0", "add", "hyb")]
        assert [cell.strip("* ") for cell in line.split("|")[4:8]] == numbers
        best = row[f"rms_{row['best_form']}"]
        assert f"**{best:.1f}**" in line
        noise = "–" if pd.isna(row["noise_floor"]) else f"{row['noise_floor']:.1f}"  # one seed has none
        assert line.split("|")[8].strip() == noise
    for _, row in archived["table-7"].iterrows():
        assert f"{row['alpha3']:.3f} [{row['alpha3_lower']:.3f}, {row['alpha3_upper']:.3f}]" in page
    # Every image is a figure that the study draws, and missing numbers are shown as gaps.
    assert {"figure-1", "gradient-norm", "crossover"} <= set(
        re.findall(r"!\[(.*?)\]\(figures/\1\.png\)", page)
    )
    assert not re.search(r"\bnan\b|None|\binf\b", page)


def test_gradient_norms_of_the_archive_grow(archived):
    found = {claim.source: claim for claim in claims(archived)}
    norms = found["v2, after a summary of it"].findings
    assert {"cpt-code, 33k", "stack, 33k", "cpt-math, 33k", "expand, 33k"} <= {one.what for one in norms}
    assert all(re.match(r"×1\.\d{3} ?(\[|for)", one.detail) for one in norms if one.verdict == HOLDS)


def test_a_study_with_cells_alone_has_a_page(archived):
    study = load_study(ROOT / "config/mini-reference.yaml")
    page = summary({"cells": archived["cells"]}, study)
    assert "Gradient norms" in page
    assert "Table 7)" not in page
    assert claims_table({"cells": archived["cells"]}, study).numbers["source"].unique().tolist() == [
        "v2, after a summary of it"
    ]


def test_imported_cells_may_lack_norms_and_epochs(archived):
    cells = archived["cells"].drop(columns=["grad_norm_mean", "epochs_1", "epochs_2"])
    page = summary(archived | {"cells": cells}, load_study(ROOT / "config/mini-reference.yaml"))
    assert "Epochs" not in page
    assert "Gradient norms" not in page
    assert "α₃ > 0: saturation" in page


def test_a_study_may_fit_fewer_forms(archived):
    table = archived["table-1"].drop(columns=["rms_add", "paper_rms_add"])
    page = summary(archived | {"table-1": table}, load_study(ROOT / "config/mini-reference.yaml"))
    assert "| **14.2** | 29.6 | – | 29.8 | 11.3 | 1.6 / 2.1 / – / 2.2 |" in page


def test_what_is_not_determined_is_listed(archived):
    table = archived["table-7"].copy()
    row = table.index[(table["method"] == "cpt-code") & (table["model"] == "33k")][0]
    table.loc[row, ["note", "alpha1_upper", "alpha2_lower"]] = ["E sits at its bound", None, -0.1]
    page = summary(archived | {"table-7": table}, load_study(ROOT / "config/mini-reference.yaml"))
    assert "cpt-code, 33k: E is at its bound 0; α₁ is bounded on one side only; α₂ may be 0" in page


def test_the_script_writes_page_and_claims(tmp_path, monkeypatch):
    out = {name: tmp_path / f"out.{name}" for name in ("page", "csv", "html")}
    arguments = [f"--{name}={path}" for name, path in out.items()]
    tables = ["--tables", str(ARCHIVE / "table-1.csv"), str(ARCHIVE / "table-7.csv")]
    study = f"--study={ROOT / 'config/mini-reference.yaml'}"
    monkeypatch.setattr(sys, "argv", ["x", study, f"--cells={ARCHIVE / 'cells.csv'}", *tables, *arguments])
    runpy.run_path(str(ROOT / "workflow/scripts/write_summary.py"), run_name="__main__")
    assert out["page"].read_text().startswith("# What study `mini-reference` measured")
    assert "does not hold" in out["html"].read_text()
    numbers = pd.read_csv(out["csv"])
    assert set(numbers["verdict"]) <= {HOLDS, OPEN, FAILS}
    assert (numbers["what"] == "stack, 33k").sum() >= 3
