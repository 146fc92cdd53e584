"""The documentation's links, commands and names exist, so that a page cannot fall behind the code unnoticed."""

from __future__ import annotations

import argparse
import ast
import functools
import importlib
import re
import shlex
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from test_packages import ORDER

from twostage.cli import build_parser, main

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for folder in (".", "docs", "envs", "profiles", "benchmarks", "results/reference")
    for path in (ROOT.glob("*.md") if folder == "." else (ROOT / folder).rglob("*.md"))
)
#: Example paths of users.
NOT_IN_A_CHECKOUT = ("config/mine",)
#: A changelog names what is gone, and recipes what their reader adds (tests of their own follow the recipes).
NOT_ABOUT_THIS_CHECKOUT = {ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("recipe-*.md")}
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")
IMPORT = re.compile(r"^from twostage[\w.]* import (?:\([^)]*\)|.+)$", re.MULTILINE)
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(page: Path) -> str:
    """The page without fenced code."""
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> list[list[str]]:
    """Words of each command line in a code block, without its comment."""
    text = page.read_text()
    lines = [line for kind, body in FENCE.findall(text) if kind in {"", "bash"} for line in body.split("\n")]
    lines += re.findall(r"^ {4,}(\S.*)$", FENCE.sub("", text), re.MULTILINE)
    joined = "\n".join(lines).replace("\\\n", " ")
    found = []
    for line in joined.splitlines():
        try:
            found.append(shlex.split(line, comments=True))
        except ValueError:  # an equation or a message, no command
            continue
    return [words for words in found if words]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page):
    broken = []
    for target in LINK.findall(text_of(page)):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        goal = page.parent / path if path else page
        if not goal.exists() or (anchor and anchor not in anchors(goal)):
            broken.append(target)
    assert not broken, f"{name_of(page)}: links to nothing: {broken}"


@functools.cache
def subcommand(name: str) -> argparse.ArgumentParser | None:
    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices.get(name)
    raise AssertionError("twostage has no subcommands")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_twostage_commands_and_options_exist(page):
    lines = list(commands(page))
    lines += [shlex.split(code) for code in re.findall(r"`(twostage [a-z][^`']*)`", text_of(page))]
    for words in lines:
        place = next((i for i, word in enumerate(words) if word.rsplit("/")[-1] == "twostage"), None)
        if place is None or len(words) < place + 2 or not re.fullmatch(r"[a-z][a-z-]+", words[place + 1]):
            continue
        parser = subcommand(words[place + 1])
        assert parser, f"{name_of(page)}: no command `twostage {words[place + 1]}`"
        known = {option for action in parser._actions for option in action.option_strings}
        used = {word.split("=")[0] for word in words[place + 2 :] if word.startswith("--")}
        assert used <= known, f"{name_of(page)}: {shlex.join(words)} has unknown options"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_scripts_and_profiles_exist(page):
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    inline = [code.split() for code in re.findall(r"`((?:make|snakemake|python) [^`]+)`", text_of(page))]
    for words in commands(page) + inline:
        shown = " ".join(words)
        if words[0] == "make":
            asked = {word for word in words[1:] if re.fullmatch(r"[a-z][a-z-]*", word)}
            assert asked <= targets, f"{name_of(page)}: {shown}: no such target"
        for word in words:
            if re.fullmatch(r"(workflow/scripts|benchmarks|profiles|envs|tests)/[\w./-]+\w", word):
                assert (ROOT / word).exists() or word.endswith(".sif"), f"{name_of(page)}: {shown}: no {word}"


@pytest.mark.parametrize("page", sorted(set(PAGES) - NOT_ABOUT_THIS_CHECKOUT), ids=name_of)
def test_named_files_modules_and_tests_exist(page):
    text = text_of(page)
    missing = []
    for code in re.findall(r"`([^`\s]+)`", text):
        code = code.rstrip("/")
        if re.fullmatch(r"(src|rules|workflow|tests|config|profiles|envs|docs|benchmarks)/[\w./-]+", code):
            if not (ROOT / code).exists() and not code.startswith(NOT_IN_A_CHECKOUT) and "<" not in code:
                missing.append(code)
        elif re.fullmatch(r"twostage(\.\w+)+", code) and not code.endswith((".def", ".sif")):
            if not importable(code):
                missing.append(code)
        elif re.fullmatch(r"test_\w+", code) and code not in names_of_tests():
            missing.append(code)
    missing = [name for name in missing if not name.endswith(".sif")]
    assert not missing, f"{name_of(page)} names what does not exist: {missing}"


