"""The library's packages: each describes its content, is empty but for its docstring, and imports only earlier packages."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / "src/twostage"
PACKAGES = sorted(path.parent.name for path in LIBRARY.glob("*/__init__.py"))
#: A package may import only those before it. docs/architecture.md shows the same order.
ORDER = (
    "common",
    "methods",
    "study",
    "design",
    "corpora",
    "model",
    "cluster",
    "training",
    "evaluation",
    "laws",
    "paper",
    "measured",
    "catalogue",
    "analysis",
    "planning",
    "toy",
    "figures",
    "tables",
    "doctor",
    "cli",
)
#: Packages that import their public names. All others are empty but for their docstring.
WITH_NAMES = {"methods", "study", "laws", "doctor", "cli"}


def imports(path: Path) -> set[str]:
    """Return the dotted names that a module imports anywhere, also inside functions and for types."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] == "twostage"}


def test_every_package_has_its_place():
    assert sorted(ORDER) == PACKAGES
    assert [path.name for path in LIBRARY.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("package", ORDER)
def test_imports_point_one_way(package):
    allowed = {*ORDER[: ORDER.index(package) + 1], "__version__"}
    wrong = {
        f"{path.relative_to(LIBRARY)} imports {name}"
        for path in (LIBRARY / package).rglob("*.py")
        for name in imports(path)
        if name != "twostage" and name.split(".")[1] not in allowed
    }
    assert not wrong


@pytest.mark.parametrize("package", sorted(set(PACKAGES) - WITH_NAMES))
def test_a_package_says_what_is_in_it_and_imports_nothing(package):
    tree = ast.parse((LIBRARY / package / "__init__.py").read_text())
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


@pytest.mark.parametrize("package", sorted(set(PACKAGES) - WITH_NAMES - {"figures"}))
def test_every_module_is_named_where_its_package_is_described(package):
    described = ast.get_docstring(ast.parse((LIBRARY / package / "__init__.py").read_text()))
    missing = [
        path.stem for path in (LIBRARY / package).glob("[a-z]*.py") if f"`{path.stem}`" not in described
    ]
    assert not missing, f"src/twostage/{package}/__init__.py does not say what these are for: {missing}"
