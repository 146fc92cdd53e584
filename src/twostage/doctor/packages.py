"""Compare Python and package versions with the lock file (`envs/cpu.txt` or `envs/gpu.txt`)."""

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

from twostage.doctor.check import Check, Group

GROUP = Group("environment")
#: As `requires-python` in pyproject.toml, which a container image does not hold.
PYTHONS = SpecifierSet(">=3.11,<3.13")
#: Extras that every study needs in addition to the base set.
NEEDED_EXTRAS = ("train", "workflow")
#: Optional packages, checked in `gpu`.
_GPU_ONLY = re.compile(r"cuda-|nvidia-|triton|transformer-engine|flash-attn")
#: Number of packages to list by name; further ones are counted.
_LISTED = 4


@dataclass(frozen=True)
class PackageFacts:
    """Installed versions (None: absent) and those of the lock file; `direct`: direct dependencies of twostage."""

    python: str
    lock: str | None
    pinned: dict[str, str]
    installed: dict[str, str | None]
    direct: frozenset[str]


def read_lock(path: Path) -> dict[str, str]:
    """Return canonical name -> version from a file of exact pins and the files that it includes with `-r`."""
    text = path.read_text(encoding="utf-8")
    pins: dict[str, str] = {}
    for included in re.findall(r"^-r (\S+)$", text, re.MULTILINE):
        pins |= read_lock(path.parent / included)
    lines = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", text, re.MULTILINE)
    return pins | {canonicalize_name(name): pin for name, pin in lines}


def gather(lock: Path) -> PackageFacts:
    """Read the lock file, the project's pyproject.toml, and the installed versions."""
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
    """Check that Python is supported and packages have the lock file's versions, except build tags such as +cpu."""
    return [_python(facts.python), *_packages(facts)]


def _python(found: str) -> Check:
    if found in PYTHONS:
        return GROUP.ok("Python", found)
    return GROUP.missing(
        "Python", found, f"create the environment with a Python {PYTHONS} (make PYTHON=python3.12)"
    )


def _packages(facts: PackageFacts) -> list[Check]:
    if facts.lock is None:
        return [
            GROUP.warn(
                "packages",
                "no lock file here",
                "run in the repository's root, which contains envs/, or name the lock file with --lock",
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
        checks.append(GROUP.missing("needed packages", f"absent: {', '.join(needed)}", install))
    if others := sorted(set(absent) - set(facts.direct)):
        checks.append(GROUP.warn("other packages of the lock", f"absent: {_some(others)}", install))
    if differing:
        checks.append(GROUP.warn("versions", _some(differing), install))
    if not checks:
        found = f"{len(facts.pinned)} packages as in {facts.lock}"
        checks.append(GROUP.ok("packages", found))
    return checks


def _installer(lock: str) -> str:
    return "bash envs/install-gpu.sh" if lock.endswith("gpu.txt") else f"pip install -r {lock}"


def _public(version_text: str) -> str:
    return Version(version_text).public


def _some(items: list[str]) -> str:
    more = len(items) - _LISTED
    return ", ".join(items[:_LISTED]) + (f" and {more} more" if more > 0 else "")
