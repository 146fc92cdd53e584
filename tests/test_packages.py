"""The library's packages: each says what is in it, costs nothing to import, and none needs another that needs it."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / "src/twostage"
PACKAGES = sorted(path.parent.name for path in LIBRARY.glob("*/__init__.py"))
#: Their names are an interface of their own: what a study consists of, what a doctor finds, the command itself.
WITH_NAMES = {"study", "doctor", "cli"}


def package_of(module: str) -> str | None:
    """The package that a dotted name below `twostage` lies in; None for modules on top."""
    first = module.removeprefix("twostage").lstrip(".").split(".")[0]
    return first if first in PACKAGES else None


def imports(path: Path) -> set[str]:
    """Dotted names that a module imports when it is imported: not inside functions, not for types alone."""
    tree = ast.parse(path.read_text())
    found = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] == "twostage"}


def test_no_circle_of_packages():
    """Modules on top may need any package and be needed by any, but two packages never need each other."""
    needs = {
        name: {
            other
            for path in (LIBRARY / name).glob("*.py")
            for other in map(package_of, imports(path))
            if other not in (None, name)
        }
        for name in PACKAGES
    }
    assert needs["tables"] > {"analysis", "laws"}
    TopologicalSorter(needs).prepare()  # raises CycleError with the circle


@pytest.mark.parametrize("package", sorted(set(PACKAGES) - WITH_NAMES))
def test_a_package_says_what_is_in_it_and_imports_nothing(package):
    tree = ast.parse((LIBRARY / package / "__init__.py").read_text())
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


@pytest.mark.parametrize(
    "package",
    ["analysis", "cluster", "corpora", "exchange", "exhibits", "planning", "tables", "toy", "training"],
)
def test_every_module_is_named_where_its_package_is_described(package):
    described = ast.get_docstring(ast.parse((LIBRARY / package / "__init__.py").read_text()))
    missing = [
        path.stem for path in (LIBRARY / package).glob("[a-z]*.py") if f"`{path.stem}`" not in described
    ]
    assert not missing, f"src/twostage/{package}/__init__.py does not say what these are for: {missing}"
