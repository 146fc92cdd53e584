"""The recipe "Add a growth method" carried out in a copy of the project: which files it touches, and that they suffice."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PARTS = ("src", "tests", "config", "pyproject.toml", "Makefile")
MODULE = "src/twostage/methods/interleave.py"
REGISTRY = "src/twostage/methods/__init__.py"
SCHEMA = "config/study.schema.json"
TEST = "tests/test_interleave.py"


def python(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{file}: {text.count(old)} times {old!r}"
    file.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project to which the recipe has added the kind `interleave`."""
    root = tmp_path_factory.mktemp("project")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / part, root / part)
    shutil.copy2(HERE / "interleave.py", root / MODULE)
    shutil.copy2(HERE / "check_interleave.py", root / TEST)
    last = "from twostage.methods.stack import Stack\n"
    replace(root / REGISTRY, last, f"from twostage.methods.interleave import Interleave\n{last}")
    replace(root / REGISTRY, "Cpt | Stack | Expand |", "Cpt | Stack | Expand | Interleave |")
    make_schema = re.search(
        r"^schema:.*\n\t\$\(BIN\)/python (.+)$", (root / "Makefile").read_text(), re.MULTILINE
    )
    python(root, *make_schema[1].split())
    return root


def test_the_recipe_touches_four_files(extended: Path) -> None:
    touched = []
    for part in PARTS:
        for file in [extended / part, *(extended / part).rglob("*")]:
            name = file.relative_to(extended)
            if file.is_file() and "__pycache__" not in name.parts:
                before = ROOT / name
                if not before.is_file() or not filecmp.cmp(file, before, shallow=False):
                    touched.append(str(name))
    assert sorted(touched) == sorted([MODULE, REGISTRY, SCHEMA, TEST])


def test_the_new_kind_works_and_no_other_file_has_to_change(extended: Path) -> None:
    """Runs the kind's own test, and the tests of the project that check every new module and key."""
    python(
        extended, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", TEST, "tests/test_packages.py",
        "tests/study/test_study.py::test_schema_file_is_up_to_date",
        "tests/study/test_new_study.py::test_the_templates_have_every_key_of_a_study",
    )  # fmt: skip
