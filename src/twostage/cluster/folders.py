"""Can results be written there? Asked before anything is planned, so that a bad path costs no job.

Covers what Snakemake reports late and in its own words: a file or a dangling link in the way, a read-only disk.
"""

from __future__ import annotations

import os
from pathlib import Path

from twostage.common.errors import UserError


def check_folder(path: str | Path) -> None:
    """Check that a folder is there and writable, or can be made; makes nothing.

    Raises:
        UserError: names the path that is in the way, and the fix.
    """
    for place in (Path(path), *Path(path).absolute().parents):
        if place.is_symlink() and not place.exists():
            raise UserError(
                f"{place}: a link to {place.readlink()}, which does not exist; make that folder or remove the link"
            )
        if place.exists():
            break
    if not place.is_dir():
        raise UserError(f"{place}: a file is in the way of the results' folder; move it away")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(
            f"{place}: not writable (a read-only disk, or another owner); make it so, or link {path} to a place that is"
        )
