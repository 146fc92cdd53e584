"""Python and package versions against the lock of this kind of machine (`envs/cpu.txt` or `envs/gpu.txt`)."""

from __future__ import annotations

import platform
import re
import tomllib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from twostage.doctor.check import Check, Status

GROUP = "environment"
#: As `requires-python` in pyproject.toml, which an image does not hold.
PYTHONS = SpecifierSet(">=3.11,<3.14")
#: What every study needs next to the base set.
NEEDED_EXTRAS = ("train", "workflow")
#: Judged with the GPU, where they are optional.
_GPU_ONLY = re.compile(r"cuda-|nvidia-|triton|transformer-engine|flash-attn")
#: A name with a handful of differing versions is listed in full, more are counted.
_LISTED = 4


@dataclass(frozen=True)
class PackageFacts:
    """Versions as installed (None: absent) beside those of the lock; `direct`: what twostage itself imports."""

    python: str
    lock: str | None
    pinned: dict[str, str]
    installed: dict[str, str | None]
    direct: frozenset[str]


def read_lock(path: Path) -> dict[str, str]:
    """Return canonical name -> version of a file of exact pins and of the files that it includes with `-r`."""
    text = path.read_text(encoding="utf-8")
    pins: dict[str, str] = {}
    for included in re.findall(r"^-r (\S+)$", text, re.MULTILINE):
        pins |= read_lock(path.parent / included)
    lines = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", text, re.MULTILINE)
    return pins | {canonicalize_name(name): pin for name, pin in lines}


def gather(lock: Path) -> PackageFacts:
    """Read the lock, the project file beside its folder, and what is installed."""
    if not lock.is_file():
        return PackageFacts(platform.python_version(), None, {}, {}, frozenset())
    pinned = {name: pin for name, pin in read_lock(lock).items() if not _GPU_ONLY.match(name)}
    project = lock.absolute().parents[1] / "pyproject.toml"
    direct = frozenset(pinned)
    if project.is_file():
        declared = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        needed = [
            declared["dependencies"],
            *(declared["optional-dependencies"][extra] for extra in NEEDED_EXTRAS),
        ]
        direct = frozenset(canonicalize_name(Requirement(line).name) for lines in needed for line in lines)
    return PackageFacts(
        platform.python_version(), str(lock), pinned, {name: _installed(name) for name in pinned}, direct
    )


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def judge(facts: PackageFacts) -> list[Check]:
    """Python in range; every package of the lock there, at the lock's version (a build tag like +cpu aside)."""
    return [_python(facts.python), *_packages(facts)]


def _python(found: str) -> Check:
    if found in PYTHONS:
        return Check(GROUP, "Python", found, Status.OK)
    return Check(
        GROUP,
        "Python",
        found,
        Status.MISSING,
        f"make the environment with a Python {PYTHONS} (make PYTHON=python3.12 ...)",
    )


def _packages(facts: PackageFacts) -> list[Check]:
    if facts.lock is None:
        return [
            Check(
                GROUP,
                "packages",
                "no lock file here",
                Status.WARN,
                "run in the repository's root, where envs/ is, or name the file with --lock",
            )
        ]
    install = f"install the lock's versions: {_installer(facts.lock)}"
    absent = [name for name, found in facts.installed.items() if found is None]
    differing = [
        f"{name} {found} (lock: {facts.pinned[name]})"
        for name, found in facts.installed.items()
        if found is not None and _public(found) != _public(facts.pinned[name])
    ]
    checks = []
    if needed := sorted(facts.direct.intersection(absent)):
        checks.append(
            Check(GROUP, "needed packages", f"absent: {', '.join(needed)}", Status.MISSING, install)
        )
    if others := sorted(set(absent) - set(facts.direct)):
        checks.append(
            Check(GROUP, "other packages of the lock", f"absent: {_some(others)}", Status.WARN, install)
        )
    if differing:
        checks.append(Check(GROUP, "versions", _some(differing), Status.WARN, install))
    if not checks:
        found = f"{len(facts.pinned)} packages as in {facts.lock}"
        checks.append(Check(GROUP, "packages", found, Status.OK))
    return checks


def _installer(lock: str) -> str:
    return "bash envs/install-gpu.sh" if lock.endswith("gpu.txt") else f"pip install -r {lock}"


def _public(version_text: str) -> str:
    return Version(version_text).public


def _some(items: list[str]) -> str:
    more = len(items) - _LISTED
    return ", ".join(items[:_LISTED]) + (f" and {more} more" if more > 0 else "")
