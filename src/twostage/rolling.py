"""A training job's own restart state, in a folder that Snakemake does not know.

`rolling/<...>/<key>/step-<n>/` holds training states, newest two kept; `<key>` is a digest of everything that affects
the bits, so state of another spec, parent, data set or machine layout is never resumed. What is kept here is only
worth something while its job is unfinished: `clear` removes it once the outputs are in place.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from twostage.errors import UserError
from twostage.storage import verify_payload

log = logging.getLogger(__name__)


def rolling_key(**parts: Any) -> str:
    """Return a digest of the named parts (spec, parent manifest, data manifests, threads, micro-batch, ranks, device)."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class RollingState:
    """The restart states of one job under `folder`, for one `key`."""

    KEEP = 2

    def __init__(self, folder: str | Path, key: str) -> None:
        self.root = Path(folder)
        self.folder = self.root / key

    def discard_others(self) -> None:
        """Remove, with a warning, what other keys have left here."""
        for path in self.root.glob("*/"):
            if path != self.folder:
                log.warning(
                    "%s: discarding rolling state of another configuration (spec, parent, data or machine layout changed)",
                    path,
                )
                shutil.rmtree(path)

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Let `write` fill a folder for `step`; it counts once it carries its final name. Older states are pruned."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary, final = self.folder / f".step-{step}.tmp", self.folder / f"step-{step}"
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(final, ignore_errors=True)
        temporary.mkdir()
        write(temporary)
        temporary.rename(final)
        for old in list(self._steps())[self.KEEP :]:
            shutil.rmtree(old)

    def newest(self) -> Path | None:
        """Return the newest intact state; a damaged one is reported, removed, and the one before it tried."""
        for path in list(self._steps()):
            try:
                verify_payload(path / "manifest.json")
            except UserError as error:
                log.warning("%s: damaged rolling state, falling back to the one before: %s", path, error)
                shutil.rmtree(path)
                continue
            return path
        return None

    def _steps(self) -> Iterator[Path]:
        found = [path for path in self.folder.glob("step-*") if re.fullmatch(r"step-\d+", path.name)]
        yield from sorted(found, key=lambda path: -int(path.name.removeprefix("step-")))

    def clear(self) -> None:
        """Remove everything, other keys' leftovers included."""
        shutil.rmtree(self.root, ignore_errors=True)
