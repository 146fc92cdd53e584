"""The recipe of docs/recipe-law.md, done for real: laws are added to a copy of the project and used by the commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from grids import TOKENS

ROOT = Path(__file__).parents[2]
DECLARATIONS = Path("src/twostage/laws/declarations.py")
DOCS = Path("docs/laws.md")

ADDITIVE = textwrap.indent(
    textwrap.dedent(
        (ROOT / "docs/recipe-law.md").read_text().split("```python\n")[1].partition("```")[0]
    ).rstrip()
    + "\n",
    "    ",
)
CURVED = """    Declaration(
        name="effective",
        title="Effective data",
        equation="L = A (D2 + k D1^b)^-alpha + E, lnk = ln k",
        coefficients={"A": SCALE, "alpha": EXPONENT, "lnk": EXPONENT, "b": EXPONENT, "E": SCALE},
        variables=("d1", "d2"),
        calculus="twostage.laws.effective:EffectiveForm",
    ),
"""


def losses(name: str) -> pd.DataFrame:
    d1, d2 = (grid.ravel() for grid in np.meshgrid(TOKENS, TOKENS))
    if name == "hyb1":
        loss = (2.0 + 60.0 * d2**-0.2) * d1**-0.05 + 1.0
    else:
        loss = 40.0 * (d2 + 20.0 * d1**0.8) ** -0.2 + 1.5
    noise = np.random.default_rng(0).standard_normal(25)
    return pd.DataFrame({"d1_tokens": d1, "d2_tokens": d2, "loss_nats": loss * np.exp(1e-4 * noise)})


@pytest.mark.parametrize(("name", "declared", "files"), [("hyb1", ADDITIVE, 2), ("effective", CURVED, 3)])
def test_a_law_is_added_in_at_most_three_files(name: str, declared: str, files: int, tmp_path: Path):
    copy = tmp_path / "checkout"
    shutil.copytree(
        ROOT / "src/twostage", copy / "src/twostage", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(ROOT / "docs", copy / "docs")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}

    source = (copy / DECLARATIONS).read_text()
    (copy / DECLARATIONS).write_text(source.replace("\n)\nDECLARED", f"\n{declared})\nDECLARED"))
    if name == "effective":
        shutil.copy(ROOT / "tests/laws/effective_form.py", copy / "src/twostage/laws/effective.py")
    environment = os.environ | {"PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    python("docs/write_laws_table.py", str(DOCS))
    table = copy / "losses.csv"
    losses(name).to_csv(table, index=False)
    record = json.loads(python("-m", "twostage.cli", "fit", str(table), "--form", name, "--json"))
    assert record["certificate"]["certified"]
    assert all(record["intervals"][key]["method"] for key in record["coefficients"])
    fast = {"hyb1": ("alpha1", 0.05), "effective": ("alpha", 0.2)}[name]
    interval = record["intervals"][fast[0]]
    assert interval["lower"] < fast[1] < interval["upper"]
    ranked = json.loads(
        python("-m", "twostage.cli", "compare", str(table), "--forms", name, "add", "mul0", "--json")
    )
    assert ranked["forms"][0]["form"] == name
    assert name in python("-m", "twostage.cli", "fit", "--help")
    assert name in (copy / DOCS).read_text()
    code = "from twostage.laws.declarations import GRID_FORMS; print(GRID_FORMS)"
    assert name in python("-c", code), "a study's laws.forms and the schema take the names from there"

    table.unlink()
    after = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    touched = [str(path.relative_to(copy)) for path in after if before.get(path) != after[path]]
    assert len(touched) == files, touched
    if name == "hyb1":
        run_the_tests_of_the_law(copy, python)


def run_the_tests_of_the_law(copy: Path, python: Callable[..., str]) -> None:
    """Step 3 of the recipe: the equation and the coefficients of the page, then the tests of the law."""
    page = (ROOT / "docs/recipe-law.md").read_text()
    equation, truth = re.findall(r'^ +("hyb1": .*\n)', page, re.MULTILINE)
    for part in ("tests/laws/grids.py", "tests/laws/test_forms.py"):
        (copy / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / part, copy / part)
    grids = copy / "tests/laws/grids.py"
    source = grids.read_text().replace("EQUATIONS = {\n", "EQUATIONS = {\n    " + equation)
    grids.write_text(source.replace("TRUTHS = {\n", "TRUTHS = {\n    " + truth))
    said = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/laws/test_forms.py", "-k", "hyb1")
    assert re.search(r"\d passed", said), said


def test_the_table_in_the_documentation_is_that_of_the_declarations(tmp_path: Path):
    page = tmp_path / "laws.md"
    shutil.copy(ROOT / DOCS, page)
    subprocess.run([sys.executable, str(ROOT / "docs/write_laws_table.py"), str(page)], check=True)
    assert page.read_text() == (ROOT / DOCS).read_text(), "run `python docs/write_laws_table.py docs/laws.md`"
