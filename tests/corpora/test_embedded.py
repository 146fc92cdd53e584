"""The embedded corpora: extraction of docstrings and code, disjoint domains, determinism, allow-list."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import itertools
import math
import re
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement

from twostage.common.errors import UserError
from twostage.corpora import embedded
from twostage.corpora.corpus import prepare_corpus, read_documents
from twostage.corpora.dataspecs import CorpusSpec, corpus_spec
from twostage.corpora.embedded import (
    PACKAGES,
    docstrings,
    is_math,
    python_sources,
    read_embedded,
    versions,
    without_docstrings,
    without_doctests,
)
from twostage.doctor.packages import NEEDED_EXTRAS
from twostage.study import EmbeddedCorpus

SOURCE = '''\
"""Module.

Second line: ümlaut.
"""
import os

class A:
    """Only a docstring."""

class B(A):
    r"""Raw \\alpha."""
    x = 1  # kept

    @property
    async def f(self, y="""not a docstring"""):
        "single quotes"; z = """also
        not one"""
        if y:
            def inner():
                \'\'\'inner\'\'\'
                return 1
        else:
            class C: "one line"
        return f"""no {z}"""

def g(): """ü one line"""; return 2
'''


def test_docstrings_in_source_order() -> None:
    assert docstrings(SOURCE) == [
        "Module.\n\nSecond line: ümlaut.",
        "Only a docstring.",
        "Raw \\alpha.",
        "single quotes",
        "inner",
        "one line",
        "ü one line",
    ]


def test_code_loses_its_docstrings_and_nothing_else() -> None:
    code = without_docstrings(SOURCE)
    assert code is not None
    assert docstrings(code) == []
    for kept in (
        "not a docstring",
        "also\n        not one",
        'f"""no {z}"""',
        "# kept",
        "import os",
        "return 2",
        "class A:\n    ...",
    ):
        assert kept in code
    for lost in ("Module.", "Only a docstring", "alpha", "single quotes", "inner'''", "one line"):
        assert lost not in code


def _statements(tree: ast.AST) -> str:
    """The tree without docstrings and without the `...` that stand in for them."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [  # type: ignore[attr-defined]
                item
                for index, item in enumerate(body)
                if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and index == 0)
            ]
    return ast.dump(tree)


def test_code_without_docstrings_still_parses_to_the_same_statements() -> None:
    """The oracle is the parser: real modules of the standard library, with all their odd layouts."""
    for module in (textwrap, inspect, subprocess, math and itertools and ast, importlib.metadata):
        source = inspect.getsource(module)
        code = without_docstrings(source)
        assert code is not None
        assert docstrings(code) == []
        assert len(code) < len(source)
        assert _statements(ast.parse(code)) == _statements(ast.parse(source))