@functools.cache
def names_of_tests() -> set[str]:
    """Names of all test functions."""
    return {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^ *def (test_\w+)", path.read_text(), re.MULTILINE)
    }


@functools.cache
def importable(name: str) -> bool:
    """Whether a dotted name is a module, or what a module holds."""
    module, _, attribute = name.rpartition(".")
    if not module:
        return name == "twostage"
    if not importable(module):
        return False
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return hasattr(sys.modules.get(module), attribute)
    return True


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_examples_import_what_exists(page):
    for kind, body in FENCE.findall(page.read_text()):
        statements = IMPORT.findall(body) if kind == "python" else []
        for node in ast.parse("\n".join(statements)).body:
            module = importlib.import_module(node.module)
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert not missing, f"{name_of(page)}: {node.module} has no {missing}"


def test_the_readme_is_short_and_pages_are_linked():
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 130
    linked = set(LINK.findall(readme + (ROOT / "CONTRIBUTING.md").read_text()))
    pages = {name_of(path) for path in (ROOT / "docs").glob("*.md")} - {"docs/api.md"}
    assert pages <= linked, f"README.md and CONTRIBUTING.md do not link: {sorted(pages - linked)}"


def test_the_readme_names_the_python_versions_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = [line.split(" :: ")[-1] for line in project["classifiers"] if "Python :: 3." in line]
    assert f"Python {versions[0]} to {versions[-1]}" in (ROOT / "README.md").read_text()


def test_every_page_is_in_the_navigation_of_the_site():
    lines = (ROOT / "mkdocs.yml").read_text().split("nav:\n")[1]
    nav = set(re.findall(r": (\S+\.md)$", lines, re.MULTILINE))
    pages = {name_of(path).removeprefix("docs/") for path in PAGES} - {"README.md"} | {"index.md"}
    assert nav == pages
    assert yaml.safe_load(f"nav:\n{lines}")


def test_the_architecture_page_lists_the_packages_in_order():
    section = (ROOT / "docs/architecture.md").read_text().split("## The packages")[1].split("\n## ")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == ORDER


@pytest.fixture
def losses(tmp_path, monkeypatch):
    """A losses.csv as the README's examples read it, in the working directory."""
    d1, d2 = (grid.ravel() for grid in np.meshgrid(*[1e9 * 2.0 ** np.arange(5)] * 2))
    law = 30 * d1**-0.4 * d2 ** (-0.5 + 0.017 * np.log(d1)) * 1e3 + 1.5
    noise = 1 + 1e-3 * np.random.default_rng(0).standard_normal(25)
    pd.DataFrame({"D1": d1, "D2": d2, "loss": law * noise}).to_csv(tmp_path / "losses.csv")
    monkeypatch.chdir(tmp_path)


def test_the_commands_of_the_readme_run_on_a_table_of_losses(losses, capsys):
    lines = [words[1:] for words in commands(ROOT / "README.md") if words[0] == ".venv/bin/twostage"]
    shown = [words for words in lines if words[0] in {"fit", "compare", "predict", "advise"}]
    assert len(shown) == 4
    for words in shown:
        assert main(words) == 0, words
        assert capsys.readouterr().out, words


def test_the_python_example_of_the_readme_runs(losses, capsys):
    [example] = [body for kind, body in FENCE.findall((ROOT / "README.md").read_text()) if kind == "python"]
    exec(example, {})
    alpha3, *table = capsys.readouterr().out.splitlines()
    assert float(alpha3) > 0
    assert all(any(form in row for row in table) for form in ("mul", "mul0", "add", "hyb"))
