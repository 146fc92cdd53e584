"""Code inputs of the workflow's rules follow from imports: each module belongs to the rules that use it, and no job that
trains depends on code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from twostage.catalogue.lookup import ALL, FIGURES
from twostage.common.imports import code_files

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "src/twostage"
DRAW = ROOT / "workflow/scripts/draw.py"


def modules(*starts: Path | str) -> set[str]:
    """Derived files as names in the package."""
    return {
        str(path.relative_to(LIBRARY))
        for path in code_files(LIBRARY, *starts)
        if path.is_relative_to(LIBRARY)
    }


CODE = {entry.rule_name: modules(DRAW, entry.module) for entry in ALL}
CODE |= {name: modules(ROOT / f"workflow/scripts/{name}.py") for name in ("fit_law", "aggregate_cells")}


@pytest.mark.parametrize(
    ("module", "rules", "others"),
    [
        # How numbers are printed, means over seeds, units: in no list by hand before.
        ("analysis/estimate_text.py", {"make_table_7", "make_table_8", "estimate_alpha3", "write_summary"}, {"plot_figure_1", "fit_law"}),
        ("analysis/over_seeds.py", {"estimate_alpha3", "plot_gradient_norm"}, {"plot_figure_2", "make_table_4"}),
        ("common/units.py", {"make_table_6", "plot_figure_1", "write_summary", "fit_law"}, set()),  # a study reads tables
        ("tables/table.py", {entry.rule_name for entry in ALL if entry.key == "tables"}, {"plot_figure_1", "plot_dag", "fit_law"}),
        ("figures/style.py", {entry.rule_name for entry in ALL if entry.key == "figures"}, {"make_table_1", "fit_law"}),
        ("figures/figure_1.py", {"plot_figure_1"}, {"plot_figure_3", "plot_figure_8", "make_table_1"}),
        ("figures/figures_10_11.py", {"plot_figure_10", "plot_figure_11"}, {"plot_figure_9"}),
        ("laws/forms.py", {"fit_law", "plot_figure_1", "make_table_7"}, {"plot_figure_2", "list_not_drawn", "aggregate_cells"}),
        ("paper/data/table_7.csv", {"make_table_7", "make_table_3"}, {"plot_figure_1", "fit_law"}),
        ("catalogue/figure_entries.py", {"list_not_drawn", "write_summary", "plot_dag"}, {"plot_figure_1", "make_table_1", "fit_law", "aggregate_cells"}),
    ],
)  # fmt: skip
def test_a_module_belongs_to_the_rules_that_use_it(module, rules, others):
    found = {rule for rule, code in CODE.items() if module in code}
    assert rules <= found
    assert not others & found


@pytest.mark.parametrize("name", ["figure-1", "figure-7", "dag"])
def test_everything_that_python_imports_is_found(name):
    """What is really loaded, the modules of the package alone, is a part of what is derived."""
    code = f"import sys, json, {FIGURES[name].module}; print(json.dumps([m for m in sys.modules if m.startswith('twostage')]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    files = {path.removesuffix(".py").removesuffix("/__init__") for path in CODE[FIGURES[name].rule_name]}
    for loaded in json.loads(done.stdout):
        assert loaded == "twostage" or loaded.removeprefix("twostage.").replace(".", "/") in files


def test_nothing_is_drawn_with_torch_or_megatron():
    assert not {path for code in CODE.values() for path in code if path.startswith(("model/", "training/"))}


def test_imports_for_types_alone_do_not_count(tmp_path):
    files = {
        "__init__.py": "",
        "a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from twostage import b\n",
        "b.py": "def f():\n    import twostage.sub.c\n",
        "sub/__init__.py": "",
        "sub/c.py": "x = 1\n",
    }
    for name, text in files.items():
        (tmp_path / "twostage" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "twostage" / name).write_text(text)
    library = tmp_path / "twostage"
    assert code_files(library, "twostage.a") == [library / "__init__.py", library / "a.py"]
    assert library / "sub/c.py" in code_files(library, "twostage.b")
    assert library / "sub/__init__.py" in code_files(library, "twostage.b")
    with pytest.raises(ValueError, match=r"twostage\.d: no such module"):
        code_files(library, "twostage.d")
    (library / "a.py").write_text("from . import b\n")
    with pytest.raises(ValueError, match="full name"):
        code_files(tmp_path / "twostage" / ".." / "twostage", "twostage.a")
