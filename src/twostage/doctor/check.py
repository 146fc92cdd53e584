"""One line of the doctor's table: what was checked, what was found, and the fix."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Result of a check."""

    OK = "ok"
    #: Works, with a limitation.
    WARN = "warn"
    #: Needed on this kind of machine, but absent or broken.
    MISSING = "missing"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Check:
    """Result of one check; `fix` says what to do if the status is `warn` or `missing`."""

    group: str
    name: str
    found: str
    status: Verdict
    fix: str = ""

    def __post_init__(self) -> None:
        if (self.status in (Verdict.WARN, Verdict.MISSING)) != bool(self.fix):
            raise ValueError(f"{self.group}, {self.name}: set `fix` for warn and missing, and only for these")


class Group(str):
    """The name of a group of checks, with a method for each verdict."""

    def ok(self, name: str, found: str) -> Check:
        """Return a check that passed."""
        return Check(self, name, found, Verdict.OK)

    def warn(self, name: str, found: str, fix: str) -> Check:
        """Return a warning."""
        return Check(self, name, found, Verdict.WARN, fix)

    def missing(self, name: str, found: str, fix: str) -> Check:
        """Return a check of something that is needed but absent or broken."""
        return Check(self, name, found, Verdict.MISSING, fix)

    def not_applicable(self, name: str, found: str) -> Check:
        """Return a check that does not apply to this machine."""
        return Check(self, name, found, Verdict.NOT_APPLICABLE)


def failed(checks: Iterable[Check]) -> bool:
    """Return whether any check found something missing."""
    return any(check.status is Verdict.MISSING for check in checks)


@dataclass(frozen=True)
class Answer:
    """Result of a program: exit code (None if it is absent or timed out), output and error text."""

    code: int | None
    output: str = ""
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether the program ran and succeeded."""
        return self.code == 0

    @property
    def complaint(self) -> str:
        """The last line of the error text, or of the output."""
        lines = (self.error or self.output).strip().splitlines()
        return lines[-1].strip() if lines else f"exit code {self.code}"


def ask(command: Sequence[str], *, timeout_s: float, **environment: str) -> Answer:
    """Run a read-only program. A missing program or a timeout also gives an `Answer`."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=os.environ | environment,
        )
    except subprocess.TimeoutExpired:
        return Answer(None, error=f"{command[0]} gave no answer in {timeout_s:g} s")
    except OSError as error:
        return Answer(None, error=f"{command[0]}: {error.strerror}")
    return Answer(done.returncode, done.stdout, done.stderr)


def human_bytes(count: float) -> str:
    """`3221225472` -> `3.0 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
