"""Rolling states of a training job: the states from which an interrupted job resumes. Snakemake does not know them.

`rolling/<...>/<key>-<layout>/step-<n>/` holds a training state; the newest two are kept. `<key>` is a digest of the job's
identity (spec, parent, data); a state with another key is never used. `<layout>` is a digest of how the job runs (ranks,
micro-batch, threads, device kind), which affects only rounding. The newest state is used even if its layout differs, with a
warning and a record in metrics.json. `clear` removes all states when the outputs are complete.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twostage.common.errors import UserError
from twostage.common.storage import json_digest, verify_payload, write_atomic

log = logging.getLogger(__name__)

LAYOUTS_FILE = "layouts.json"


class RollingState:
    """The rolling states of one job.

    Args:
        folder: folder of the states of all layouts.
        key: digest of the job's identity.
        layout: layout of this process, as JSON values.

    Attributes:
        layouts: the layouts with which the job has been trained so far; all but the first with the step from which they
            were used ("from_step").
    """

    KEEP = 2

    def __init__(self, folder: str | Path, key: str, layout: Mapping[str, Any]) -> None:
        self.root, self.key, self.layout = Path(folder), key, dict(layout)
        self.folder = self.root / f"{key}-{json_digest(**layout)[:8]}"
        self.layouts: list[dict[str, Any]] = [self.layout]

    def discard_others(self) -> None:
        """Remove states with another key, with a warning."""
        for path in self.root.glob("*/"):
            if not self._has_key(path):
                log.warning(
                    "%s: discarding rolling state of another configuration (spec, parent or data changed)",
                    path,
                )
                shutil.rmtree(path)

    def begin(self, step: int) -> Path:
        """Return an empty folder for the state of `step`; `complete` must be called after it is written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self._temporary(step)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(self._final(step), ignore_errors=True)
        temporary.mkdir()
        return temporary

    def complete(self, step: int) -> None:
        """Give the folder of `begin` its final name, and remove older states."""
        write_atomic(self._temporary(step) / LAYOUTS_FILE, json.dumps(self.layouts))
        self._temporary(step).rename(self._final(step))
        # Of states with equal step, `_steps` puts the one of this layout first.
        for old in list(self._steps())[self.KEEP :]:
            shutil.rmtree(old)

    def newest(self) -> Path | None:
        """Return the newest intact state, or None. Damaged states are removed with a warning."""
        for path in list(self._steps()):
            try:
                verify_payload(path / "manifest.json")
                layouts = json.loads((path / LAYOUTS_FILE).read_text())
            except (UserError, OSError, json.JSONDecodeError) as error:
                log.warning("%s: damaged rolling state, trying an earlier one: %s", path, error)
                shutil.rmtree(path)
                continue
            self._resume_layouts(path, layouts)
            return path
        return None

    def _resume_layouts(self, path: Path, layouts: list[dict[str, Any]]) -> None:
        last = {name: value for name, value in layouts[-1].items() if name != "from_step"}
        self.layouts = layouts
        if last != self.layout:
            log.warning(
                "%s: saved with another layout, %s; continuing with %s. Rounding differs from here on, so the result is not "
                "bitwise equal to that of an uninterrupted run",
                path,
                last,
                self.layout,
            )
            self.layouts = [*layouts, {**self.layout, "from_step": _step(path)}]

    def _temporary(self, step: int) -> Path:
        return self.folder / f".step-{step}.tmp"

    def _final(self, step: int) -> Path:
        return self.folder / f"step-{step}"

    def _has_key(self, path: Path) -> bool:
        return path.name.startswith(f"{self.key}-")

    def _steps(self) -> Iterator[Path]:
        found = [
            path
            for path in self.root.glob("*/step-*")
            if self._has_key(path.parent) and re.fullmatch(r"step-\d+", path.name)
        ]
        yield from sorted(found, key=lambda path: (-_step(path), path.parent != self.folder))

    def clear(self) -> None:
        """Remove all states, including those with other keys."""
        shutil.rmtree(self.root, ignore_errors=True)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))