def test_docstrings_equal_those_of_the_standard_librarys_own_reader() -> None:
    source = inspect.getsource(inspect)
    expected = {
        ast.get_docstring(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    } - {None, ""}
    assert {re.sub(r"[ \t]+(?=\n|$)", "", text).strip() for text in expected if text} == {
        text.strip() for text in docstrings(source)
    }


@pytest.mark.parametrize("source", ["def f(:", "{{ template }} x", "\x00"])
def test_source_that_does_not_parse_has_no_documents(source: str) -> None:
    assert docstrings(source) == []
    assert without_docstrings(source) is None


@given(st.text(alphabet="aü '\"\\\n\t", max_size=40))
@settings(deadline=None, max_examples=100)
def test_any_docstring_can_be_cut_out(text: str) -> None:
    source = f"def f():\n    {text!r}\n    return 'ü'\n"
    assert without_docstrings(source) == "def f():\n    return 'ü'\n"


def test_doctests_and_empty_example_headings_leave_the_prose() -> None:
    text = (
        "Add.\n\nExamples\n--------\n>>> f(1)\n2\n>>> g(\n... 3)\n\nNotes\n-----\nIt adds.\n\n    >>> h()\n"
    )
    assert without_doctests(text) == "Add.\n\nNotes\n-----\nIt adds."
    assert without_doctests("Examples\n--------\nCall it:\n\n>>> f()\n") == "Examples\n--------\nCall it:"


@pytest.mark.parametrize(
    ("package", "text", "expected"),
    [
        ("sympy", "plain words", True),
        ("scipy", "the mean :math:`x`", True),
        ("torch", ".. math::\n  y = x", True),
        ("numpy", "\\frac{1}{2}", True),
        ("numpy", "a \\summary and a path C:\\interval", False),
        ("numpy", "costs $5", False),
    ],
)
def test_formulae_decide_the_domain(package: str, text: str, expected: bool) -> None:
    assert is_math(package, text) is expected


def test_allow_list_is_part_of_what_the_project_needs_to_run() -> None:
    """Follows the installed requirements from the project with the extras that every study needs."""
    needed: set[str] = set()
    pending = ["twostage"]
    while pending:
        project = pending.pop()
        extras = ("", *NEEDED_EXTRAS) if project == "twostage" else ("",)
        for line in importlib.metadata.requires(project) or ():
            requirement = Requirement(line)
            name = re.sub(r"[-_.]+", "-", requirement.name).lower()
            if name not in needed and (
                requirement.marker is None
                or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)
            ):
                needed.add(name)
                pending.append(name)
    assert set(PACKAGES) <= needed


def test_allow_list_is_pinned_in_the_lock() -> None:
    lock = (Path(__file__).parents[2] / "envs/cpu.txt").read_text()
    pinned = {
        re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lock.splitlines() if "==" in line
    }
    assert set(PACKAGES) <= pinned


def test_versions_are_found_without_importing_the_packages() -> None:
    program = "import sys; from twostage.corpora import embedded; embedded.versions(); print(sorted({'torch', 'sympy', 'scipy'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert set(versions()) == {"python", *PACKAGES}
    assert versions()["torch"] == importlib.metadata.version("torch").split("+")[0]


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(embedded.PACKAGES, "no-such-package", ("nothing",))
    versions.cache_clear()
    try:
        with pytest.raises(UserError, match=r"'no-such-package'.*pip install -r envs/cpu\.txt"):
            versions()
    finally:
        versions.cache_clear()


def test_sources_are_sorted_and_free_of_tests_copies_and_generated_files() -> None:
    sources = python_sources()
    groups = [source.group for source in sources]
    assert groups == [source.group for source in sorted(sources, key=lambda item: (item.package, item.name))]
    assert len(set(groups)) == len(groups) > 3000
    assert {source.package for source in sources} == {"python", *PACKAGES}
    for bad in (
        "/test/",
        "/tests/",
        "/_vendor/",
        "site-packages",
        "conftest.py",
        "_sysconfigdata",
        "/test_",
        "sitecustomize",
    ):
        assert not [group for group in groups if bad in group], bad
    assert "python/os.py" in groups


def test_every_prefix_is_a_sample_of_many_packages() -> None:
    first = itertools.islice(read_embedded("code"), 120)
    packages = Counter(source.package for source, _ in first)
    assert len(packages) >= 10
    assert packages.most_common(1)[0][1] < 72


def _documents(domain: embedded.Domain, sources: int) -> list[tuple[str, str]]:
    return [
        (source.group, text)
        for source, texts in itertools.islice(read_embedded(domain), sources)
        for text in texts
    ]


def test_reading_twice_gives_the_same_documents() -> None:
    assert _documents("generic", 40) == _documents("generic", 40)


