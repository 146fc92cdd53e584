"""One line of the doctor's table: what was checked, what was found, and what to do about it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Verdict of a check."""

    OK = "ok"
    #: Works, but slower, or not everywhere.
    WARN = "warn"
    #: Needed for this study on this kind of machine, and absent or broken.
    MISSING = "missing"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Check:
    """What was found about one thing; `fix` is what the user does where the status is `warn` or `missing`."""

    group: str
    name: str
    found: str
    status: Status
    fix: str = ""

    def __post_init__(self) -> None:
        if (self.status in (Status.WARN, Status.MISSING)) != bool(self.fix):
            raise ValueError(
                f"{self.group}, {self.name}: a fix belongs to warn and missing, and to these only"
            )


def failed(checks: Iterable[Check]) -> bool:
    """Tell whether anything that is needed here is missing."""
    return any(check.status is Status.MISSING for check in checks)


@dataclass(frozen=True)
class Answer:
    """What a program answered: its exit code (None: absent, or no answer in time), output and error text."""

    code: int | None
    output: str = ""
    error: str = ""

    @property
    def ok(self) -> bool:
        """The program ran and succeeded."""
        return self.code == 0

    @property
    def complaint(self) -> str:
        """The last line that says what went wrong."""
        lines = (self.error or self.output).strip().splitlines()
        return lines[-1].strip() if lines else f"exit code {self.code}"


def ask(command: Sequence[str], *, timeout_s: float, **environment: str) -> Answer:
    """Run a program that only looks; a missing one or one that hangs is an `Answer`, too."""
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
