"""The embedded corpora: text from the installed Python packages, in three disjoint domains.

*code*: Python sources without docstrings. *math*: docstrings of SymPy and mpmath, and other docstrings with formulas.
*generic*: all other docstrings, pydoc topics and package descriptions. This is API documentation and library code, not web
text. `corpus.py` splits, deduplicates and writes it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import os
import platform
import re
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from twostage.common.errors import UserError

Domain = Literal["generic", "code", "math"]

STDLIB = "python"

#: Distribution -> its importable folders. All are pinned by `envs/cpu.txt` and needed at run time (not only for tests), so
#: that every installation has the same text.
PACKAGES: dict[str, tuple[str, ...]] = {
    "docutils": ("docutils",),
    "fonttools": ("fontTools",),
    "huggingface-hub": ("huggingface_hub",),
    "jinja2": ("jinja2",),
    "lmfit": ("lmfit",),
    "matplotlib": ("matplotlib",),
    "megatron-core": ("megatron/core",),
    "mpmath": ("mpmath",),
    "networkx": ("networkx",),
    "numpy": ("numpy",),
    "pandas": ("pandas",),
    "pydantic": ("pydantic",),
    "requests": ("requests",),
    "rich": ("rich",),
    "scipy": ("scipy",),
    "seaborn": ("seaborn",),
    "snakemake": ("snakemake",),
    "sqlalchemy": ("sqlalchemy",),
    "sympy": ("sympy",),
    "torch": ("torch",),
}
MATH_PACKAGES = frozenset({"sympy", "mpmath"})

# Test suites are missing from some Python builds. Vendored copies (such as pydantic.v1) repeat text under another name.
_TEST_FOLDERS = {"test", "tests", "testing", "idle_test"}
_COPIES = {
    "_vendor",
    "vendor",
    "_vendored",
    "vendored",
    "extern",
    "externals",
    "externs",
    "third_party",
    "thirdparty",
}
_COPIES |= {"_bundled", "array_api_compat", "array_api_extra", "v1"}
_EXCLUDED_FOLDERS = _TEST_FOLDERS | _COPIES | {"__pycache__", "site-packages", "dist-packages"}
# Generated when Python or a wheel is built: they differ between machines.
_GENERATED_FILE = re.compile(
    r"_sysconfigdata.*|__config__|_?version|_build_info|sitecustomize|usercustomize|_distutils_system_mod"
)
_TEST_FILE = re.compile(r"test_.*|.*_test|conftest")
_PYDOC_TOPICS = "pydoc_data/topics.py"

#: Larger sources are left out of *code*: most are tables, which would be a large share of a small corpus (our choice).
MAX_SOURCE_CHARACTERS = 300_000
#: Shorter docstrings ("Return the name.") are left out (our choice).
MIN_DOCSTRING_BYTES = 100

_FORMULA = re.compile(
    r":math:|\.\. math::|\$\$|\\(?:frac|sum|int|prod|sqrt|mathbf|mathrm|mathbb|partial|infty|cdot|left)\b"
)


@dataclass(frozen=True)
class Source:
    """A source file, a pydoc topic or a package description. All documents of a source are in the same split."""

    package: str
    name: str
    path: Path | None = None

    @property
    def group(self) -> str:
        """The name that determines the split; the same on every machine."""
        return f"{self.package}/{self.name}"

    @property
    def order(self) -> bytes:
        """Pseudo-random sort key, so that the first sources are a representative sample of all packages."""
        return hashlib.sha256(self.group.encode()).digest()


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of every package, which determine the content of the embedded corpora.

    Local version labels ("+cpu") are dropped: they name a build of the same sources.

    Raises:
        UserError: a package of `PACKAGES` is not installed.
    """
    found = {STDLIB: platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            raise UserError(
                f"embedded corpora need the package {package!r}, which is not installed; "
                "install the locked environment: pip install -r envs/cpu.txt"
            ) from None
    return found


def _walk(package: str, root: Path, prefix: str) -> Iterator[Source]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if name not in _EXCLUDED_FOLDERS and not name.startswith((".", "config-"))
        )
        for file in sorted(files):
            path = Path(folder, file)
            if (
                path.suffix == ".py"
                and not _GENERATED_FILE.fullmatch(path.stem)
                and not _TEST_FILE.fullmatch(path.stem)
            ):
                yield Source(package, prefix + path.relative_to(root).as_posix(), path)


def python_sources() -> list[Source]:
    """Return the source files of the standard library and of `PACKAGES`, sorted by (package, path)."""
    sources = list(_walk(STDLIB, Path(sysconfig.get_path("stdlib")), ""))
    for package, folders in PACKAGES.items():
        distribution = importlib.metadata.distribution(package)
        for folder in folders:
            root = Path(str(distribution.locate_file(folder)))
            if not root.is_dir():
                raise UserError(
                    f"embedded corpora: {root} (package {package}) is not a folder; reinstall {package}"
                )
            sources += _walk(package, root, f"{folder}/")
    return sorted(sources, key=lambda source: (source.package, source.name))


_Documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _docstring_nodes(tree: ast.AST) -> Iterator[tuple[ast.AST, ast.Expr, str]]:
    """Yield (owner, statement, text) of all docstrings in source order. Visits statements only, not expressions."""
    pending = [tree]
    while pending:
        node = pending.pop()
        body = getattr(node, "body", None)
        if not isinstance(body, list):  # the body of a lambda or conditional expression
            continue
        if isinstance(node, _Documented) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield node, body[0], value.value
        children = [*body, *getattr(node, "orelse", ()), *getattr(node, "finalbody", ())]
        children += [*getattr(node, "handlers", ()), *getattr(node, "cases", ())]
        pending.extend(reversed(children))


def _parse(source: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in third-party code
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError):  # templates, other Python versions
            return None


def docstrings(source: str) -> list[str]:
    """Return the dedented docstrings of a module and of its classes and functions, in source order.

    Source that cannot be parsed has none.
    """
    tree = _parse(source)
    if tree is None:
        return []
    return [clean for _, _, text in _docstring_nodes(tree) if (clean := _dedent(text))]


def _dedent(docstring: str) -> str:
    """Remove common indentation (first line excepted), trailing blanks and surrounding empty lines, as in PEP 257."""
    first, *rest = docstring.expandtabs().splitlines() or [""]
    indent = min((len(line) - len(line.lstrip()) for line in rest if line.strip()), default=0)
    return "\n".join([first.strip(), *(line[indent:].rstrip() for line in rest)]).strip("\n")


def without_docstrings(source: str) -> str | None:
    """Return Python source without docstrings (`...` replaces one that is the only statement); None if it cannot be parsed."""
    tree = _parse(source)
    if tree is None:
        return None
    lines = [line.encode() for line in source.split("\n")]  # ast counts columns in UTF-8 bytes
    for owner, node, _ in sorted(_docstring_nodes(tree), key=lambda item: -item[1].lineno):
        assert node.end_lineno is not None
        first, last = node.lineno - 1, node.end_lineno - 1
        alone = len(owner.body) == 1 and not isinstance(owner, ast.Module)  # type: ignore[attr-defined]
        kept = (
            lines[first][: node.col_offset] + (b"..." if alone else b"") + lines[last][node.end_col_offset :]
        )
        lines[first : last + 1] = [kept] if kept.strip() else []
    return b"\n".join(lines).decode()


def without_doctests(text: str) -> str:
    """Remove interactive examples (from `>>>` to the next empty line) and headings whose section is then empty."""
    kept: list[str] = []
    inside = False
    for line in text.split("\n"):
        inside = line.lstrip().startswith(">>>") or (inside and bool(line.strip()))
        if not inside:
            kept.append(line)
    prose = re.sub(r"\n{3,}", "\n\n", "\n".join(kept))
    return re.sub(r"(?:^|\n)Examples?\n-+\n*(?=\Z|[^\n]+\n-+\n)", "\n", prose).strip("\n")


def is_math(package: str, docstring: str) -> bool:
    """Return whether a docstring belongs to the math domain; otherwise it is generic."""
    return package in MATH_PACKAGES or _FORMULA.search(docstring) is not None


def _read_source(source: Source) -> str | None:
    assert source.path is not None
    if source.package == STDLIB and source.name == _PYDOC_TOPICS:  # prose in string literals
        return None
    try:
        text = source.path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:  # a few files declare another encoding
        return None
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "")


def _topics() -> dict[str, str]:
    from pydoc_data.topics import topics

    return topics


def _descriptions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        metadata = importlib.metadata.metadata(package)
        found[package] = str(metadata.get_payload())  # type: ignore[attr-defined]  # it is an email.message.Message
    return found


def read_embedded(domain: Domain) -> Iterator[tuple[Source, list[str]]]:
    """Yield (source, its documents of this domain) in a fixed pseudo-random order of the sources.

    The first sources are a representative sample of all packages, so a reader that needs a few megabytes can stop early.
    The domains are disjoint: each docstring belongs to math or generic, and code has no docstrings. Sources that cannot be
    parsed, are not UTF-8, or (for code) exceed `MAX_SOURCE_CHARACTERS` are left out.
    """
    sources = python_sources()
    topics = _topics() if domain == "generic" else {}
    descriptions = _descriptions() if domain == "generic" else {}
    sources += [Source(STDLIB, f"topic {name}") for name in topics]
    sources += [Source(package, "description") for package in descriptions]
    if domain == "math":
        # Formulas are rare in other packages: these have nearly all of the text (3.1 of 3.6 MB).
        wanted = MATH_PACKAGES | {"scipy", "torch", "numpy", "networkx"}
        sources = [source for source in sources if source.package in wanted]
    for source in sorted(sources, key=lambda item: item.order):
        if source.path is None:
            by_name = topics.get(source.name.removeprefix("topic "))
            documents = [descriptions[source.package] if by_name is None else by_name]
        else:
            text = _read_source(source)
            if text is None:
                continue
            documents = _documents(domain, source.package, text)
        if documents:
            yield source, documents


def _documents(domain: Domain, package: str, text: str) -> list[str]:
    if domain == "code":
        code = without_docstrings(text) if len(text) <= MAX_SOURCE_CHARACTERS else None
        return [code] if code and code.strip() else []
    if domain == "math":
        found = [doc for doc in docstrings(text) if is_math(package, doc)]
    elif package in MATH_PACKAGES:
        found = []
    else:
        found = [without_doctests(doc) for doc in docstrings(text) if not is_math(package, doc)]
    return [doc for doc in found if len(doc.encode()) >= MIN_DOCSTRING_BYTES]
