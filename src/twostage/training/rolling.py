"""A training job's own restart state, in a folder that Snakemake does not know.

`rolling/<...>/<key>-<layout>/step-<n>/` holds training states, newest two kept. `<key>` is a digest of what the job is
(spec, parent, data): state of another one is never resumed. `<layout>` is one of how it runs (ranks, micro-batch, threads,
device kind), which changes rounding only: state of another layout is resumed, with a warning and a record, where it is
newer than this layout's own. What is kept here is only worth something while its job is unfinished: `clear` removes it
once the outputs are in place.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twostage.common.errors import UserError
from twostage.common.storage import verify_payload, write_atomic

log = logging.getLogger(__name__)

LAYOUTS_FILE = "layouts.json"


def rolling_key(**parts: Any) -> str:
    """Return a digest of the named parts (spec, parent manifest, data manifests; or those of a layout)."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class RollingState:
    """The restart states of one job under `folder`.

    Args:
        folder: holds the states of all layouts.
        key: digest of what the job is.
        layout: how this process runs it (ranks, micro-batch, threads, device kind), as plain values.

    Attributes:
        layouts: by which layouts the job has been trained so far, each with the step it took over at.
    """

    KEEP = 2

    def __init__(self, folder: str | Path, key: str, layout: Mapping[str, Any]) -> None:
        self.root, self.key, self.layout = Path(folder), key, dict(layout)
        self.folder = self.root / f"{key}-{rolling_key(**layout)[:8]}"
        self.layouts: list[dict[str, Any]] = [self.layout]

    def discard_others(self) -> None:
        """Remove, with a warning, what jobs of another key have left here."""
        for path in self.root.glob("*/"):
            if not self._is_mine(path):
                log.warning(
                    "%s: discarding rolling state of another configuration (spec, parent or data changed)",
                    path,
                )
                shutil.rmtree(path)

    def begin(self, step: int) -> Path:
        """Return an empty folder for the state of `step`, which counts once it is `complete`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self._temporary(step)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(self._final(step), ignore_errors=True)
        temporary.mkdir()
        return temporary

    def complete(self, step: int) -> None:
        """Give the folder that `begin` made, and others have filled, its final name; older states are pruned."""
        write_atomic(self._temporary(step) / LAYOUTS_FILE, json.dumps(self.layouts))
        self._temporary(step).rename(self._final(step))
        # The order of `_steps` puts this layout first among equals.
        for old in list(self._steps())[self.KEEP :]:
            shutil.rmtree(old)

    def newest(self) -> Path | None:
        """Return the newest intact state; a damaged one is reported, removed, and the one before it tried."""
        for path in list(self._steps()):
            try:
                verify_payload(path / "manifest.json")
                layouts = json.loads((path / LAYOUTS_FILE).read_text())
            except (UserError, OSError, json.JSONDecodeError) as error:
                log.warning("%s: damaged rolling state, falling back to the one before: %s", path, error)
                shutil.rmtree(path)
                continue
            self._take_over(path, layouts)
            return path
        return None

    def _take_over(self, path: Path, layouts: list[dict[str, Any]]) -> None:
        last = {name: value for name, value in layouts[-1].items() if name != "from_step"}
        self.layouts = layouts
        if last != self.layout:
            log.warning(
                "%s: saved by another layout, %s; going on with %s. Rounding differs from here on, so the result is not "
                "bit for bit that of an undisturbed run",
                path,
                last,
                self.layout,
            )
            self.layouts = [*layouts, {**self.layout, "from_step": _step(path)}]

    def _temporary(self, step: int) -> Path:
        return self.folder / f".step-{step}.tmp"

    def _final(self, step: int) -> Path:
        return self.folder / f"step-{step}"

    def _is_mine(self, path: Path) -> bool:
        return path.name.startswith(f"{self.key}-")

    def _steps(self) -> Iterator[Path]:
        found = [
            path
            for path in self.root.glob("*/step-*")
            if self._is_mine(path.parent) and re.fullmatch(r"step-\d+", path.name)
        ]
        yield from sorted(found, key=lambda path: (-_step(path), path.parent != self.folder))

    def clear(self) -> None:
        """Remove everything, other keys' leftovers included."""
        shutil.rmtree(self.root, ignore_errors=True)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))
