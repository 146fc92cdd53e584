"""Finds the files of the library that a script or module depends on, by following its imports.

Rules that take seconds list these files as inputs, so they run again when their code changes. Imports are read from the
source (also those inside functions, but not those for types alone); nothing is executed. A module that mentions
`__file__` reads data files next to it, so these are listed too. A string such as `twostage.laws.tree:TreeForm` names a module
that is loaded at run time; within one package it counts as an import. The modules of figures and tables are named from
another package: a rule asks for those it draws.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = "twostage"
_BLOCKS = ("body", "orelse", "finalbody", "handlers")


def code_files(library: Path, *starts: Path | str) -> list[Path]:
    """Return all files of the package that scripts and modules need, themselves included, sorted.

    Args:
        library: folder of the package, e.g. `src/twostage`; the returned paths start with it.
        starts: paths of scripts, and dotted names of modules, e.g. `twostage.figures.figure_1`.

    Raises:
        ValueError: a name that is not a module of the package, or a file with relative imports.
    """
    waiting: list[Path] = []
    for start in starts:
        files = [start] if isinstance(start, Path) else _module_files(library, start)
        if isinstance(start, str) and files[-1] != library.joinpath(*start.split(".")[1:]).with_suffix(".py"):
            raise ValueError(f"{start}: no such module in {library}")
        waiting += files
    found: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _needed_files(library, file)
    return sorted(found)


@cache
def _needed_files(library: Path, file: Path) -> list[Path]:
    if file.suffix != ".py":
        return []
    source = file.read_text(encoding="utf-8")
    needed = [path for name in imported_names(file, source) for path in _module_files(library, name)]
    named = re.findall(rf'"({PACKAGE}\.[\w.]+):\w+"', source)
    loaded = [path for name in named for path in _module_files(library, name) if path.parent == file.parent]
    needed += loaded
    return needed + (_data_files(file.parent) if "__file__" in source else [])


def imported_names(file: Path, source: str) -> list[str]:
    """Dotted names that a source file imports from the package, e.g. `twostage.laws.fit.Fit`."""
    names: list[str] = []
    for node in _imports(ast.parse(source).body):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif node.level:
            raise ValueError(f"{file}: relative import in line {node.lineno}; write the package's full name")
        else:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.split(".")[0] == PACKAGE]


def _imports(statements: Iterable[ast.AST]) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in statements:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            yield from _imports(node.orelse)
        else:  # statements alone: no import is inside an expression
            for block in _BLOCKS:
                yield from _imports(getattr(node, block, ()))


@cache
def _module_files(library: Path, name: str) -> list[Path]:
    """The module that a dotted name is, or is in, after the packages above it."""
    files, folder = [library / "__init__.py"], library
    for part in name.split(".")[1:]:
        folder /= part
        if (module := folder.with_suffix(".py")).is_file():
            return [*files, module]
        if not (package := folder / "__init__.py").is_file():
            break
        files.append(package)
    return files


def _data_files(package: Path) -> list[Path]:
    files = (path for path in package.rglob("*") if path.is_file())
    return sorted(path for path in files if path.suffix not in (".py", ".pyc"))
