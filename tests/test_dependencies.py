"""Every declared dependency is imported by the code that needs it, pinned in the lock, and nothing else is imported."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read_pins(lock: str) -> dict[str, str]:
    pins = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", (ROOT / "envs" / lock).read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


LOCK = read_pins("cpu.txt")
#: Needed by a dependency that does not declare it, or started as a program: where its name must stand instead.
INDIRECT = {
    # Megatron's checkpoint writer uses it undeclared; without it a save hangs for ever.
    "psutil": Path(next(iter(find_spec("megatron.core").submodule_search_locations))) / "dist_checkpointing",
    # What the harness loads an exported model and its data with; transformers stands in `test` too.
    "accelerate": Path(find_spec("lm_eval").origin).parent / "models",
    "datasets": Path(find_spec("lm_eval").origin).parent / "api",
    "snakemake-executor-plugin-slurm": ROOT / "profiles/slurm/config.yaml",
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
    "accelerate": "from accelerate import",
    "datasets": "import datasets",
    "snakemake-executor-plugin-slurm": "executor: slurm",
    "mkdocs-material": "name: material",
    "pytest-xdist": "-n 2",
    "pandas-stubs": "import pandas",
    "types-pyyaml": "import yaml",
}

#: Extras that a module of the library imports, inside a function that explains when they are missing.
LIBRARY_EXTRAS = ("downstream",)


def requirements(extra: str | None) -> list[Requirement]:
    lines = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    return [Requirement(line) for line in lines]


ALL = [
    (extra, requirement)
    for extra in (None, *PROJECT["optional-dependencies"])
    for requirement in requirements(extra)
]


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
    wanted = canonicalize_name(distribution)
    return {module for module, owners in OWNERS.items() if wanted in {canonicalize_name(o) for o in owners}}


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
    folders = ["src", "rules", "workflow"] if extra is None else ["tests", "benchmarks"]
    if extra in LIBRARY_EXTRAS:
        folders.append("src")
    assert modules_of(name) & imported(*folders), f"{name} is declared but nothing in {folders} imports it"


@pytest.mark.parametrize(
    ("extra", "requirement"), ALL, ids=[f"{extra or 'run'}-{r.name}" for extra, r in ALL]
)
def test_declared_dependency_is_pinned_within_its_bounds(extra, requirement):
    name = canonicalize_name(requirement.name)
    lock = "docs.txt" if extra == "docs" else "cpu.txt"
    pins = read_pins(lock)
    assert name in pins, f"{name} is not in envs/{lock}"
    assert pins[name] in requirement.specifier, (
        f"envs/{lock} pins {name} {pins[name]}, outside {requirement.specifier}"
    )


def test_nothing_undeclared_is_imported():
    everywhere = (None, *LIBRARY_EXTRAS)
    declared = set().union(
        *(modules_of(requirement.name) for extra, requirement in ALL if extra in everywhere)
    )
    own = {"twostage", "snakemake_logger_plugin_twostage"}
    # Compiled on machines with GPUs, where a study may ask for it; pip could not resolve it anywhere else.
    gpu_only = {"flash_attn"}
    assert all(f"\n{name}==" in (ROOT / "envs/gpu.txt").read_text() for name in gpu_only)
    own |= gpu_only
    foreign = imported("src", "rules", "workflow") - set(sys.stdlib_module_names) - own - {"__future__"}
    assert foreign <= declared, f"imported but not declared: {sorted(foreign - declared)}"


def test_the_lock_is_closed():
    """Every requirement of a locked package is itself locked: pip takes no version of its own choice."""
    missing = set()
    for name in LOCK:
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue  # the test environment may lack what only `make check` needs
        for line in lines:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                missing |= {canonicalize_name(requirement.name)} - LOCK.keys()
    # CUDA libraries belong to PyTorch's default build; its CPU build has none.
    assert not {name for name in missing if not name.startswith(("nvidia-", "cuda-", "triton"))}
