"""Checks before the workflow is planned whether results can be written to a folder.

Snakemake reports these problems late: a file or a broken link in place of the folder, a folder that is not writable.
"""

from __future__ import annotations

import os
from pathlib import Path

from twostage.common.errors import UserError


def check_folder(path: str | Path) -> None:
    """Check that a folder is writable, or that it can be created. Creates nothing.

    Raises:
        UserError: it is not writable or can't be created; the message has the path at fault.
    """
    for place in (Path(path), *Path(path).absolute().parents):
        if place.is_symlink() and not place.exists():
            raise UserError(
                f"{place}: a link to {place.readlink()}, which does not exist; create that folder or remove the link"
            )
        if place.exists():
            break
    if not place.is_dir():
        raise UserError(f"{place}: is a file, but a folder is needed for results; move it")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(
            f"{place}: not writable (read-only disk, or another owner); change its permissions, or make {path} a link to a "
            "writable folder"
        )