def test_domains_hold_what_they_say_and_are_disjoint() -> None:
    math_texts, generic_texts, code_texts = (
        _documents(domain, sources) for domain, sources in (("math", 50), ("generic", 150), ("code", 50))
    )
    assert {group.split("/")[0] for group, _ in math_texts} <= {
        "sympy",
        "mpmath",
        "scipy",
        "torch",
        "numpy",
        "networkx",
    }
    assert not [group for group, _ in generic_texts if re.match(r"(sympy|mpmath)/(?!description)", group)]
    assert not [text for group, text in generic_texts if ":math:" in text and "description" not in group]
    assert not [text for _, text in code_texts if docstrings(text)]
    assert any(group.startswith("python/topic ") for group, _ in generic_texts)
    assert not {text for _, text in math_texts} & {text for _, text in generic_texts}


def test_package_descriptions_are_their_readme() -> None:
    descriptions = embedded._descriptions()
    assert set(descriptions) == set(PACKAGES)
    assert "fundamental package for scientific computing" in descriptions["numpy"]


def test_every_docstring_goes_to_exactly_one_domain() -> None:
    source = inspect.getsource(importlib.metadata) + inspect.getsource(textwrap)
    source += '\ndef e():\n    """' + "A formula :math:`x` stands here. " * 5 + '"""\n'
    for package in ("scipy", "sympy"):
        parts = {
            domain: embedded._documents(domain, package, source) for domain in ("math", "generic", "code")
        }
        long = [
            text
            for text in docstrings(source)
            if len(without_doctests(text).encode()) >= embedded.MIN_DOCSTRING_BYTES
        ]
        assert len(parts["code"]) == 1
        assert len(long) <= len(parts["math"]) + len(parts["generic"]) <= len(docstrings(source))
        assert not set(parts["math"]) & set(parts["generic"])
        assert bool(parts["generic"]) is (package == "scipy")


def test_a_small_corpus_is_prepared_with_versions_and_the_same_bytes_twice(tmp_path: Path) -> None:
    corpus = EmbeddedCorpus(source="embedded", domain="code", max_bytes=400_000, valid_fraction=0.2)
    manifests = [prepare_corpus("code", corpus, tmp_path / name) for name in ("one", "two")]
    assert manifests[0] == manifests[1]
    total = sum(manifests[0]["splits"][split]["bytes"] for split in ("train", "valid"))
    assert 350_000 < total < 400_000 + embedded.MAX_SOURCE_CHARACTERS
    for package, entry in manifests[0]["packages"].items():
        assert entry["version"] == versions()[package]
    assert sum(entry["bytes"] for entry in manifests[0]["packages"].values()) == total
    assert (
        len(list(read_documents(tmp_path / "one/manifest.json", "train")))
        == manifests[0]["splits"]["train"]["documents"]
    )


def test_a_larger_corpus_contains_the_smaller_one(tmp_path: Path) -> None:
    texts = []
    for size in (200_000, 500_000):
        corpus = EmbeddedCorpus(source="embedded", domain="code", max_bytes=size, valid_fraction=0.2)
        prepare_corpus("code", corpus, tmp_path / str(size))
        texts.append({*read_documents(tmp_path / str(size) / "manifest.json", "train")})
    assert texts[0] < texts[1]


def test_a_job_in_another_environment_is_refused() -> None:
    corpus = EmbeddedCorpus(source="embedded", domain="code")
    CorpusSpec(name="code", corpus=corpus, versions=versions()).check_versions()
    with pytest.raises(UserError, match=r"corpora\.code: .* torch \d.* instead of 0\.1"):
        CorpusSpec(name="code", corpus=corpus, versions={**versions(), "torch": "0.1"}).check_versions()


def test_versions_are_part_of_an_embedded_corpus_spec_only() -> None:
    from twostage.study import load_study

    study = load_study(Path(__file__).parents[2] / "config/tiny.yaml")
    spec = corpus_spec(study, "code")
    assert spec.versions == versions()
    assert CorpusSpec.parse(spec.canonical()) == spec
    with pytest.raises(UserError, match=r"corpus 'nothing' is not in study tiny; it has \['code'"):
        corpus_spec(study, "nothing")
