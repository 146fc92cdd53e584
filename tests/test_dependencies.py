"""Every declared dependency is imported where it is declared for, pinned in the lock, and nothing else is imported."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from twostage import __version__
from twostage.common.extras import EXTRAS
from twostage.doctor.packages import PYTHONS, read_lock

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = read_lock(ROOT / "envs/cpu.txt")
#: Extras that are pinned in another lock than cpu.txt.
OTHER_LOCKS = {"gpu": "envs/gpu.txt", "docs": "envs/docs.txt"}
#: Those that `make` and the tests need; the library and the workflow import all others.
TOOLS = ("report", "test", "check", "docs")
#: Needed by a dependency that does not declare it, or started as a program: where its name must stand instead.
INDIRECT = {
    # Megatron's checkpoint writer uses it without declaring it; without it a save hangs.
    "psutil": Path(next(iter(find_spec("megatron.core").submodule_search_locations))) / "dist_checkpointing",
    # The harness loads exported models with these; `transformers` is also in `test`.
    "accelerate": Path(find_spec("lm_eval").origin).parent / "models",
    "transformers": Path(find_spec("lm_eval").origin).parent / "models",
    "snakemake-executor-plugin-slurm": ROOT / "profiles/slurm/config.yaml",
    "transformer-engine": Path(next(iter(find_spec("megatron.core").submodule_search_locations)))
    / "extensions",
    "pygments": Path(find_spec("snakemake").origin).parent / "report",
    "mkdocs-material": ROOT / "mkdocs.yml",
    "mkdocstrings": ROOT / "mkdocs.yml",
    "mypy": ROOT / "Makefile",
    "ruff": ROOT / "Makefile",
    "snakefmt": ROOT / "Makefile",
    "pytest-xdist": ROOT / "Makefile",
    "pandas-stubs": ROOT / "src",  # types for mypy
    "types-pyyaml": ROOT / "src",
}
WORDS = {
    "transformer-engine": "import transformer_engine",
    "accelerate": "from accelerate import",
    "transformers": "import transformers",
    "snakemake-executor-plugin-slurm": "executor: slurm",
    "mkdocs-material": "name: material",
    "pytest-xdist": "-n 2",
    "pandas-stubs": "import pandas",
    "types-pyyaml": "import yaml",
}


def requirements(extra: str | None) -> list[Requirement]:
    lines = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    return [Requirement(line) for line in lines]


ALL = [
    (extra, requirement)
    for extra in (None, *PROJECT["optional-dependencies"])
    for requirement in requirements(extra)
]


@cache
def imported(*folders: str) -> set[str]:
    """Top-level modules imported by Python and Snakemake files below the folders."""
    names: set[str] = set()
    for folder in folders:
        for path in [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.smk")]:
            if path.suffix == ".smk":
                lines = [
                    line for line in path.read_text().splitlines() if re.match(r"(import|from) \w", line)
                ]
                tree = ast.parse("\n".join(lines))
            else:
                tree = ast.parse(path.read_text())
            for node in ast.walk(tree):
                if isinstance(node, ast.Import):
                    names |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names.add(node.module.split(".")[0])
    return names


OWNERS = packages_distributions()


def modules_of(distribution: str) -> set[str]:
    """Top-level modules of a distribution; its own name where it is not installed (kernels for GPUs)."""
    wanted = canonicalize_name(distribution)
    found = {module for module, owners in OWNERS.items() if wanted in {canonicalize_name(o) for o in owners}}
    return found or {wanted.replace("-", "_")}


@pytest.mark.parametrize(
    ("extra", "requirement"), ALL, ids=[f"{extra or 'run'}-{r.name}" for extra, r in ALL]
)
def test_declared_dependency_is_used(extra, requirement):
    name = canonicalize_name(requirement.name)
    if name in INDIRECT:
        place, word = INDIRECT[name], WORDS.get(name, name)
        files = [place] if place.is_file() else [*place.rglob("*.py")]
        assert any(word in path.read_text(errors="ignore") for path in files), (
            f"{name} is not used in {place}"
        )
        return
    folders = ("tests", "benchmarks") if extra in TOOLS else ("src", "rules", "workflow", "Snakefile")
    assert modules_of(name) & imported(*folders), f"{name} is declared but nothing in {folders} imports it"


@pytest.mark.parametrize(
    ("extra", "requirement"), ALL, ids=[f"{extra or 'run'}-{r.name}" for extra, r in ALL]
)
def test_declared_dependency_is_pinned_within_its_bounds(extra, requirement):
    name = canonicalize_name(requirement.name)
    lock = OTHER_LOCKS.get(extra, "envs/cpu.txt")
    pins = read_lock(ROOT / lock)
    assert name in pins, f"{name} is not in {lock}"
    assert pins[name] in requirement.specifier, (
        f"{lock} pins {name} {pins[name]}, outside {requirement.specifier}"
    )


def test_nothing_undeclared_is_imported():
    declared = set().union(
        *(modules_of(requirement.name) for extra, requirement in ALL if extra not in TOOLS)
    )
    own = {"twostage", "snakemake_logger_plugin_twostage"}
    foreign = imported("src", "rules", "workflow") - set(sys.stdlib_module_names) - own - {"__future__"}
    assert foreign <= declared, f"imported but not declared: {sorted(foreign - declared)}"


def test_a_missing_module_is_named_with_the_extra_that_declares_it():
    assert EXTRAS.keys() | set(TOOLS) == PROJECT["optional-dependencies"].keys()
    for extra, modules in EXTRAS.items():
        declared = [modules_of(requirement.name) for requirement in requirements(extra)]
        assert all(found.intersection(modules) for found in declared), extra
        assert set(modules) <= set().union(*declared), extra


def test_the_citation_is_of_this_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__


def test_python_versions_are_the_same_everywhere():
    assert SpecifierSet(PROJECT["requires-python"]) == PYTHONS
    named = {line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line}
    assert named == {f"3.{minor}" for minor in range(30) if f"3.{minor}" in PYTHONS}
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    assert set(jobs["test"]["strategy"]["matrix"]["python"]) == named


def test_the_lock_is_closed():
    """Every requirement of a locked package is also locked, so pip never chooses a version."""
    missing = set()
    for name in LOCK:
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue  # the test environment may lack packages that only `make check` uses
        for line in lines:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                missing |= {canonicalize_name(requirement.name)} - LOCK.keys()
    # CUDA libraries are requirements of PyTorch's default build only.
    assert not {name for name in missing if not name.startswith(("nvidia-", "cuda-", "triton"))}
