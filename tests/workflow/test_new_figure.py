"""A figure and a table are added as the recipe says: a declaration and a function each, and everything else follows."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from working_copy import ROOT, Workflow, copy_workflow

from twostage.common.storage import sha256_file

pytestmark = pytest.mark.workflow

RECIPE = ROOT / "docs/recipe-figure.md"
CONFIG = ("--config", "study=config/mini-reference.yaml")
RESULTS = "results/mini-reference"
LIBRARY = "src/twostage"


def code_blocks() -> list[str]:
    """The Python blocks of the recipe, in order: figure declaration, figure module, table declaration, table module."""
    return [block.partition("```")[0] for block in RECIPE.read_text().split("```python\n")[1:]]


def digests(workflow: Workflow) -> dict[str, str]:
    files = (path for path in workflow.root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(workflow.root)): sha256_file(path) for path in files}


def declare(workflow: Workflow, module: str, entry: str) -> None:
    """Put a declaration at the end of the first list of a module."""
    path = workflow.root / LIBRARY / "catalogue" / module
    head, start, rest = path.read_text().partition(" = by_name(\n")
    before, end, after = rest.partition("\n)\n")
    path.write_text(f"{head}{start}{before}\n{entry.rstrip()}{end}{after}")


def python(workflow: Workflow, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(workflow.root / "src")}
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(
        command, cwd=workflow.root, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> tuple[Workflow, list[set[str]]]:
    """A copy with one more figure and one more table, and the files that each touched."""
    workflow = copy_workflow(tmp_path_factory.mktemp("new") / "repository")
    shutil.copytree(ROOT / "results/reference/mini/tables", workflow.root / "results/reference/mini/tables")
    figure_entry, figure_module, table_entry, table_module = code_blocks()
    states = [digests(workflow)]
    for entries, entry, path, code in (
        ("figure_entries.py", figure_entry, "figures/loss_by_size.py", figure_module),
        ("table_entries.py", table_entry, "tables/cell_counts.py", table_module),
    ):
        declare(workflow, entries, entry)
        (workflow.root / LIBRARY / path).write_text(code)
        python(workflow, "twostage.catalogue.schema", "config/study.schema.json")
        states.append(digests(workflow))
    touched = [
        {name for name in after if after[name] != before.get(name)}
        for before, after in itertools.pairwise(states)
    ]
    return workflow, touched


def test_a_figure_and_a_table_touch_three_files_each(extended):
    schema = "config/study.schema.json"  # generated
    assert extended[1] == [
        {f"{LIBRARY}/catalogue/figure_entries.py", f"{LIBRARY}/figures/loss_by_size.py", schema},
        {f"{LIBRARY}/catalogue/table_entries.py", f"{LIBRARY}/tables/cell_counts.py", schema},
    ]


def test_schema_and_command_know_them(extended):
    workflow, _ = extended
    schema = json.loads((workflow.root / "config/study.schema.json").read_text())
    names = [schema["properties"][key]["anyOf"][0]["items"]["enum"] for key in ("figures", "tables")]
    assert "loss-by-size" in names[0]
    assert "cell-counts" in names[1]
    listed = json.loads(python(workflow, "twostage.cli", "figures", "config/mini-reference.yaml", "--json"))
    states = {row["name"]: row["state"] for row in listed["entries"]}
    assert states["loss-by-size"] == states["cell-counts"] == "to draw"
    one_size = json.loads(python(workflow, "twostage.cli", "figures", "config/tiny.yaml", "--json"))
    (row,) = [row for row in one_size["entries"] if row["name"] == "loss-by-size"]
    assert row["state"] == "not drawn"
    assert row["reason"].startswith("models: ")


def test_the_workflow_draws_them(extended):
    workflow, _ = extended
    counts = workflow.planned(*CONFIG, "--", "all_figures", "all_tables")
    assert counts["plot_loss_by_size"] == counts["make_cell_counts"] == 1
    figure, table = f"{RESULTS}/figures/loss-by-size", f"{RESULTS}/tables/cell-counts"
    targets = (f"{figure}.png", f"{table}.csv")
    workflow.snakemake("--cores", "1", *CONFIG, "--", *targets)
    cells = pd.read_csv(workflow.root / RESULTS / "tables/cells.csv")
    assert len(pd.read_csv(workflow.root / f"{figure}.csv")) == len(cells)
    assert (workflow.root / f"{figure}.pdf").read_bytes().startswith(b"%PDF")
    counted = pd.read_csv(workflow.root / f"{table}.csv").set_index("method")["n_cells"]
    assert counted.to_dict() == cells["method"].value_counts().to_dict()
    assert "<td>" in (workflow.root / f"{table}.html").read_text()
    assert workflow.planned(*CONFIG, "--", *targets) == {}
    # The report has its caption, and a study may choose it by name.
    workflow.snakemake(*CONFIG, "--report", "report.html", "--", *targets)
    assert "One point for each cell" in (workflow.root / "report.html").read_text()
    (workflow.root / "config/chosen.yaml").write_text(
        "extends: mini-reference.yaml\nfigures: [loss-by-size]\ntables: []\n"
    )
    drawn = workflow.planned("--config", "study=config/chosen.yaml", "--", "all_figures")
    assert drawn["plot_loss_by_size"] == 1
    assert "plot_figure_1" not in drawn


def test_editing_them_makes_them_again_alone(extended):
    """After the test before, which has drawn both."""
    workflow, _ = extended
    targets = (f"{RESULTS}/figures/loss-by-size.png", f"{RESULTS}/tables/cell-counts.csv")
    workflow.snakemake("--cores", "1", *CONFIG, "--", *targets)
    module = workflow.root / LIBRARY / "figures/loss_by_size.py"
    module.write_text(module.read_text() + "# edited\n")
    assert workflow.planned(*CONFIG, "--", *targets) == {"plot_loss_by_size": 1}
